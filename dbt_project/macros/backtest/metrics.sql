{#-
  The metrics of return series, in two steps that all results share: sums over the bars of a series, and what follows from the sums.
  Definitions and sources: docs/backtest.md.
-#}

{#-
  CTE `summed`: one row per `keys` and account, of a relation with one row per bar: `keys`, bars_per_year, closed_at, `exposure`, and of every
  account its equity, return and drawdown.
-#}
{% macro metric_sums(relation, keys, exposure='case when holding <> 0 then 1 else 0 end') -%}
{% set by = keys | join(', ') %}
in_columns as (
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
            count({{ account }}_return) as {{ account }}_n
            {%- for name, sum in return_sums(account ~ '_return', 'order by closed_at').items() %},
                {{ sum }} as {{ account }}_{{ name }}
            {%- endfor %}
        {%- endfor %}
    from {{ relation }}
    group by {{ by }}, bars_per_year
),

{{ sums_by_account(keys, accounts()) }}
{%- endmacro %}


{#- CTE `summed` from `in_columns`, which has the sums of each account in columns of its own. -#}
{% macro sums_by_account(keys, of) -%}
{% set by = keys | join(', ') %}
summed as (
    select
        {{ by }},
        in_columns.bars_per_year,
        in_columns.first_closed_at,
        in_columns.last_closed_at,
        in_columns.bars,
        in_columns.exposure,
        of_account.*
    from in_columns
    cross join
        lateral (
            values
            {%- for account in of %}
                (
                    '{{ account }}',
                    in_columns.{{ account }}_equity,
                    in_columns.{{ account }}_drawdown,
                    in_columns.{{ account }}_n
                    {%- for name in return_sums('') %},
                        in_columns.{{ account }}_{{ name }}
                    {%- endfor %}
                ){{ ',' if not loop.last }}
            {%- endfor %}
        ) as of_account (account, equity, drawdown, n, {{ return_sums('') | join(', ') }})
)
{%- endmacro %}


{#-
  What is summed of the returns that are not zero, in the order of the bars: {name: aggregate}. The built-in regression of squares on returns
  keeps all four moments in one state, by updates that do not cancel (Youngs and Cramer 1971).
-#}
{% macro return_sums(value, in_order='') %}
  {% set given = '(' ~ value ~ ' * ' ~ value ~ ', ' ~ value ~ ' ' ~ in_order ~ ') filter (where ' ~ value ~ ' <> 0)' %}
  {% set sums = {} %}
  {% for name, function in {
    'moved': 'regr_count', 'average': 'regr_avgx', 'average_square': 'regr_avgy', 'sxx': 'regr_sxx', 'sxy': 'regr_sxy', 'syy': 'regr_syy'
  }.items() %}
    {% do sums.update({name: function ~ given}) %}
  {% endfor %}
  {% do sums.update({
    'losses': 'sum(' ~ value ~ ' * ' ~ value ~ ' ' ~ in_order ~ ') filter (where ' ~ value ~ ' < 0)'
  }) %}
  {{ return(sums) }}
{% endmacro %}


{#-
  CTE `metric`: what follows from `summed`. Ratios are null where nothing varies or nothing was lost. A return that is null, after an
  account of zero, is in no sum, but its bar counts for the growth.
-#}
{% macro metrics_of_sums(keys) -%}
{% set by = keys | join(', ') %}
-- Zeros add nothing to a sum, but count.
total as (
    select
        {{ by }},
        account,
        bars_per_year,
        first_closed_at,
        last_closed_at,
        bars,
        exposure,
        equity,
        drawdown,
        nullif(n, 0)::float8 as n,
        coalesce(average * moved, 0) as s1,
        coalesce(average_square * moved, 0) as s2,
        coalesce(sxy + average * moved * average_square, 0) as s3,
        coalesce(syy + average_square * moved * average_square, 0) as s4,
        coalesce(sxx + average * moved * average, 0) as squares_from_zero,
        coalesce(losses, 0) as losses
    from summed
),

moment as (
    select
        total.*,
        s1 / n as mean,
        losses / n as downside,
        squares_from_zero - s1 * s1 / n as squares,
        s2 / n as raw_2,
        s3 / n as raw_3,
        s4 / n as raw_4
    from total
),

shaped as (
    select
        moment.*,
        -- What rounding leaves of returns that are all the same is no variance.
        case when n > 1 and squares > 1e-13 * raw_2 * n then squares / (n - 1) end as variance,
        case when n > 1 and squares > 1e-13 * raw_2 * n then squares / n end as population_variance,
        case when equity > 0 then equity ^ (bars_per_year / bars) - 1 else -1 end as cagr
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
