{#- The enabled signals: of dim_signal, or of config.signal before that is built; none while nothing can be asked. -#}
{% macro enabled_signals() %}
  {#- Named for the graph alone: in a unit test the name would be that of a fixture. #}
  {% do ref('dim_signal') %}
  {% if not execute or not flags.INTROSPECT %}{{ return([]) }}{% endif %}
  {% set found = run_query("
    select to_regclass('signals.dim_signal') is not null as is_built, to_regclass('config.signal') is not null as is_migrated
  ").rows[0] %}
  {% if not found['is_migrated'] %}{{ return([]) }}{% endif %}
  {% do note_reading() %}
  {{ return(signal_rows(
    "select * from " ~ ('signals.dim_signal' if found['is_built'] else 'config.signal') ~ " where is_enabled order by signal"
  )) }}
{% endmacro %}


{#- Rows of a query that has the columns of config.signal. -#}
{% macro signal_rows(query) %}
  {% set signals = [] %}
  {% for row in run_query(
    "select signal, type, timeframe, params::text as params, direction, execution::text as execution from (" ~ query ~ ") as wanted"
  ).rows %}
    {% do signals.append({
      'signal': row['signal'], 'type': row['type'], 'timeframe': row['timeframe'], 'direction': row['direction'],
      'params': fromjson(row['params']), 'execution': fromjson(row['execution'])
    }) %}
  {% endfor %}
  {{ return(signals) }}
{% endmacro %}


{#- The features that a signal may read: stored ones, and those that follow from stored ones of the same bar. {name: sql} -#}
{% macro readable_features(features) %}
  {% set readable = {'close': 'close'} %}
  {% for feature in features if 'bars_per_year' not in feature.sql %}
    {% do readable.update({feature.name: feature.name if feature.is_stored else feature.sql}) %}
  {% endfor %}
  {{ return(readable) }}
{% endmacro %}
