{#-
  Each pending change, grown to the buckets that it touches. A bucket is named by the rows that it makes:

  (none)    the row itself
  intraday  bars shorter than a day, and the day, of candles (models/bars/rollup_stored)
  days      bars longer than a day, of days (models/bars/multi_day)
  span      the 30 days around a bar, of which its returns are summed up (models/backtest/equity_sum)
  execution bars of the timeframe on which a signal is traded, for the fills of the one that it looks at (models/backtest/fill)
  asked     the row itself, and of what a source was asked about the rows of every timeframe that stand after it (models/bars/gap)

  For intraday and days a dirty range is one of a timeframe's whole periods: the rows read and the rows written both close in it. A
  period that is not finished and has no row is left out: when it ends, the source has been asked further, and that is a change.
-#}
{% macro feed_bucket(bucket, node) %}
  {% if bucket is none %}
    select instrument_id, timeframe, first_at, last_at, is_insert_or_delete from pending
  {% elif bucket == 'intraday' %}
    {{ feed_bucket_intraday(node) }}
  {% elif bucket == 'days' %}
    {{ feed_bucket_days(node) }}
  {% elif bucket == 'span' %}
    select
      instrument_id,
      timeframe,
      {{ span_of('first_at') }} + interval '1 microsecond' as first_at,
      {{ span_of('last_at') }} + {{ span_length() }} as last_at,
      is_insert_or_delete
    from pending
  {% elif bucket == 'execution' %}
    {{ feed_bucket_execution() }}
  {% elif bucket == 'asked' %}
    {{ feed_bucket_asked(node) }}
  {% else %}
    {% do exceptions.raise_compiler_error(
      model.name ~ ": unknown bucket '" ~ bucket ~ "'; it is 'intraday', 'days', 'span', 'execution', 'asked' or left out") %}
  {% endif %}
{% endmacro %}


{% macro feed_bucket_intraday(node) %}
    select
      grown.instrument_id,
      grown.timeframe,
      grown.first_at + interval '1 microsecond' as first_at,
      grown.last_at,
      grown.is_insert_or_delete
    from (
      select
        pending.instrument_id,
        target.timeframe,
        case
          when instrument.is_24_7
            then date_bin(target.duration, pending.first_at - interval '1 microsecond', timestamptz 'epoch')
          else date_trunc('day', pending.first_at - interval '1 microsecond', instrument.timezone)
        end as first_at,
        case
          when instrument.is_24_7
            then date_bin(target.duration, pending.last_at - interval '1 microsecond', timestamptz 'epoch') + target.duration
          else (
            date_trunc('day', (pending.last_at - interval '1 microsecond') at time zone instrument.timezone) + interval '1 day'
          ) at time zone instrument.timezone
        end as last_at,
        case when instrument.is_24_7 then target.duration else interval '0' end as shortest,
        {#- The rows of continuous aggregates are not in the table, and were refreshed already. #}
        instrument.is_24_7 and {{ engine() == 'community' }}
        and target.timeframe in ('{{ aggregate_timeframes() | join("', '") }}') as is_aggregate,
        observed.observed_until,
        pending.is_insert_or_delete
      from pending
      inner join {{ ref('dim_instrument') }} as instrument on pending.instrument_id = instrument.instrument_id
      inner join {{ ref('dim_timeframe') }} as base
        on
          instrument.base_timeframe = base.timeframe
          and base.is_intraday
          and (pending.timeframe is null or pending.is_of_timeframe or pending.timeframe = base.timeframe)
      inner join (
        select timeframe, duration_seconds, make_interval(secs => duration_seconds) as duration
        from {{ ref('dim_timeframe') }} where is_intraday or timeframe = '1D'
      ) as target
        on
          target.duration_seconds > base.duration_seconds
          and target.duration_seconds % base.duration_seconds = 0
          and (not pending.is_of_timeframe or pending.timeframe = target.timeframe)
      left join {{ ref('observed') }} as observed
        on pending.instrument_id = observed.instrument_id and instrument.base_timeframe = observed.timeframe
    ) as grown
    where
      grown.first_at + grown.shortest <= grown.observed_until
      or grown.is_aggregate
      or {{ feed_has_row(node, 'grown') }}
    {{ feed_bucket_departed(node) }}
{% endmacro %}


{#- Instruments that take in the same days, as all do of a market, look their periods up once. -#}
{% macro feed_bucket_days(node) %}
    with dated as (
      select
        pending.instrument_id,
        case when pending.is_of_timeframe then pending.timeframe else '' end as only_timeframe,
        pending.first_at - interval '1 microsecond' as first_at,
        pending.last_at,
        pending.is_insert_or_delete,
        instrument.session_id,
        instrument.base_timeframe,
        first_date.date as first_date,
        first_date.trading_day_number as first_number,
        first_date.closed_at as first_closed_at,
        last_date.date as last_date,
        last_date.trading_day_number as last_number
      from pending
      inner join {{ ref('dim_instrument') }} as instrument on pending.instrument_id = instrument.instrument_id
      inner join {{ ref('dim_calendar') }} as first_date
        on
          instrument.session_id = first_date.session_id
          and first_date.date = greatest(
            ((pending.first_at - interval '1 microsecond') at time zone instrument.timezone)::date,
            date '{{ calendar_first_year() }}-01-10'
          )
      inner join {{ ref('dim_calendar') }} as last_date
        on
          instrument.session_id = last_date.session_id
          and last_date.date = least(
            ((pending.last_at - interval '1 microsecond') at time zone instrument.timezone)::date,
            date '{{ calendar_last_year() }}-12-31'
          )
    ),
    days as (
      select distinct session_id, only_timeframe, first_date, first_number, first_closed_at, last_date, last_number
      from dated
    ),
    periods as materialized (
      select
        days.session_id,
        days.only_timeframe,
        days.first_date,
        days.last_date,
        target.timeframe,
        target.is_anchored,
        first_period.opened_at as first_at,
        coalesce(last_period.closed_at, 'infinity') as last_at,
        {#- The first row that can be new: of a to-date timeframe the one of the first day, or of the trading day that follows. #}
        case when target.is_anchored then coalesce(days.first_closed_at, '-infinity') else first_period.closed_at end
          as first_closed_at
      from days
      inner join {{ ref('dim_timeframe') }} as target
        on
          not target.is_intraday
          and target.timeframe <> '1D'
          and days.only_timeframe in ('', target.timeframe)
      cross join lateral (
        select
          {{ period_number('target', 'days.first_date', 'days.first_number') }} as first_number,
          {{ period_number('target', 'days.last_date', 'days.last_number') }} as last_number
      ) as period_number
      left join lateral (
        select period.* from (select 1) as one {{ join_period('target', 'days.session_id', 'period_number.first_number') }}
      ) as first_period on true
      left join lateral (
        select period.* from (select 1) as one {{ join_period('target', 'days.session_id', 'period_number.last_number') }}
      ) as last_period on true
    )
    select
      grown.instrument_id,
      grown.timeframe,
      grown.first_at + interval '1 microsecond' as first_at,
      grown.last_at,
      grown.is_insert_or_delete
    from (
      select
        dated.instrument_id,
        periods.timeframe,
        {#- Where days became or ceased to be trading days, what stands was made of periods that began before these or ended after. #}
        least(periods.first_at, dated.first_at) as first_at,
        greatest(periods.last_at, dated.last_at) as last_at,
        periods.first_closed_at,
        case when periods.is_anchored then dated.first_at else least(periods.first_at, dated.first_at) end as first_affected_at,
        observed.observed_until,
        dated.is_insert_or_delete
      from dated
      inner join periods
        on
          dated.session_id = periods.session_id
          and dated.only_timeframe = periods.only_timeframe
          and dated.first_date = periods.first_date
          and dated.last_date = periods.last_date
      left join {{ ref('observed') }} as observed
        on dated.instrument_id = observed.instrument_id and dated.base_timeframe = observed.timeframe
    ) as grown
    where
      grown.first_closed_at <= grown.observed_until
      or {{ feed_has_row(node, 'grown', 'first_affected_at') }}
    {{ feed_bucket_departed(node) }}
{% endmacro %}


{% macro feed_bucket_execution() %}
    select instrument_id, timeframe, first_at, last_at, is_insert_or_delete from pending
    union all
    select
      pending.instrument_id,
      signal.timeframe,
      pending.first_at,
      pending.last_at,
      pending.is_insert_or_delete
    from pending
    inner join {{ ref('dim_signal') }} as signal on signal.execution ->> 'execution_timeframe' = pending.timeframe
{% endmacro %}


{#- A verdict spans time without bars: where that is asked about, no bar of the timeframe changes. What stands is judged anew. -#}
{% macro feed_bucket_asked(node) %}
    select instrument_id, timeframe, first_at, last_at, is_insert_or_delete from pending
    union all
    select
      pending.instrument_id,
      timeframe.timeframe,
      pending.first_at,
      pending.last_at,
      pending.is_insert_or_delete
    from pending
    inner join {{ ref('dim_instrument') }} as instrument
      on pending.instrument_id = instrument.instrument_id and pending.timeframe = instrument.base_timeframe
    inner join {{ ref('dim_timeframe') }} as timeframe
      on timeframe.timeframe <> pending.timeframe and not pending.is_of_timeframe and {{ has_gaps('timeframe') }}
    where exists (
      select from {{ node }} as standing
      where
        standing.instrument_id = pending.instrument_id
        and standing.timeframe = timeframe.timeframe
        and standing.closed_at >= pending.first_at
    )
{% endmacro %}


{% macro feed_has_row(node, range, since='first_at') -%}
exists (
        select from {{ node }} as standing
        where
          standing.instrument_id = {{ range }}.instrument_id
          and standing.timeframe = {{ range }}.timeframe
          and standing.closed_at > {{ range }}.{{ since }}
          and standing.closed_at <= {{ range }}.last_at
      )
{%- endmacro %}


{#- What no longer has an instrument or a timeframe to be a bar of goes whole. -#}
{% macro feed_bucket_departed(node) %}
    union all
    select
      pending.instrument_id,
      case when pending.is_of_timeframe then pending.timeframe end,
      timestamptz '-infinity',
      timestamptz 'infinity',
      pending.is_insert_or_delete
    from pending
    where pending.first_at = '-infinity' and (pending.timeframe is null or pending.is_of_timeframe)
{% endmacro %}
