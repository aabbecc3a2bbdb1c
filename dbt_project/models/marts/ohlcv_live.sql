with ohlcv as (
    select * from {{ ref('ohlcv') }}
),

instrument as (
    select * from {{ ref('dim_instrument') }}
),

timeframe as (
    select * from {{ ref('dim_timeframe') }}
    where is_intraday or timeframe = '1D'
),

-- The bar in which each series' observation ends, of every timeframe coarser than its candles.
running as (
    select
        instrument.instrument_id,
        instrument.exchange,
        instrument.market_type,
        instrument.symbol,
        instrument.base_timeframe,
        timeframe.timeframe,
        observed.observed_until,
        case
            when instrument.is_24_7
                then date_bin(
                    make_interval(secs => timeframe.duration_seconds), observed.observed_until, timestamptz 'epoch'
                )
            when timeframe.is_intraday
                then calendar.opened_at + make_interval(
                    secs => timeframe.duration_seconds * floor(
                        extract(epoch from observed.observed_until - calendar.opened_at) / timeframe.duration_seconds
                    )
                )
            else calendar.opened_at
        end as opened_at,
        make_interval(secs => timeframe.duration_seconds) as duration,
        case when instrument.is_24_7 then 'infinity' else calendar.closed_at end as session_closed_at
    from instrument
    inner join {{ ref('dim_timeframe') }} as base
        on instrument.base_timeframe = base.timeframe and base.is_intraday
    inner join {{ ref('observed') }} as observed
        on
            instrument.instrument_id = observed.instrument_id
            and instrument.base_timeframe = observed.timeframe
    inner join timeframe
        on
            base.duration_seconds < timeframe.duration_seconds
            and timeframe.duration_seconds % base.duration_seconds = 0
    left join {{ ref('dim_calendar') }} as calendar
        on
            not instrument.is_24_7
            and instrument.session_id = calendar.session_id
            and calendar.date = (observed.observed_until at time zone instrument.timezone)::date
            and observed.observed_until >= calendar.opened_at
            and observed.observed_until < calendar.closed_at
),

so_far as (
    select
        running.*,
        candles.*
    from running
    cross join
        lateral (
            select
                {{ bar_columns() | indent(12) }}
            from {{ ref('candle') }} as candle
            where
                candle.instrument_id = running.instrument_id
                and candle.timeframe = running.base_timeframe
                and candle.closed_at > running.opened_at
                and candle.closed_at <= running.observed_until
                and candle.is_in_session
        ) as candles
    where candles.bar_count > 0
)

select
    instrument_id,
    exchange,
    market_type,
    symbol,
    timeframe,
    opened_at,
    closed_at,
    open,
    high,
    low,
    close,
    volume,
    bar_count,
    true as is_finished
from ohlcv
union all
select
    instrument_id,
    exchange,
    market_type,
    symbol,
    timeframe,
    opened_at,
    least(opened_at + duration, session_closed_at) as closed_at,
    open,
    high,
    low,
    close,
    volume,
    bar_count,
    false as is_finished
from so_far
