{{ config(memory='recursive', key=['instrument_id', 'timeframe', 'closed_at']) }}

with adjustment as (
    select * from {{ feed(ref('adjustment'), preceding=100000) }}
)

-- Forward: prices from then on are multiplied, those before stay as they are, so a later split rewrites nothing.
select
    instrument_id,
    timeframe,
    closed_at,
    ops.product(split_ratio / dividend_factor) over in_order as price_factor,
    ops.product(split_ratio) over in_order as volume_divisor
from adjustment
window in_order as (partition by instrument_id, timeframe order by closed_at)
