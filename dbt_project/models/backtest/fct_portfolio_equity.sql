{{ config(materialized='view') }}

with compounded as (
    select
        timeframe,
        closed_at,
        signal,
        instruments,
        {%- for account in accounts() %}
            {{ account }}_return,
            backtest.compounded(1 + coalesce({{ account }}_return, 0)) over bars as {{ account }}_equity,
        {%- endfor %}
        exposure
    from {{ ref('portfolio_return') }}
    window bars as (partition by timeframe, signal order by closed_at)
)

select
    timeframe,
    closed_at,
    signal,
    instruments,
    {%- for account in accounts() %}
        {{ return_while_it_lives('compounded', account, 'bars') }} as {{ account }}_return,
        {{ account }}_equity,
        {{ account }}_equity / greatest(1, max({{ account }}_equity) over bars) - 1 as {{ account }}_drawdown,
    {%- endfor %}
    exposure
from compounded
window bars as (partition by timeframe, signal order by closed_at)
