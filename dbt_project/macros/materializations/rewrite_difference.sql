{#-
  For memory `whole`: computes the (small) table anew and writes and publishes only what differs, so that one more row of
  configuration does not make everything downstream dirty.
-#}
{% macro rewrite_difference(relation, node, sql) %}
  {% set names = adapter.get_columns_in_relation(relation) | map(attribute='name') | list %}
  {% set columns = adapter.get_columns_in_relation(relation) | map(attribute='quoted') | join(', ') %}
  {% call statement('difference') %}
    create temporary table departed on commit drop as
    select {{ columns }} from {{ relation }}
    except
    select {{ columns }} from ({{ sql }}) as fresh;
    create temporary table arrived on commit drop as
    select {{ columns }} from ({{ sql }}) as fresh
    except
    select {{ columns }} from {{ relation }};
    delete from {{ relation }} as current_row
    using departed
    where {% for column in config.require('key') %}
      current_row.{{ column }} = departed.{{ column }}{{ ' and' if not loop.last }}
    {% endfor %};
  {% endcall %}
  {% call statement('main') %}
    insert into {{ relation }} ({{ columns }}) select {{ columns }} from arrived
  {% endcall %}
  {% call statement('publish') %}
    {% set instrument_id = 'instrument_id' if 'instrument_id' in names else 'null::integer' %}
    {% set timeframe = 'timeframe' if 'instrument_id' in names and 'timeframe' in names else 'null::text' %}
    insert into ops.change (node, instrument_id, timeframe, first_at, last_at)
    select
      '{{ node }}',
      {{ instrument_id }},
      {{ timeframe }},
      {{ "min(closed_at)" if 'closed_at' in names else "timestamptz '-infinity'" }},
      {{ "max(closed_at)" if 'closed_at' in names else "timestamptz 'infinity'" }}
    from (select * from departed union all select * from arrived) as changed
    group by {{ instrument_id }}, {{ timeframe }}
    having count(*) > 0;
    drop table departed;
    drop table arrived;
  {% endcall %}
{% endmacro %}
