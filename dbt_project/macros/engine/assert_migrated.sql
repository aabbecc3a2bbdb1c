{#-
  Fails a run early, and by name, on a database whose migrations are not those of this checkout. Its files are known here as dbt's
  analyses (analysis-paths of dbt_project.yml), which are read with the project and never run.
-#}
{% macro assert_migrated() %}
  {% if execute and flags.WHICH in ['run', 'build', 'test'] %}
    {% set database = 'database "' ~ target.dbname ~ '"' %}
    {% if not run_query("select to_regclass('ops.migration') is not null").rows[0][0] %}
      {% do exceptions.raise_compiler_error(database ~ ' has no Titan schemas yet: run `titan db start` first') %}
    {% endif %}
    {% set applied = {} %}
    {% for row in run_query("select version, name from ops.migration").rows %}
      {% do applied.update({'%04d' % row[0] ~ '_' ~ row[1]: true}) %}
    {% endfor %}
    {% set known = graph.nodes.values() | selectattr('resource_type', 'equalto', 'analysis') | map(attribute='name') | list %}
    {% set owed = known | reject('in', applied) | sort | join(', ') %}
    {% set strange = applied | reject('in', known) | sort | join(', ') %}
    {% if owed %}
      {% do exceptions.raise_compiler_error(database ~ ' lacks the migrations ' ~ owed ~ ': run `titan db start` first') %}
    {% elif known and strange %}
      {% do exceptions.raise_compiler_error(
        database ~ ' has the migrations ' ~ strange ~ ', which this checkout does not know: update the checkout') %}
    {% endif %}
  {% endif %}
{% endmacro %}
