{#- After a build: forgets consumers that are no longer models, and drops the changes that every consumer has read. -#}
{% macro prune_changes() %}
  {% if execute and flags.WHICH in ['run', 'build'] %}
    {% set consumers = [] %}
    {% for node in graph.nodes.values() if node.resource_type == 'model' %}
      {% do consumers.append(node.schema ~ '.' ~ node.alias) %}
    {% endfor %}
    delete from ops.progress where consumer <> all (array[{{ feed_names(consumers) }}]::text[]);
    select ops.prune_changes();
  {% endif %}
{% endmacro %}
