{{ config(materialized='view') }}

-- Instruments of several sessions count by the year that has most bars.
with bars_per_year as (
    select
        timeframe,
        max(bars_per_year) as bars_per_year
    from {{ ref('bars_per_year') }}
    group by timeframe
),

equity as not materialized (
    select
        equity.*,
        bars_per_year.bars_per_year
    from {{ ref('fct_portfolio_equity') }} as equity
    inner join bars_per_year on equity.timeframe = bars_per_year.timeframe
),

{{ metric_sums('equity', ['timeframe', 'signal'], 'exposure') }},

{{ metrics_of_sums(['timeframe', 'signal']) }}

select * from metric
