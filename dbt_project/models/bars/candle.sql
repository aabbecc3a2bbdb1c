{{ config(memory='bucket', key=['instrument_id', 'timeframe', 'closed_at'], hypertable='90 days') }}

with ohlcv as (
    select * from {{ feed(source('raw', 'ohlcv')) }}
),

instrument as (
    select
        instrument.*,
        timeframe.duration_seconds as base_seconds,
        not instrument.is_24_7 and instrument.base_timeframe = '1D' as has_session_days,
        instrument.instrument_id in (
            select factor.instrument_id from {{ ref('adjustment_factor') }} as factor
        ) as is_adjusted
    from {{ ref('dim_instrument') }} as instrument
    inner join {{ ref('dim_timeframe') }} as timeframe on instrument.base_timeframe = timeframe.timeframe
),

calendar as (
    select * from {{ ref('dim_calendar') }}
    where is_trading_day
),

adjustment_factor as (
    select * from {{ ref('adjustment_factor') }}
),

-- The session of a candle is that of the local date on which it opens. Candles of a week or a month have none.
dated as (
    select
        ohlcv.*,
        instrument.is_24_7,
        instrument.is_adjusted,
        instrument.has_session_days,
        instrument.base_seconds,
        case
            when instrument.has_session_days and calendar.date is null
                then (
                    (ohlcv.opened_at at time zone instrument.timezone)::date + instrument.open_local
                ) at time zone instrument.timezone
        end as regular_opened_at,
        case
            when instrument.has_session_days and calendar.date is null
                then (
                    (ohlcv.opened_at at time zone instrument.timezone)::date + instrument.close_local
                ) at time zone instrument.timezone
        end as regular_closed_at,
        calendar.opened_at as session_opened_at,
        calendar.closed_at as session_closed_at,
        ((calendar.date + 1)::timestamp at time zone instrument.timezone) as next_date_at
    from ohlcv
    inner join instrument
        on
            ohlcv.instrument_id = instrument.instrument_id
            and ohlcv.timeframe = instrument.base_timeframe
    left join calendar
        on
            not instrument.is_24_7
            and instrument.base_seconds <= 86400
            and instrument.session_id = calendar.session_id
            and calendar.date = case
                when not instrument.is_24_7 then (ohlcv.opened_at at time zone instrument.timezone)::date
            end
),

adjusted as (
    select
        dated.*,
        coalesce(factor.price_factor, 1) as applied_price_factor,
        coalesce(factor.volume_divisor, 1) as applied_volume_divisor
    from dated
    left join lateral (
        select
            adjustment_factor.price_factor,
            adjustment_factor.volume_divisor
        from adjustment_factor
        where
            dated.is_adjusted
            and adjustment_factor.instrument_id = dated.instrument_id
            and adjustment_factor.timeframe = dated.timeframe
            and adjustment_factor.closed_at <= dated.opened_at
        order by adjustment_factor.closed_at desc
        limit 1
    ) as factor on true
),

-- A source stamps an equity's day with its date; the bar opens and closes with the session. A candle that reaches into
-- another date is part of no session: what is one day's lies between two local midnights (see feed_bucket).
final as (
    select
        instrument_id,
        timeframe,
        case when has_session_days then coalesce(session_opened_at, regular_opened_at) else opened_at end as opened_at,
        case when has_session_days then coalesce(session_closed_at, regular_closed_at) else closed_at end as closed_at,
        open * applied_price_factor as open,
        high * applied_price_factor as high,
        low * applied_price_factor as low,
        close * applied_price_factor as close,
        volume / applied_volume_divisor as volume,
        quote_volume,
        trade_count,
        applied_price_factor as price_factor,
        base_seconds,
        is_24_7,
        is_24_7
        or base_seconds > 86400
        or coalesce(
            opened_at < session_closed_at and closed_at > session_opened_at and closed_at <= next_date_at, false
        ) as is_in_session,
        session_opened_at,
        session_closed_at
    from adjusted
)

select * from final
