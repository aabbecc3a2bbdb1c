{#-
  Marks an input whose changes decide what a model rewrites: `from {{ feed(ref('candle')) }}`.

  It renders the whole relation and a comment. A full build runs that SQL as it stands; an incremental one runs the same
  SQL with each marked relation narrowed to the dirty rows (feed_inputs). So there is one SQL per model, its text is the
  definition, and unit tests need no override.

  preceding: how many rows of the same series before the first dirty one the model needs to see.
-#}
{% macro feed(relation, preceding=0) -%}
  {{ relation }} /* feed preceding={{ preceding }} */ as fed
{%- endmacro %}
