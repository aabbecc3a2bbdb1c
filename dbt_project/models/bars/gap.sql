{{ config(memory='recursive', key=['instrument_id', 'timeframe', 'closed_at']) }}

with bars as (
    select * from {{ feed(ref('fct_bars'), preceding=1) }}
),

instrument as (
    select * from {{ ref('dim_instrument') }}
),

observed as (
    select * from {{ ref('observed') }}
),

timeframe as (
    select * from {{ ref('dim_timeframe') }}
),

followed as (
    select
        instrument_id,
        timeframe,
        opened_at,
        closed_at,
        lag(closed_at) over (partition by instrument_id, timeframe order by closed_at) as previous_closed_at
    from bars
),

missing as (
    select
        instrument_id,
        timeframe,
        closed_at,
        previous_closed_at as gap_opened_at,
        opened_at as gap_closed_at
    from followed
    where opened_at > previous_closed_at
),

-- Judged by the gap alone, at the bar that ends it: nothing later changes the verdict, except asking the source again.
-- Sessions have no calendar of holidays yet: up to five days between two local dates count as outside the session.
final as (
    select
        missing.instrument_id,
        missing.timeframe,
        missing.closed_at,
        missing.gap_opened_at,
        missing.gap_closed_at,
        case
            when instrument.is_24_7
                then round(
                    extract(epoch from missing.gap_closed_at - missing.gap_opened_at) / timeframe.duration_seconds
                )::integer
        end as missing_count,
        case
            when
                not instrument.is_24_7
                and (missing.gap_opened_at at time zone instrument.timezone)::date
                <> (missing.gap_closed_at at time zone instrument.timezone)::date
                and missing.gap_closed_at - missing.gap_opened_at <= interval '5 days'
                then 'outside_session'
            when not observed.observed @> tstzrange(missing.gap_opened_at, missing.gap_closed_at)
                then 'not_fetched'
            when
                instrument.prints_empty_candles
                or missing.gap_closed_at - missing.gap_opened_at > instrument.outage_after
                then 'outage'
            else 'no_trade'
        end as gap_kind
    from missing
    inner join instrument on missing.instrument_id = instrument.instrument_id
    inner join observed
        on
            missing.instrument_id = observed.instrument_id
            and instrument.base_timeframe = observed.timeframe
    inner join timeframe on missing.timeframe = timeframe.timeframe
)

select * from final
