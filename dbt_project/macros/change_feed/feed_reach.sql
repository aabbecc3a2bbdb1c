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
