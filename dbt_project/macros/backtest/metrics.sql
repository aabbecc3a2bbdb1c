{#-
  The metrics of return series, in two steps that all results share: sums over the bars of a series, and what follows from the sums.
  Definitions and sources: docs/backtest.md.

  The sums of an instrument's accounts are taken span by span and then added up, so that one more bar costs a span and not a history.
-#}

{#- The names of metrics, in the order of the columns of lab.metric: what follows from `returns`, or from `trades` (titan/lab/metrics.py). -#}
{% macro metrics(of) %}
  {{ return({
    'returns': [
      'exposure', 'total_return', 'cagr', 'volatility', 'sharpe', 'sortino', 'calmar', 'maximum_drawdown', 'skewness', 'kurtosis',
      'probabilistic_sharpe',
    ],
    'trades': ['trades', 'win_rate', 'profit_factor'],
  }[of]) }}
{% endmacro %}


{#- Those columns of a relation, in an insert and what it selects. -#}
{% macro columns_of(relation, names) -%}
{% for name in names %}{{ relation ~ '.' if relation }}{{ name }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}


{#- The span of 30 days, counted from 1970, that a bar closes in: its beginning. -#}
{% macro span_of(closed_at) -%}
date_bin({{ span_length() }}, {{ closed_at }} - interval '1 microsecond', timestamptz 'epoch')
{%- endmacro %}


{#- 30 days, in hours: a day that is added to a moment is as long as the session's time zone has it. -#}
{% macro span_length() %}interval '720 hours'{% endmacro %}


{#- What is kept of an account's equity, returns and drawdowns, one row per bar: {column: aggregate}. -#}
{% macro account_sums(account) %}
  {% set sums = {
    account ~ '_equity': '(array_agg(' ~ account ~ '_equity order by closed_at desc))[1]',
    account ~ '_drawdown': 'min(' ~ account ~ '_drawdown)',
    account ~ '_n': 'count(' ~ account ~ '_return)',
  } %}
  {% for name, sum in return_sums(account ~ '_return', 'order by closed_at').items() %}
    {% do sums.update({account ~ '_' ~ name: sum}) %}
  {% endfor %}
  {{ return(sums) }}
{% endmacro %}


{#- The same of a longer time, from sums over its parts, in the order of their closed_at. -#}
{% macro added_sums(account) %}
  {% set sums = {
    account ~ '_equity': '(array_agg(' ~ account ~ '_equity order by closed_at desc))[1]',
    account ~ '_drawdown': 'min(' ~ account ~ '_drawdown)',
    account ~ '_n': 'sum(' ~ account ~ '_n)::bigint',
  } %}
  {% for name in return_sums('') %}
    {% do sums.update({account ~ '_' ~ name: 'sum(' ~ account ~ '_' ~ name ~ ' order by closed_at)'}) %}
  {% endfor %}
  {{ return(sums) }}
{% endmacro %}


{#-
  What is summed of the returns in the order of the bars, zeros left out: {name: aggregate}, powers and the squares of losses. The built-in
  regression of squares on returns keeps what all four powers need in one state, by updates that do not cancel (Youngs and Cramer 1971).
-#}
{% macro return_sums(value, in_order='') %}
  {% set given = '(' ~ value ~ ' * ' ~ value ~ ', ' ~ value ~ ' ' ~ in_order ~ ') filter (where ' ~ value ~ ' <> 0)' %}
  {% set moved, average, average_square = 'regr_count' ~ given, 'regr_avgx' ~ given, 'regr_avgy' ~ given %}
  {{ return({
    's1': 'coalesce(' ~ average ~ ' * ' ~ moved ~ ', 0)',
    's2': 'coalesce(' ~ average_square ~ ' * ' ~ moved ~ ', 0)',
    's3': 'coalesce(regr_sxy' ~ given ~ ' + ' ~ average ~ ' * ' ~ moved ~ ' * ' ~ average_square ~ ', 0)',
    's4': 'coalesce(regr_syy' ~ given ~ ' + ' ~ average_square ~ ' * ' ~ moved ~ ' * ' ~ average_square ~ ', 0)',
    'losses': 'coalesce(sum(' ~ value ~ ' * ' ~ value ~ ' ' ~ in_order ~ ') filter (where ' ~ value ~ ' < 0), 0)',
  }) }}
{% endmacro %}


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
        ) as of_account (account, equity, drawdown, bars_with_return, {{ return_sums('') | join(', ') }})
)
{%- endmacro %}


{#-
  CTE `metric`: what follows from `summed`. Ratios are null where nothing varies or nothing was lost. A return that is null is in
  no sum, but its bar counts for the growth.
-#}
{% macro metrics_of_sums(keys) -%}
{% set by = keys | join(', ') %}
counted as (
    select
        summed.*,
        nullif(bars_with_return, 0)::float8 as n
    from summed
),

moment as (
    select
        counted.*,
        s1 / n as mean,
        losses / n as downside,
        s2 - s1 * s1 / n as squares,
        s2 / n as raw_2,
        s3 / n as raw_3,
        s4 / n as raw_4
    from counted
),

shaped as (
    select
        moment.*,
        -- What rounding leaves of returns that are all the same is no variance.
        case when n > 1 and squares > 1e-13 * raw_2 * n then squares / (n - 1) end as variance,
        case when n > 1 and squares > 1e-13 * raw_2 * n then squares / n end as population_variance,
        case
            when equity <= 0 then -1
            -- Beyond what a number can hold nothing is said: an hour's return to the power of a year.
            when abs(ln(equity) * bars_per_year / bars) < 700 then equity ^ (bars_per_year / bars) - 1
        end as cagr
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
        backtest.probabilistic_sharpe(sharpe_per_bar, 0, n, skewness, kurtosis) as probabilistic_sharpe,
        equity <= 0 as is_ruined
    from ratio
)
{%- endmacro %}
