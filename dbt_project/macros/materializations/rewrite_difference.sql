{#-
  For memory `whole`: computes the (small) table anew and writes and publishes only what differs, so that one more row of
  configuration does not make everything downstream dirty.
-#}
{% macro rewrite_difference(relation, node, sql, plan) %}
  {% set columns = '"' ~ plan.names | join('", "') ~ '"' %}
  {% call statement('difference') %}
    create temporary table fresh on commit drop as
    select {{ columns }} from ({{ sql }}) as fresh;
    create temporary table departed on commit drop as
    select {{ columns }} from {{ relation }}
    except
    select {{ columns }} from fresh;
    create temporary table arrived on commit drop as
    select {{ columns }} from fresh
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
    {{ publish_difference(node, plan.names) }};
    drop table fresh, departed, arrived;
  {% endcall %}
{% endmacro %}


{#- Says whom the difference concerns: series, the instruments of a session from a moment on, or a timeframe of all. -#}
{% macro publish_difference(node, names) %}
    {% set is_of_session = 'session_id' in names and 'instrument_id' not in names %}
    {% set instrument_id = 'instrument_id' if 'instrument_id' in names or is_of_session else 'null::integer' %}
    {% set timeframe = 'timeframe' if 'timeframe' in names else 'null::text' %}
    {% set is_timed = 'closed_at' in names %}
    {% set starts_at = 'opened_at' if 'opened_at' in names else 'closed_at' %}
    insert into ops.change (node, instrument_id, timeframe, first_at, last_at)
    select
      '{{ node }}',
      {{ instrument_id }},
      {{ timeframe }},
      {{ "min(" ~ starts_at ~ ") + interval '1 microsecond'" if is_timed else "timestamptz '-infinity'" }},
      {{ "timestamptz 'infinity'" if is_of_session or not is_timed else "max(closed_at)" }}
    from (select * from departed union all select * from arrived) as changed
    {% if is_of_session %}inner join raw.instrument as instrument using (session_id){% endif %}
    group by {{ instrument_id }}, {{ timeframe }}
    having count(*) > 0 {% if is_timed %}and min({{ starts_at }}) is not null{% endif %}
{% endmacro %}
