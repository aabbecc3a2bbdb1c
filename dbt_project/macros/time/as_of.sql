{#-
  SQL: the moment that a session asks about (`set titan.as_of = '2024-06-01'`), for the marts that tell of now: they leave out what
  closed after it. Where it asks about none, no moment is too late.
-#}
{% macro as_of() -%}
coalesce(nullif(current_setting('titan.as_of', true), '')::timestamptz, 'infinity')
{%- endmacro %}
