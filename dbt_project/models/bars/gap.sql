{{ config(memory='recursive', bucket='asked', key=['instrument_id', 'timeframe', 'closed_at'], frozen='base') }}

with bars as (
    select * from {{ feed(ref('fct_bars'), preceding=1) }}
),

instrument as (
    select * from {{ ref('dim_instrument') }}
),

calendar as (
    select * from {{ ref('dim_calendar') }}
    where is_trading_day
),

timeframe as (
    select * from {{ ref('dim_timeframe') }} as timeframe
    where {{ has_gaps('timeframe') }}
),

followed as (
    select
        instrument_id,
        timeframe,
        opened_at,
        closed_at,
        bar_number,
        lag(closed_at) over in_order as previous_closed_at,
        lag(bar_number) over in_order as previous_number
    from bars
    where timeframe in (select timeframe.timeframe from timeframe)
    window in_order as (partition by instrument_id, timeframe order by closed_at)
),

apart as (
    select
        followed.instrument_id,
        followed.timeframe,
        followed.closed_at,
        followed.previous_closed_at as gap_opened_at,
        followed.opened_at as gap_closed_at,
        followed.bar_number - followed.previous_number - 1 as skipped_count,
        instrument.is_24_7,
        instrument.session_id,
        instrument.timezone,
        instrument.base_timeframe,
        instrument.prints_empty_candles,
        instrument.outage_after,
        timeframe.duration_seconds
    from followed
    inner join instrument on followed.instrument_id = instrument.instrument_id
    inner join timeframe on followed.timeframe = timeframe.timeframe
    where followed.opened_at > followed.previous_closed_at
),

-- The time between two bars in which the market was open, and the bars that it would have held.
measured as (
    select
        apart.*,
        case
            when apart.is_24_7 then apart.gap_closed_at - apart.gap_opened_at
            else open_market.missing_time
        end as missing_time,
        coalesce(
            apart.skipped_count,
            case
                when apart.is_24_7
                    then round(extract(epoch from apart.gap_closed_at - apart.gap_opened_at) / apart.duration_seconds)
                else open_market.missing_count
            end
        )::integer as missing_count
    from apart
    left join lateral (
        select
            coalesce(sum(stretch.closed_at - stretch.opened_at), interval '0') as missing_time,
            coalesce(sum(ceil(extract(epoch from stretch.closed_at - stretch.opened_at) / apart.duration_seconds)), 0)
                as missing_count
        from (
            select
                greatest(calendar.opened_at, apart.gap_opened_at) as opened_at,
                least(calendar.closed_at, apart.gap_closed_at) as closed_at
            from calendar
            where
                calendar.session_id = apart.session_id
                and calendar.date >= (apart.gap_opened_at at time zone apart.timezone)::date
                and calendar.date <= (apart.gap_closed_at at time zone apart.timezone)::date
        ) as stretch
        where stretch.closed_at > stretch.opened_at
    ) as open_market on not apart.is_24_7
),

-- Judged by the gap alone, at the bar that ends it: nothing later changes the verdict, except asking the source again.
final as (
    select
        measured.instrument_id,
        measured.timeframe,
        measured.closed_at,
        measured.gap_opened_at,
        measured.gap_closed_at,
        measured.missing_count,
        measured.missing_time,
        observed.observed @> tstzrange(measured.gap_opened_at, measured.gap_closed_at) as is_observed,
        measured.prints_empty_candles,
        measured.outage_after,
        case
            when measured.missing_count = 0 then 'outside_session'
            when not observed.observed @> tstzrange(measured.gap_opened_at, measured.gap_closed_at) then 'not_fetched'
            when measured.prints_empty_candles or measured.missing_time > measured.outage_after then 'outage'
            else 'no_trade'
        end as gap_kind
    from measured
    inner join {{ ref('observed') }} as observed
        on
            measured.instrument_id = observed.instrument_id
            and measured.base_timeframe = observed.timeframe
)

select * from final
