-- Every current raw candle of an instrument's base timeframe is a candle, and no other one is.
{{ config(description='Reconciles bars.candle with raw.ohlcv: counts, and sums of prices as traded, per instrument.') }}

with raw_side as (
    select
        ohlcv.instrument_id,
        count(*) as candle_count,
        sum(ohlcv.close order by ohlcv.closed_at) as close_sum
    from {{ source('raw', 'ohlcv') }} as ohlcv
    inner join {{ ref('dim_instrument') }} as instrument
        on
            ohlcv.instrument_id = instrument.instrument_id
            and ohlcv.timeframe = instrument.base_timeframe
    group by ohlcv.instrument_id
),

bar_side as (
    select
        instrument_id,
        count(*) as candle_count,
        sum(close / price_factor order by closed_at) as close_sum
    from {{ ref('candle') }}
    group by instrument_id
)

select
    raw_side.instrument_id as raw_instrument_id,
    bar_side.instrument_id as bar_instrument_id
from raw_side
full join bar_side on raw_side.instrument_id = bar_side.instrument_id
where
    raw_side.candle_count is distinct from bar_side.candle_count
    -- Dividing by a factor may round.
    or abs(raw_side.close_sum - bar_side.close_sum) > 1e-9 * raw_side.close_sum
