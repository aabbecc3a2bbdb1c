{{ config(materialized='view') }}

{%- set columns = [
    'instrument_id', 'timeframe', 'opened_at', 'closed_at', 'open', 'high', 'low', 'close', 'volume', 'quote_volume',
    'trade_count', 'price_factor'
] %}

-- What is no bar is left out at the end. With conditions of their own, or behind a `with`, the parts would not be read in
-- the order of their keys, and the one bar before a new one would be found by sorting all of its series.
select
    {{ columns | join(',\n    ') }},
    bar_count,
    missing_count,
    has_gap,
    is_partial,
    tf_days_realized,
    bar_number
from (
    select
        {{ columns | join(',\n        ') }},
        1 as bar_count,
        0 as missing_count,
        false as has_gap,
        false as is_partial,
        null::integer as tf_days_realized,
        null::integer as bar_number,
        timeframe <> '1D' and is_in_session as is_bar
    from {{ ref('candle') }}
    union all
    select
        {{ columns | join(',\n        ') }},
        bar_count,
        missing_count,
        missing_count > 0 as has_gap,
        is_partial,
        null::integer as tf_days_realized,
        null::integer as bar_number,
        timeframe <> '1D' as is_bar
    from {{ ref('rollup') }}
    union all
    select
        {{ columns | join(',\n        ') }},
        bar_count,
        missing_count,
        missing_count > 0 as has_gap,
        is_partial,
        1 as tf_days_realized,
        trading_day_number as bar_number,
        true as is_bar
    from {{ ref('daily') }}
    union all
    select
        {{ columns | join(',\n        ') }},
        bar_count,
        missing_count,
        missing_count > 0 as has_gap,
        is_partial,
        tf_days_realized,
        bar_number,
        true as is_bar
    from {{ ref('multi_day') }}
) as part
where is_bar
