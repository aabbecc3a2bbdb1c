{{ config(memory='bucket', key=['instrument_id', 'timeframe', 'closed_at']) }}

with candle as (
    select * from {{ feed(ref('candle')) }}
    where timeframe = '1D' and is_in_session
),

rolled_up as (
    select * from {{ feed(ref('rollup')) }}
    where timeframe = '1D'
),

instrument as (
    select * from {{ ref('dim_instrument') }}
),

calendar as (
    select * from {{ ref('dim_calendar') }}
    where is_trading_day
),

bar as (
    select
        instrument_id,
        timeframe,
        opened_at,
        closed_at,
        open,
        high,
        low,
        close,
        volume,
        quote_volume,
        trade_count,
        price_factor,
        1 as bar_count,
        0 as missing_count,
        false as is_partial
    from candle
    union all
    select
        instrument_id,
        timeframe,
        opened_at,
        closed_at,
        open,
        high,
        low,
        close,
        volume,
        quote_volume,
        trade_count,
        price_factor,
        bar_count,
        missing_count,
        is_partial
    from rolled_up
),

final as (
    select
        bar.*,
        calendar.date as trading_date,
        calendar.trading_day_number
    from bar
    inner join instrument on bar.instrument_id = instrument.instrument_id
    inner join calendar
        on
            instrument.session_id = calendar.session_id
            and calendar.date = (bar.opened_at at time zone instrument.timezone)::date
)

-- Sums take their own order; rows that lie in that of the key are sorted in a pass, for each of the timeframes of multi_day.
select * from final
order by instrument_id, timeframe, closed_at
