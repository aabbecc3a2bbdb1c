{#- After a build: forgets consumers that are no longer models, and drops the changes that every consumer has read. -#}
{% macro prune_changes() %}
  {% if execute and flags.WHICH in ['run', 'build'] %}
    {% set consumers = [] %}
    {% for node in graph.nodes.values() if node.resource_type == 'model' %}
      {% do consumers.append(node.schema ~ '.' ~ node.alias) %}
    {% endfor %}
    select ops.forget_models(array['{{ consumers | join("', '") }}']);
    select ops.prune_changes();
  {% endif %}
{% endmacro %}
