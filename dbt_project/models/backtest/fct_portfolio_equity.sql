{{ config(materialized='view') }}

with compounded as (
    select
        timeframe,
        closed_at,
        signal,
        instruments,
        exposure
        {%- for account in accounts() %},
            {{ account }}_return,
            backtest.product(1 + coalesce({{ account }}_return, 0)) over bars as {{ account }}_equity
        {%- endfor %}
    from {{ ref('portfolio_return') }}
    window bars as (partition by timeframe, signal order by closed_at)
)

select
    *
    {%- for account in accounts() %},
        {{ account }}_equity / greatest(1, max({{ account }}_equity) over bars) - 1 as {{ account }}_drawdown
    {%- endfor %}
from compounded
window bars as (partition by timeframe, signal order by closed_at)
