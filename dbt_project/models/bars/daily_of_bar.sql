{{ config(materialized='view') }}

select
    daily.instrument_id,
    timeframe.timeframe,
    daily.closed_at,
    daily.trading_date,
    daily.trading_day_number,
    {{ period_number('timeframe', 'daily.trading_date', 'daily.trading_day_number') }} as bar_number,
    daily.open,
    daily.high,
    daily.low,
    daily.close,
    daily.volume,
    daily.quote_volume,
    daily.trade_count,
    daily.price_factor
from {{ ref('daily') }} as daily
inner join {{ ref('dim_timeframe') }} as timeframe on not timeframe.is_intraday and timeframe.timeframe <> '1D'
