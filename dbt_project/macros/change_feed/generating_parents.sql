{#-
  The parents of whose rows the SQL of a model is made, as schema.name: a change of them is one that only dbt can answer. They are told by
  the macros that the model's file calls.
-#}
{% macro generating_parents() %}
  {% set read_by = {
    'enabled_indicators': 'dim_indicator', 'enabled_features': 'dim_feature', 'enabled_signals': 'dim_signal', 'signal_program': 'dim_timeframe'
  } %}
  {% set parents = [] %}
  {% for macro, parent in read_by.items() if 'macro.' ~ project_name ~ '.' ~ macro in model.depends_on.macros %}
    {% set node = graph.nodes['model.' ~ project_name ~ '.' ~ parent] %}
    {% do parents.append(node.schema ~ '.' ~ node.alias) %}
  {% endfor %}
  {{ return(parents | select('in', feed_parents()) | sort | list) }}
{% endmacro %}


{#-
  Remembers in the session, before a model's SQL is made of rows, which changes it can know of: what is published later, and it may be while
  dbt compiles, is for the next time. The first reading of a model counts.
-#}
{% macro note_reading() %}
  {% if execute and model is defined %}
    {% do run_query("
      select case when starts_with(coalesce(current_setting('titan.reading', true), ''), '" ~ model.unique_id ~ " ') then null
        else set_config('titan.reading', '" ~ model.unique_id ~ " ' || coalesce(max(seq), 0), false) end
      from ops.change
    ") %}
  {% endif %}
{% endmacro %}


{#- SQL: the last change that the model's SQL can know of, null where it was made of no rows. -#}
{% macro generated_upto() -%}
(
      select split_part(noted, ' ', 2)::bigint from (values (current_setting('titan.reading', true))) as reading (noted)
      where starts_with(noted, '{{ model.unique_id }} ')
    )
{%- endmacro %}
