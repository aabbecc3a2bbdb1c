{#- The years that the calendars cover. Candles before or after them belong to no session's day. -#}
{% macro calendar_first_year() %}1970{% endmacro %}
{% macro calendar_last_year() %}2050{% endmacro %}
