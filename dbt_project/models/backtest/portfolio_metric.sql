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

in_columns as (
    select
        timeframe,
        signal,
        bars_per_year,
        min(closed_at) as first_closed_at,
        max(closed_at) as last_closed_at,
        avg(exposure order by closed_at) as exposure,
        {%- for account in accounts() %}
            {%- for name, sum in account_sums(account).items() %}
                {{ sum }} as {{ name }},
            {%- endfor %}
        {%- endfor %}
        count(*) as bars
    from equity
    group by timeframe, signal, bars_per_year
),

{{ sums_by_account(['timeframe', 'signal'], accounts()) }},

{{ metrics_of_sums(['timeframe', 'signal']) }}

select * from metric
