{#-
  The one place where a model's memory turns its parents' changes into the rows that it rewrites (ops.dirty):

  bucket         the bucket around each change: the row itself, or the `bucket` that the model names (feed_bucket)
  recursive      everything of the series from the first change on
  interval       the same, begun early enough to hold every interval that was not closed before the change
  cross_section  every instant that a change touches, over all instruments
  whole          everything; such a table is small and rewritten by difference, so it has no dirty rows

  Times are closed_at, both ends included. A dirty row without a timeframe means all timeframes of the instrument.
-#}
{% macro feed_dirty(node, memory, upto) %}
  {% if memory not in ['bucket', 'recursive', 'interval', 'cross_section'] %}
    {% do exceptions.raise_compiler_error(node ~ ": unknown memory '" ~ memory
      ~ "'; it is one of bucket, recursive, interval, cross_section, whole") %}
  {% endif %}
  insert into ops.dirty (node, instrument_id, timeframe, first_at, last_at, is_insert_or_delete)
  with recursive pending as (
    {#- A change of one timeframe concerns every instrument. #}
    select
      coalesce(change.instrument_id, instrument.instrument_id) as instrument_id,
      change.timeframe,
      change.instrument_id is null as is_of_timeframe,
      change.first_at,
      change.last_at,
      change.is_insert_or_delete
    from ops.change as change
    inner join ops.progress as progress
      on progress.consumer = '{{ node }}' and progress.parent = change.node and progress.seq < change.seq
    left join raw.instrument as instrument on change.instrument_id is null and change.timeframe is not null
    where change.seq <= {{ upto }}
  ),
  widened as (
    {{ feed_bucket(config.get('bucket'), node) }}
  ),
  whole_instrument as (
    select instrument_id from widened where timeframe is null
  ),
  series as (
    select
      instrument_id,
      case when instrument_id not in (select instrument_id from whole_instrument) then timeframe end as timeframe,
      first_at,
      last_at,
      is_insert_or_delete
    from widened
  ),
  {{ feed_reach(memory, node) }}
  select '{{ node }}', instrument_id, timeframe, first_at, last_at, is_insert_or_delete from reach
{% endmacro %}
