{#- After a build: drops the changes that every consumer has read. -#}
{% macro prune_changes() %}
  {% if execute and flags.WHICH in ['run', 'build'] %}
    select ops.prune_changes()
  {% endif %}
{% endmacro %}
