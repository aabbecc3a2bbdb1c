{#-
  Marks an input whose changes decide what a model rewrites: `from {{ feed(ref('candle')) }}`.

  It renders the whole relation and a comment. A full build runs that SQL as it stands; an incremental one runs the same
  SQL with each marked relation narrowed to the dirty rows (feed_inputs). So there is one SQL per model, its text is the
  definition, and unit tests need no override.

  preceding: how many rows of the same series before the first dirty one the model needs to see.
  timeframe: in a lateral subquery that takes one timeframe at a time, the outer column that it takes; the subquery says
             `where fed.timeframe = …` of it as well. The dirty ranges are then chosen before they are read.
-#}
{% macro feed(relation, preceding=0, timeframe=none) -%}
  {{ relation }} /* feed preceding={{ preceding }}{{ " timeframe=" ~ timeframe if timeframe }} */ as fed
{%- endmacro %}


{#-
  For a model that walks whole series instead of reading marked rows: `from {{ feed_series('series') }}`, where `series` has one row per
  (instrument_id, timeframe). It adds first_at, from where on the series is to be written: -infinity in a full build.
-#}
{% macro feed_series(series) -%}
  (select *, timestamptz '-infinity' as first_at from {{ series }}) /* feed series */ as {{ series }}
{%- endmacro %}
