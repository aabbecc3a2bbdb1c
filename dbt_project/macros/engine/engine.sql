{#- What the server can do: `postgres`, `apache` (TimescaleDB's hypertables) or `community` (continuous aggregates as well). -#}
{% macro engine() %}
  {#- titan reconcile asks for the SQL of the plain engine. -#}
  {% if var('engine', none) %}{{ return(var('engine')) }}{% endif %}
  {% if not execute or not flags.INTROSPECT %}{{ return('postgres') }}{% endif %}
  {#- On a database without Titan's schemas there is nothing to ask yet. #}
  {% if not run_query("select to_regproc('ops.engine') is not null").rows[0][0] %}{{ return('postgres') }}{% endif %}
  {{ return(run_query('select ops.engine()').rows[0][0]) }}
{% endmacro %}
