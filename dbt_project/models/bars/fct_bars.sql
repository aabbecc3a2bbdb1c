{{ config(materialized='view') }}

{%- set columns = [
    'instrument_id', 'timeframe', 'opened_at', 'closed_at', 'open', 'high', 'low', 'close', 'volume', 'quote_volume',
    'trade_count', 'price_factor'
] %}
{#- What is made of candles: the model, tf_days_realized, bar_number, and which of its rows are bars of this view. #}
{%- set parts = [
    ('rollup', 'null::integer', 'null::integer', "timeframe <> '1D'"),
    ('daily', '1', 'trading_day_number', 'true'),
    ('multi_day', 'tf_days_realized', 'bar_number', 'true'),
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
    {%- for name, tf_days_realized, bar_number, is_bar in parts %}
        union all
        select
            {{ columns | join(',\n            ') }},
            bar_count,
            missing_count,
            missing_count > 0 as has_gap,
            is_partial,
            {{ tf_days_realized }} as tf_days_realized,
            {{ bar_number }} as bar_number,
            {{ is_bar }} as is_bar
        from {{ ref(name) }}
    {%- endfor %}
) as part
where is_bar
