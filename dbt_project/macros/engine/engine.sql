{#- What the server can do: `postgres`, `apache` (TimescaleDB's hypertables) or `community` (continuous aggregates as well). -#}
{% macro engine() %}
  {#- titan reconcile asks for the SQL of the plain engine. -#}
  {% if var('engine', none) %}{{ return(var('engine')) }}{% endif %}
  {% if not execute or not flags.INTROSPECT %}{{ return('postgres') }}{% endif %}
  {% set found = run_query(
    "select case
       when not exists (select from pg_extension where extname = 'timescaledb') then 'postgres'
       when current_setting('timescaledb.license', true) = 'timescale' then 'community'
       else 'apache'
     end"
  ) %}
  {{ return(found.rows[0][0]) }}
{% endmacro %}
