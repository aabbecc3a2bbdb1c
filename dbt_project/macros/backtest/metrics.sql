{#-
  The metrics of return series, one row per series and account, from a relation with one row per bar: `keys`, closed_at, bars_per_year,
  holding, and of every account `<account>_equity`, `_return` and `_drawdown`. Definitions and sources: docs/backtest.md.

  Ratios are null where nothing varies or nothing was lost. A return that is null, after an account of zero, is left out of the moments.
-#}
{% macro strategy_metrics(relation, keys, exposure='case when holding <> 0 then 1 else 0 end') -%}
{% set by = keys | join(', ') %}
summed as (
    select
        {{ by }},
        bars_per_year,
        min(closed_at) as first_closed_at,
        max(closed_at) as last_closed_at,
        count(*) as bars,
        avg({{ exposure }})::float8 as exposure
        {%- for account in accounts() %},
        (array_agg({{ account }}_equity order by closed_at desc))[1] as {{ account }}_equity,
        min({{ account }}_drawdown) as {{ account }}_drawdown,
        count({{ account }}_return) as {{ account }}_n,
        sum({{ account }}_return order by closed_at) as {{ account }}_s1,
        sum({{ account }}_return ^ 2 order by closed_at) as {{ account }}_s2,
        sum({{ account }}_return ^ 3 order by closed_at) as {{ account }}_s3,
        sum({{ account }}_return ^ 4 order by closed_at) as {{ account }}_s4,
        sum(least({{ account }}_return, 0) ^ 2 order by closed_at) as {{ account }}_down
        {%- endfor %}
    from {{ relation }}
    group by {{ by }}, bars_per_year
),

moment as (
    select
        {{ by }},
        summed.bars_per_year,
        summed.first_closed_at,
        summed.last_closed_at,
        summed.bars,
        summed.exposure,
        of_account.account,
        of_account.equity,
        of_account.drawdown,
        of_account.n,
        of_account.s1 / of_account.n as mean,
        of_account.down / of_account.n as downside,
        of_account.s2 - of_account.s1 ^ 2 / of_account.n as squares,
        of_account.s3 / of_account.n as raw_3,
        of_account.s4 / of_account.n as raw_4,
        of_account.s2 / of_account.n as raw_2
    from summed
    cross join
        lateral (
            values
            {%- for account in accounts() %}
                (
                    '{{ account }}',
                    summed.{{ account }}_equity,
                    summed.{{ account }}_drawdown,
                    nullif(summed.{{ account }}_n, 0)::float8,
                    summed.{{ account }}_s1,
                    summed.{{ account }}_s2,
                    summed.{{ account }}_s3,
                    summed.{{ account }}_s4,
                    summed.{{ account }}_down
                ){{ ',' if not loop.last }}
            {%- endfor %}
        ) as of_account (account, equity, drawdown, n, s1, s2, s3, s4, down)
),

shaped as (
    select
        moment.*,
        -- What rounding leaves of returns that are all the same is no variance.
        case when n > 1 and squares > 1e-20 * raw_2 * n then squares / (n - 1) end as variance,
        case when n > 1 and squares > 1e-20 * raw_2 * n then squares / n end as population_variance,
        case when equity > 0 then equity ^ (bars_per_year / n) - 1 else -1 end as cagr
    from moment
),

ratio as (
    select
        shaped.*,
        mean / sqrt(variance) as sharpe_per_bar,
        (raw_3 - 3 * mean * raw_2 + 2 * mean ^ 3) / population_variance ^ 1.5 as skewness,
        (raw_4 - 4 * mean * raw_3 + 6 * mean ^ 2 * raw_2 - 3 * mean ^ 4) / population_variance ^ 2 as kurtosis
    from shaped
),

metric as (
    select
        {{ by }},
        account,
        first_closed_at,
        last_closed_at,
        bars,
        exposure,
        equity - 1 as total_return,
        cagr,
        sqrt(variance * bars_per_year) as volatility,
        sharpe_per_bar * sqrt(bars_per_year) as sharpe,
        mean / nullif(sqrt(downside), 0) * sqrt(bars_per_year) as sortino,
        cagr / nullif(-drawdown, 0) as calmar,
        drawdown as maximum_drawdown,
        skewness,
        kurtosis,
        backtest.normal_cdf(
            sharpe_per_bar * sqrt(n - 1)
            / nullif(sqrt(greatest(1 - skewness * sharpe_per_bar + (kurtosis - 1) / 4 * sharpe_per_bar ^ 2, 0)), 0)
        ) as probabilistic_sharpe
    from ratio
)
{%- endmacro %}
