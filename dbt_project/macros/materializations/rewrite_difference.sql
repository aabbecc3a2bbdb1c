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


{#-
  Says whom the difference concerns: series, a timeframe of all, or the instruments of a session. Of a session's dates those that trade or
  did, from the first local midnight on: candles before its open belong to a date as well.
-#}
{% macro publish_difference(node, names) %}
    {% set is_of_session = 'session_id' in names and 'instrument_id' not in names %}
    {% set is_dated = is_of_session and 'date' in names %}
    {% set instrument_id = 'instrument_id' if 'instrument_id' in names or is_of_session else 'null::integer' %}
    {% set timeframe = 'timeframe' if 'timeframe' in names else 'null::text' %}
    {% set is_timed = not is_of_session and 'closed_at' in names %}
    {% set begins_at = 'date::timestamp at time zone session.timezone' if is_dated else 'opened_at' if 'opened_at' in names else 'closed_at' %}
    insert into ops.change (node, instrument_id, timeframe, first_at, last_at)
    select
      '{{ node }}',
      {{ instrument_id }},
      {{ timeframe }},
      {{ "min(" ~ begins_at ~ ") + interval '1 microsecond'" if is_dated or is_timed else "timestamptz '-infinity'" }},
      {{ "max(closed_at)" if is_timed else "timestamptz 'infinity'" }}
    from (select * from departed union all select * from arrived) as changed
    {% if is_of_session %}
    inner join raw.instrument as instrument using (session_id)
    inner join config.session as session using (session_id)
    {% endif %}
    {% if is_dated %}where changed.opened_at is not null{% endif %}
    group by {{ instrument_id }}, {{ timeframe }}
    having count(*) > 0
{% endmacro %}
