{#- A model's schema is its folder's, without a prefix: readers' queries are the same on every server. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
  {{ custom_schema_name or target.schema }}
{%- endmacro %}
