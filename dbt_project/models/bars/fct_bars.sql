{{ config(materialized='view') }}

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
    1 as bar_count,
    0 as missing_count,
    false as is_partial
from {{ ref('candle') }}
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
    bar_count,
    missing_count,
    is_partial
from {{ ref('rollup_1d') }}
