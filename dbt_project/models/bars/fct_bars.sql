{{ config(materialized='view') }}

{%- set columns = [
    'instrument_id', 'timeframe', 'opened_at', 'closed_at', 'open', 'high', 'low', 'close', 'volume', 'quote_volume',
    'trade_count', 'price_factor'
] %}

select
    {{ columns | join(',\n    ') }},
    1 as bar_count,
    0 as missing_count,
    false as has_gap,
    false as is_partial,
    null::integer as tf_days_realized,
    null::integer as bar_number
from {{ ref('candle') }}
where timeframe <> '1D' and is_in_session
union all
select
    {{ columns | join(',\n    ') }},
    bar_count,
    missing_count,
    missing_count > 0 as has_gap,
    is_partial,
    null::integer as tf_days_realized,
    null::integer as bar_number
from {{ ref('rollup') }}
where timeframe <> '1D'
union all
select
    {{ columns | join(',\n    ') }},
    bar_count,
    missing_count,
    missing_count > 0 as has_gap,
    is_partial,
    1 as tf_days_realized,
    trading_day_number as bar_number
from {{ ref('daily') }}
union all
select
    {{ columns | join(',\n    ') }},
    bar_count,
    missing_count,
    missing_count > 0 as has_gap,
    is_partial,
    tf_days_realized,
    bar_number
from {{ ref('multi_day') }}
