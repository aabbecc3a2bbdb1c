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
    compounded.timeframe,
    compounded.closed_at,
    compounded.signal,
    compounded.instruments,
    {%- for account in accounts() %}
        {{ return_while_it_lives('compounded', account, 'bars') }} as {{ account }}_return,
        compounded.{{ account }}_equity,
        compounded.{{ account }}_equity / greatest(1, max(compounded.{{ account }}_equity) over bars) - 1
            as {{ account }}_drawdown,
    {%- endfor %}
    compounded.exposure
from compounded
window bars as (partition by compounded.timeframe, compounded.signal order by compounded.closed_at)
