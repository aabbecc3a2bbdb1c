{#-
  The nodes whose changes concern a model, as schema.name: its sources, its table models and, through every view, what
  the view reads. A view itself is a parent too: it publishes when it is redefined.
-#}
{% macro feed_parents(node=model) %}
  {% set parents = [] %}
  {% for unique_id in node.depends_on.nodes %}
    {% set parent = graph.sources.get(unique_id) or graph.nodes.get(unique_id) %}
    {% if parent.resource_type == 'source' %}
      {% do parents.append(parent.schema ~ '.' ~ parent.identifier) %}
    {% else %}
      {% if parent.config.materialized != 'ephemeral' %}
        {% do parents.append(parent.schema ~ '.' ~ parent.alias) %}
      {% endif %}
      {% if parent.config.materialized in ['view', 'ephemeral'] %}
        {% do parents.extend(feed_parents(parent)) %}
      {% endif %}
    {% endif %}
  {% endfor %}
  {% do return(parents | unique | sort | list) %}
{% endmacro %}
