with bars as (
    select * from {{ ref('fct_bars') }}
),

instrument as (
    select * from {{ ref('dim_instrument') }}
)

select
    bars.instrument_id,
    instrument.exchange,
    instrument.market_type,
    instrument.symbol,
    bars.timeframe,
    bars.opened_at,
    bars.closed_at,
    bars.open,
    bars.high,
    bars.low,
    bars.close,
    bars.volume,
    bars.quote_volume,
    bars.trade_count,
    bars.price_factor,
    bars.bar_count,
    bars.missing_count,
    bars.has_gap,
    bars.is_partial
from bars
inner join instrument on bars.instrument_id = instrument.instrument_id
