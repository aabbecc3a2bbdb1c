{#- After a run, test or build: one row of ops.build, and a span for each node, stamped with the run that the
    connection works for. -#}
{% macro record_build(results) %}
  {% if execute and flags.WHICH in ['run', 'build', 'test'] %}
    {% set failed = [] %}
    {% set spans = [] %}
    {% for result in results %}
      {% set is_failed = result.status | string not in ['success', 'pass', 'warn', 'skipped'] %}
      {% if is_failed %}
        {% do failed.append({
          'name': result.node.name, 'status': result.status | string, 'message': result.message or ''}) %}
      {% endif %}
      {% set executed = result.timing | selectattr('name', 'equalto', 'execute') | first | default(none) %}
      {% if executed and executed.started_at and result.node.resource_type != 'operation' %}
        {% do spans.append({
          'name': result.node.resource_type | string, 'subject': result.node.name,
          'started_at': executed.started_at.isoformat() ~ 'Z', 'seconds': result.execution_time, 'is_failed': is_failed,
          'message': result.message if is_failed else none, 'details': {'invocation_id': invocation_id}}) %}
      {% endif %}
    {% endfor %}
    insert into ops.build (invocation_id, command, started_at, node_count, failed)
    values (
      '{{ invocation_id }}', '{{ flags.WHICH }}', '{{ run_started_at.isoformat() }}', {{ results | length }},
      '{{ tojson(failed) | replace("'", "''") }}'
    );
    select ops.record_nodes('{{ tojson(spans) | replace("'", "''") }}');
  {% endif %}
{% endmacro %}
