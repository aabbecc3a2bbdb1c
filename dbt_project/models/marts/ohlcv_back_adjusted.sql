with ohlcv as (
    select * from {{ ref('ohlcv') }}
),

-- The factors of today: with the next split, every price before it changes. For charts, not for research.
latest as (
    select distinct on (instrument_id)
        instrument_id,
        price_factor,
        volume_divisor
    from {{ ref('adjustment_factor') }}
    order by instrument_id asc, closed_at desc
)

select
    ohlcv.instrument_id,
    ohlcv.exchange,
    ohlcv.market_type,
    ohlcv.symbol,
    ohlcv.timeframe,
    ohlcv.opened_at,
    ohlcv.closed_at,
    ohlcv.open / coalesce(latest.price_factor, 1) as open,
    ohlcv.high / coalesce(latest.price_factor, 1) as high,
    ohlcv.low / coalesce(latest.price_factor, 1) as low,
    ohlcv.close / coalesce(latest.price_factor, 1) as close,
    ohlcv.volume * coalesce(latest.volume_divisor, 1) as volume
from ohlcv
left join latest on ohlcv.instrument_id = latest.instrument_id
