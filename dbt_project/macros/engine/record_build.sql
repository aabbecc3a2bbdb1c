{#- After a run, test or build: one row of ops.build, stamped with the run that the connection works for. -#}
{% macro record_build(results) %}
  {% if execute and flags.WHICH in ['run', 'build', 'test'] %}
    {% set failed = [] %}
    {% for result in results if result.status | string not in ['success', 'pass', 'warn', 'skipped'] %}
      {% do failed.append({
        'name': result.node.name, 'status': result.status | string, 'message': result.message or ''}) %}
    {% endfor %}
    insert into ops.build (invocation_id, command, started_at, node_count, failed)
    values (
      '{{ invocation_id }}', '{{ flags.WHICH }}', '{{ run_started_at.isoformat() }}', {{ results | length }},
      '{{ tojson(failed) | replace("'", "''") }}'
    );
  {% endif %}
{% endmacro %}
