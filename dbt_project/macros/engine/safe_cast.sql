{#- A unit test casts what it is not given to the type of its column, and dbt calls the type of any array ARRAY. Ours are of numbers. -#}
{% macro postgres__safe_cast(field, type) -%}
cast({{ field }} as {{ 'float8[]' if type == 'ARRAY' else type }})
{%- endmacro %}
