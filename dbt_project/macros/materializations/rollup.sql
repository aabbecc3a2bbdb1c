{#-
  The incremental table on every engine. On TimescaleDB's Community edition the shipped timeframes of instruments that trade around the
  clock are continuous aggregates instead: the table holds the rest (sessions, timeframes that a user added, and what is frozen), and the
  view over both (models/bars/rollup) does not tell them apart.

  The aggregates are refreshed before the table's transaction begins, since a refresh cannot run in one; what was read of the feed is
  recorded in that transaction, so a build that is killed between the two does both again.
-#}
{% materialization rollup, adapter='postgres' %}
  {% set definition = model_definition('table') %}
  {% set prepared = namespace(upto=none) %}
  {% if engine() == 'community' %}
    {% do definition.update({'aggregates': aggregate_definitions()}) %}
    {% do outside_transaction('commit') %}
    {% do outside_transaction("select ops.define($definition$" ~ tojson(definition) ~ "$definition$)") %}
    {% set due = run_query("select upto, statement from ops.aggregate_statements('" ~ definition.node ~ "', " ~ should_full_refresh() ~ ")").rows %}
    {% do outside_transaction('commit') %}
    {% for row in due %}
      {% set prepared.upto = row['upto'] %}
      {% if row['statement'] %}{% do outside_transaction(row['statement']) %}{% endif %}
    {% endfor %}
  {% endif %}
  {{ return(build_model('table', definition, prepared.upto)) }}
{% endmaterialization %}


{#- A statement of its own. The driver believes itself in a transaction; the text `commit` ended it, so this one stands alone. -#}
{% macro outside_transaction(sql) %}
  {% call statement('outside', auto_begin=false) %}{{ sql }}{% endcall %}
{% endmacro %}


{#- Timeframes that are continuous aggregates where the engine has them, with their seconds. -#}
{% macro aggregate_timeframes() %}
  {{ return({
    '3m': 180, '5m': 300, '15m': 900, '30m': 1800,
    '1h': 3600, '2h': 7200, '4h': 14400, '6h': 21600, '8h': 28800, '12h': 43200,
    '1D': 86400
  }) }}
{% endmacro %}


{% macro aggregate_name(timeframe) %}{{ return('rollup_' ~ timeframe | lower) }}{% endmacro %}


{#- The aggregates as ops.define takes them. Each straight from the candles, so that every engine adds the same numbers in the same order. -#}
{% macro aggregate_definitions() %}
  {% set candle = ref('candle').schema ~ '.' ~ ref('candle').identifier %}
  {% set definitions = [] %}
  {% for timeframe, seconds in aggregate_timeframes().items() %}
    {% set sql -%}
select
    instrument_id,
    {{ aggregate_bucket(seconds, 'closed_at') }} as bucket,
    ops.bar_closed_at({{ aggregate_bucket(seconds, 'closed_at') }}, {{ seconds }}) as closed_at,
    {{ bar_columns() }}
from {{ candle }}
where is_24_7 and base_seconds < {{ seconds }} and {{ seconds }} % base_seconds = 0
group by 1, 2
    {%- endset %}
    {% do definitions.append({
      'name': ref('candle').schema ~ '.' ~ aggregate_name(timeframe), 'source': candle, 'timeframe': timeframe, 'seconds': seconds, 'sql': sql
    }) %}
  {% endfor %}
  {{ return(definitions) }}
{% endmacro %}


{#- A bar holds the candles that close after its open and not after its end; buckets are closed on the other side. -#}
{% macro aggregate_bucket(seconds, instant) -%}
time_bucket(interval '{{ seconds }} seconds', {{ instant }}, "offset" => interval '1 microsecond')
{%- endmacro %}
