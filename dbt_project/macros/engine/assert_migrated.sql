{#- Fails a run early, and by name, on a database that has not been migrated. -#}
{% macro assert_migrated() %}
  {% if execute and flags.WHICH in ['run', 'build', 'test'] %}
    {% set found = run_query("select to_regclass('raw.ohlcv') is not null and to_regclass('ops.change') is not null") %}
    {% if not found.rows[0][0] %}
      {% do exceptions.raise_compiler_error(
        'database "' ~ target.dbname ~ '" has no Titan schemas yet: run `titan db start` first') %}
    {% endif %}
  {% endif %}
{% endmacro %}
