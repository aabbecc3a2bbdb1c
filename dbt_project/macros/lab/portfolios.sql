{#- Of each trial its realistic accounts in all instruments, in equal parts, and how sure one can be that the best is not luck. -#}
{% macro lab_portfolios(work, spec) %}
create unlogged table {{ work }}portfolio as
{%- for shard in range(loop_shards()) %}
select signal.signal, sums.*
from {{ work }}signal as signal
cross join lateral {{ work }}portfolios(signal.signal) as sums
where mod(signal.signal::integer, {{ loop_shards() }}) = {{ shard }}
{{ 'union all' if not loop.last }}
{%- endfor %};
create unlogged table {{ work }}portfolio_metric as
with in_columns as (
    select
        portfolio.*,
        of_year.bars_per_year
    from {{ work }}portfolio as portfolio
    cross join (
        select max(series.bars_per_year) as bars_per_year
        from {{ work }}series as series
        where series.timeframe in (select signal.timeframe from {{ work }}signal as signal)
    ) as of_year
),

{{ sums_by_account(['signal'], ['realistic']) }},

{{ metrics_of_sums(['signal']) }}

select
    metric.*,
    metric.sharpe / sqrt(in_columns.bars_per_year) as sharpe_per_bar,
    metric.volatility / sqrt(in_columns.bars_per_year) as deviation
from metric
inner join in_columns on metric.signal = in_columns.signal;
create unlogged table {{ work }}deflation as
with together as (
    {#- The variance of a sum of standardised returns is the sum of all their correlations. #}
    select var_samp(at_instant.total) as variance
    from (
        select sum(one.value / metric.deviation order by metric.signal::integer) as total
        from {{ work }}portfolio as portfolio
        inner join {{ work }}portfolio_metric as metric on portfolio.signal = metric.signal
        cross join lateral unnest(portfolio.returns) with ordinality as one (value, instant)
        where metric.deviation > 0
        group by one.instant
    ) as at_instant
),

spread as (
    select
        count(metric.sharpe_per_bar)::float8 as trials,
        stddev_samp(metric.sharpe_per_bar) as sharpe_deviation
    from {{ work }}portfolio_metric as metric
),

correlated as (
    select
        spread.*,
        least(1, greatest(0, (together.variance - spread.trials) / nullif(spread.trials * (spread.trials - 1), 0))) as mean_correlation
    from spread
    cross join together
),

effective as (
    select
        correlated.*,
        case
            when correlated.trials <= 1 then correlated.trials
            else correlated.mean_correlation + (1 - correlated.mean_correlation) * correlated.trials
        end as effective_trials
    from correlated
)

select
    effective_trials,
    case when trials > 1 then mean_correlation end as mean_correlation,
    sharpe_deviation,
    backtest.expected_maximum_sharpe(coalesce(sharpe_deviation, 0), effective_trials) as expected_maximum_sharpe
from effective;
insert into lab.portfolio_metric (
    run_id, trial, first_closed_at, last_closed_at, bars,
    {{ columns_of('', metrics('returns')) }}, deflated_sharpe,
    {{ columns_of('', metrics('trades')) }}
)
select
    {{ spec.run }}, metric.signal::integer, metric.first_closed_at, metric.last_closed_at, metric.bars,
    {{ columns_of('metric', metrics('returns')) }},
    backtest.probabilistic_sharpe(
        metric.sharpe_per_bar, deflation.expected_maximum_sharpe, metric.bars, metric.skewness, metric.kurtosis
    ),
    coalesce(traded.trades, 0), traded.win_rate, traded.profit_factor
from {{ work }}portfolio_metric as metric
cross join {{ work }}deflation as deflation
left join (
    select
        trade.signal,
        count(*) as trades,
        avg(case when trade.realistic_profit > 0 then 1 else 0 end)::float8 as win_rate,
        sum(greatest(trade.realistic_profit, 0) order by trade.instrument_id, trade.trade_number)
        / nullif(-sum(least(trade.realistic_profit, 0) order by trade.instrument_id, trade.trade_number), 0) as profit_factor
    from {{ work }}trade as trade
    where not trade.is_open
    group by trade.signal
) as traded on metric.signal = traded.signal
{% endmacro %}


{% macro lab_equity(work, spec) %}
insert into lab.equity (run_id, trial, instrument_id, closed_at, clean_equity, realistic_equity, realistic_hold_equity)
select {{ spec.run }}, best.trial, series.instrument_id, valued.closed_at, valued.clean_equity, valued.realistic_equity, valued.realistic_hold_equity
from (
    select trial from lab.portfolio_metric
    where run_id = {{ spec.run }}
    order by sharpe desc nulls last, trial
    limit 1
) as best
inner join {{ work }}signal as signal on best.trial = signal.signal::integer
cross join {{ work }}series as series
cross join lateral {{ work }}equity(signal.signal, series.instrument_id, series.timeframe, '-infinity') as valued
where series.timeframe = signal.timeframe
{% endmacro %}
