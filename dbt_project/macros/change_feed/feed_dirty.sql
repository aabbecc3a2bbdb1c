{#-
  The one place where a model's memory turns its parents' changes into the rows that it rewrites (ops.dirty):

  bucket         the bucket around each change: the row itself, or the `bucket` that the model names
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
    select change.*
    from ops.change as change
    inner join ops.progress as progress
      on progress.consumer = '{{ node }}' and progress.parent = change.node and progress.seq < change.seq
    where change.seq <= {{ upto }}
  ),
  widened as (
    {{ feed_bucket(config.get('bucket')) }}
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


{#- Each pending change, grown to the buckets that it touches. -#}
{% macro feed_bucket(bucket) %}
  {% if bucket is none %}
    select instrument_id, timeframe, first_at, last_at, is_insert_or_delete from pending
  {% elif bucket == 'day' %}
    {#- Local days hold their sessions whole. What a day is made of are the candles of the base timeframe. -#}
    select
      pending.instrument_id,
      instrument.base_timeframe as timeframe,
      date_trunc('day', pending.first_at - interval '1 microsecond', coalesce(instrument.timezone, 'UTC'))
        + interval '1 microsecond' as first_at,
      (
        date_trunc('day', (pending.last_at - interval '1 microsecond') at time zone coalesce(instrument.timezone, 'UTC'))
        + interval '1 day'
      ) at time zone coalesce(instrument.timezone, 'UTC') as last_at,
      pending.is_insert_or_delete
    from pending
    left join {{ ref('dim_instrument') }} as instrument on pending.instrument_id = instrument.instrument_id
  {% else %}
    {% do exceptions.raise_compiler_error(model.name ~ ": unknown bucket '" ~ bucket ~ "'; it is 'day' or left out") %}
  {% endif %}
{% endmacro %}


{#- The dirty rows per series: `reach`. Ranges of one series never overlap, or their rows would be written twice. -#}
{% macro feed_reach(memory, node) %}
  {% if memory == 'bucket' %}
  reach as (
    select
      instrument_id,
      timeframe,
      lower(span) as first_at,
      upper(span) as last_at,
      is_insert_or_delete
    from (
      select
        instrument_id,
        timeframe,
        unnest(range_agg(tstzrange(first_at, last_at, '[]'))) as span,
        bool_or(is_insert_or_delete) as is_insert_or_delete
      from series
      group by instrument_id, timeframe
    ) as merged
  )
  {% elif memory == 'cross_section' %}
  reach as (
    select
      null::integer as instrument_id,
      null::text as timeframe,
      lower(span) as first_at,
      upper(span) as last_at,
      is_insert_or_delete
    from (
      select
        unnest(range_agg(tstzrange(first_at, last_at, '[]'))) as span,
        bool_or(is_insert_or_delete) as is_insert_or_delete
      from series
    ) as merged
  )
  {% else %}
  start as (
    select
      instrument_id,
      timeframe,
      {#- A whole instrument has no rows before it to continue from: it starts over. -#}
      case when timeframe is null then '-infinity' else min(first_at) end as first_at,
      bool_or(is_insert_or_delete) as is_insert_or_delete
    from series
    group by instrument_id, timeframe
  ),
  {% if memory == 'interval' %}
  {#- Rewriting an interval starts at its opening; that may cut another one, which then counts as well. -#}
  earliest as (
    select instrument_id, timeframe, first_at from start
    union
    select
      earliest.instrument_id,
      earliest.timeframe,
      least(earliest.first_at, crossed.opened_at)
    from earliest
    cross join lateral (
      select min(interval_row.opened_at) as opened_at
      from {{ node }} as interval_row
      where
        interval_row.instrument_id = earliest.instrument_id
        and interval_row.timeframe = earliest.timeframe
        and interval_row.closed_at >= earliest.first_at
    ) as crossed
  ),
  {% else %}
  earliest as (
    select instrument_id, timeframe, first_at from start
  ),
  {% endif %}
  reach as (
    select
      start.instrument_id,
      start.timeframe,
      min(earliest.first_at) as first_at,
      timestamptz 'infinity' as last_at,
      start.is_insert_or_delete
    from start
    inner join earliest
      on
        start.instrument_id = earliest.instrument_id
        and start.timeframe is not distinct from earliest.timeframe
    group by start.instrument_id, start.timeframe, start.is_insert_or_delete
  )
  {% endif %}
{% endmacro %}
