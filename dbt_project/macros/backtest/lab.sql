{#-
  The statements of titan backtest run, as JSON: {steps: [[step, sql], …], refused: {trial: reason}, error: what no trial makes sense for, or null
  (first_refusal)}. They run in one transaction, on unlogged
  tables and functions of schema lab that the last step drops (not temporary ones: those are closed to parallel workers). What is tried is
  in the statements, what it is tried on in tables that the caller fills: `range`, `signal`, `cost`, `delisting`.

  spec  run (its id), signals (rows as of config.signal; `signal` is the number of the trial), ends (what becomes of positions that are
        open at the end: open, closed or purged)
-#}
{% macro lab_statements(spec) %}
  {% set work = 'lab.work_' ~ spec.run ~ '_' %}
  {% set grid = [] %}
  {% set refused = {} %}
  {% set tried = signal_program(spec.signals, none, goes_on=true) %}
  {% for signal in tried %}
    {% if signal.refusals %}{% do refused.update({signal.row.signal: signal.refusals[0].what}) %}{% else %}{% do grid.append(signal) %}{% endif %}
  {% endfor %}
  {% set error = first_refusal(tried, only_fatal=true) or none %}
  {% if error or not grid %}{{ return(tojson({'error': error, 'refused': refused, 'steps': []})) }}{% endif %}
  {% set needs = {} %}
  {% set timeframes = [] %}
  {% for signal in grid %}
    {% do needs.update(signal.needs) %}
    {% do timeframes.append(signal.row.timeframe) %}
    {% do timeframes.append(signal.row.execution.get('execution_timeframe', signal.row.timeframe)) %}
  {% endfor %}
  {% set indicators = [] %}
  {% for name, need in needs.items() %}
    {% do indicators.append({'indicator': 'needed_' ~ loop.index, 'kernel': need.kernel, 'params': need.params}) %}
  {% endfor %}
  {% set program = feature_program(indicators) %}
  {% set readable = readable_features(program.features) %}
  {% set from = {
    'signals': work ~ 'signal', 'events': work ~ 'event', 'bars': work ~ 'bar', 'costs': work ~ 'cost', 'fills': work ~ 'fill',
    'series': work ~ 'series', 'spans': work ~ 'span', 'instants': work ~ 'instant', 'delistings': work ~ 'delisting', 'observed': none
  } %}
  {{ return(tojson({'error': none, 'refused': refused, 'steps': [
    ['bars', lab_bars(work)],
    ['features', walk_function(program, work ~ 'walk', 'lab.nothing') ~ ';' ~ lab_features(work, program) ~ ';' ~ lab_data(work, spec, program)],
    ['signals', lab_events(work, grid, readable)],
    ['trades', fill_walk(work ~ 'fills', from, is_sparse=true, closes_at_end=(spec.ends == 'closed')) ~ ';' ~ lab_fills(work, spec)],
    ['metrics', series_spans(work ~ 'spans', from, (timeframes | unique | list | length) == 1) ~ ';' ~ lab_metrics(work, spec)],
    ['portfolios', portfolio_sums(work ~ 'portfolios', from) ~ ';' ~ lab_portfolios(work, spec)],
    ['equity of the best', equity_walk(work ~ 'equity', from) ~ ';' ~ lab_equity(work, spec)],
    ['clearing up', lab_drop(work)],
  ]})) }}
{% endmacro %}


{#- What the statements read, said while dbt reads the project: an error in a parameter is then one of the run. -#}
{% macro lab_references() %}
  {% do ref('dim_instrument') %}
  {% do ref('observed') %}
  {% do ref('fct_bars') %}
  {% do ref('gap') %}
  {% do ref('bars_per_year') %}
{% endmacro %}


{#- Bars in the range, each with the one before it; `series` has the instruments and timeframes that have any. -#}
{% macro lab_bars(work) %}
create unlogged table {{ work }}bar as
select
    bar.instrument_id,
    bar.timeframe,
    bar.opened_at,
    bar.closed_at,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    lag(bar.close) over series as previous_close,
    lag(bar.closed_at) over series as previous_closed_at
from {{ work }}range as ranged
inner join {{ ref('fct_bars') }} as bar
    on
        ranged.instrument_id = bar.instrument_id
        and ranged.timeframe = bar.timeframe
        and bar.closed_at > ranged.since
        and bar.opened_at >= ranged.since
        and bar.closed_at <= ranged.until
window series as (partition by bar.instrument_id, bar.timeframe order by bar.closed_at);
alter table {{ work }}bar add primary key (instrument_id, timeframe, closed_at);
create index on {{ work }}bar (instrument_id, timeframe, closed_at) where close = 0;
analyze {{ work }}bar;
create unlogged table {{ work }}series as
select
    spanned.*,
    last_bar.close as last_close,
    of_series.bars_per_year
from (
    select
        bar.instrument_id,
        bar.timeframe,
        count(*) as bars,
        min(bar.closed_at) as first_closed_at,
        max(bar.closed_at) as last_closed_at
    from {{ work }}bar as bar
    group by bar.instrument_id, bar.timeframe
) as spanned
inner join {{ work }}bar as last_bar
    on
        spanned.instrument_id = last_bar.instrument_id
        and spanned.timeframe = last_bar.timeframe
        and spanned.last_closed_at = last_bar.closed_at
inner join {{ ref('bars_per_year') }} as of_series
    on spanned.instrument_id = of_series.instrument_id and spanned.timeframe = of_series.timeframe;
analyze {{ work }}series;
create unlogged table {{ work }}instant as
select
    bar.closed_at,
    count(*) as instruments
from {{ work }}bar as bar
where bar.timeframe in (select signal.timeframe from {{ work }}signal as signal)
group by bar.closed_at;
analyze {{ work }}instant
{% endmacro %}


{#- From the first bar of the history on, as the stored ones: the same bits. -#}
{% macro lab_features(work, program) %}
create unlogged table {{ work }}feature as
{%- for shard in range(walk_shards()) %}
select
    series.instrument_id,
    series.timeframe,
    walked.closed_at,
    walked.close
    {%- for feature in program.features if feature.is_stored %},
    {{ feature.sql }} as {{ feature.name }}
    {%- endfor %}
from {{ work }}series as series
cross join lateral {{ work }}walk(series.instrument_id, series.timeframe, '-infinity') as walked
where
    mod(series.instrument_id, {{ walk_shards() }}) = {{ shard }}
    and series.timeframe in (select signal.timeframe from {{ work }}signal as signal)
{{ 'union all' if not loop.last }}
{%- endfor %};
analyze {{ work }}feature
{% endmacro %}


{#- Says by hashes what the run reads. -#}
{% macro lab_data(work, spec, program) %}
insert into lab.data (
    run_id, instrument_id, exchange, market_type, symbol, timeframe, first_closed_at, last_closed_at, bars, data_hash, feature_hash
)
select
    {{ spec.run }}, series.instrument_id, instrument.exchange, instrument.market_type, instrument.symbol, series.timeframe,
    series.first_closed_at, series.last_closed_at, series.bars,
    lab.hash_of_bars(series.instrument_id, series.timeframe, series.last_closed_at),
    lab.hash_of_rows(
        '{{ work }}feature',
        array['close'{% for feature in program.features if feature.is_stored %}, '{{ feature.name }}'{% endfor %}],
        series.instrument_id, series.timeframe, series.last_closed_at
    )
from {{ work }}series as series
inner join {{ ref('dim_instrument') }} as instrument on series.instrument_id = instrument.instrument_id
{% endmacro %}


{% macro lab_events(work, grid, readable) %}
create unlogged table {{ work }}event as
{{ signal_events(grid, work ~ 'feature as fed', readable) }}

select
    event.instrument_id,
    event.timeframe,
    event.closed_at,
    event.closed_at as known_at,
    event.signal,
    event.direction,
    event.action,
    event.fraction
from event
inner join {{ work }}range as ranged
    on
        event.instrument_id = ranged.instrument_id
        and event.timeframe = ranged.timeframe
        and event.closed_at between ranged.since and ranged.until;
create index on {{ work }}event (instrument_id, timeframe, signal, closed_at);
analyze {{ work }}event
{% endmacro %}


{#- One row per trial and instrument, in parts that other processes may take. -#}
{% macro lab_series(work, shard) %}
    select
        series.instrument_id,
        signal.timeframe,
        signal.signal
    from {{ work }}series as series
    inner join {{ work }}signal as signal on series.timeframe = signal.timeframe
    where mod(signal.signal::integer, {{ walk_shards() }}) = {{ shard }}
{% endmacro %}


{% macro lab_fills(work, spec) %}
create unlogged table {{ work }}fill as
{%- for shard in range(walk_shards()) %}
select series.instrument_id, series.timeframe, series.signal, filled.*
from ({{ lab_series(work, shard) }}) as series
cross join lateral {{ work }}fills(series.signal, series.instrument_id, series.timeframe, '-infinity') as filled
{{ 'union all' if not loop.last }}
{%- endfor %};
create index on {{ work }}fill (instrument_id, timeframe, signal, closed_at);
{%- if spec.ends == 'purged' %}
{#- Of what is not over at the end nothing counts: the account stops before the oldest unit that is still open was entered. #}
delete from {{ work }}fill as purged
using (
    select distinct on (fill.instrument_id, fill.timeframe, fill.signal)
        fill.instrument_id, fill.timeframe, fill.signal, fill.units[1].trade_number as oldest
    from {{ work }}fill as fill
    order by fill.instrument_id, fill.timeframe, fill.signal, fill.closed_at desc, fill.fill_number desc
) as still_open
inner join {{ work }}fill as entry
    on
        still_open.instrument_id = entry.instrument_id
        and still_open.timeframe = entry.timeframe
        and still_open.signal = entry.signal
        and still_open.oldest = entry.trade_number
        and entry.action = 'entry'
where
    purged.instrument_id = entry.instrument_id
    and purged.timeframe = entry.timeframe
    and purged.signal = entry.signal
    and purged.fill_number >= entry.fill_number;
{%- endif %}
analyze {{ work }}fill
{% endmacro %}


{% macro lab_metrics(work, spec) %}
create unlogged table {{ work }}trade as
{{ trades(work ~ 'fill', work ~ 'bar', of_signal=false) }};
insert into lab.trade (
    run_id, trial, instrument_id, trade_number, direction, entry_known_at, entry_at, entry_price, exit_at, exit_price, exit_reason, is_open,
    clean_return, realistic_return, clean_profit, realistic_profit
)
select
    {{ spec.run }}, signal::integer, instrument_id, trade_number, direction, entry_known_at, entry_at, entry_price, exit_at, exit_price,
    exit_reason, is_open, clean_return, realistic_return, clean_profit, realistic_profit
from {{ work }}trade
order by signal::integer, instrument_id, trade_number;
create unlogged table {{ work }}span as
{%- for shard in range(walk_shards()) %}
select series.*, spans.*
from ({{ lab_series(work, shard) }}) as series
cross join lateral {{ work }}spans(series.signal, series.instrument_id, series.timeframe) as spans
{{ 'union all' if not loop.last }}
{%- endfor %};
create index on {{ work }}span (signal);
analyze {{ work }}span (signal, instrument_id);
with last_fill as (
    select distinct on (fill.instrument_id, fill.timeframe, fill.signal) fill.*
    from {{ work }}fill as fill
    inner join {{ work }}series as series on fill.instrument_id = series.instrument_id and fill.timeframe = series.timeframe
    where fill.closed_at <= series.last_closed_at
    order by fill.instrument_id, fill.timeframe, fill.signal, fill.closed_at desc, fill.fill_number desc
),

added as (
    select
        instrument_id,
        timeframe,
        signal,
        sum(bars_held)::float8 as bars_held
        {%- for account in ['clean', 'realistic'] %},
        min({{ account }}_drawdown) as {{ account }}_drawdown
        {%- for name in return_sums('') %},
        sum({{ account }}_{{ name }} order by closed_at) as {{ account }}_{{ name }}
        {%- endfor %}
        {%- endfor %}
    from {{ work }}span
    group by instrument_id, timeframe, signal
),

in_columns as (
    select
        series.instrument_id,
        series.timeframe,
        signal.signal,
        series.bars_per_year,
        series.first_closed_at,
        series.last_closed_at,
        series.bars,
        coalesce(added.bars_held, 0) / series.bars::float8 as exposure,
        coalesce(last_fill.cash + last_fill.holding * series.last_close, 1) as clean_equity,
        coalesce(
            last_fill.realistic_cash + last_fill.realistic_holding * series.last_close
            - {{ borrow_until('last_fill.borrow_per_day', 'last_fill.settled_at', 'series.last_closed_at') }}, 1
        ) as realistic_equity
        {%- for account in ['clean', 'realistic'] %},
        least(added.{{ account }}_drawdown, 0) as {{ account }}_drawdown,
        series.bars as {{ account }}_n
        {%- for name in return_sums('') %},
        coalesce(added.{{ account }}_{{ name }}, 0) as {{ account }}_{{ name }}
        {%- endfor %}
        {%- endfor %}
    from {{ work }}series as series
    inner join {{ work }}signal as signal on series.timeframe = signal.timeframe
    left join added
        on series.instrument_id = added.instrument_id and series.timeframe = added.timeframe and signal.signal = added.signal
    left join last_fill
        on
            series.instrument_id = last_fill.instrument_id
            and series.timeframe = last_fill.timeframe
            and signal.signal = last_fill.signal
),

{{ sums_by_account(['instrument_id', 'timeframe', 'signal'], ['clean', 'realistic']) }},

{{ metrics_of_sums(['instrument_id', 'timeframe', 'signal']) }},

traded as (
    select
        trade.signal,
        trade.instrument_id,
        of_account.account,
        count(*) as trades,
        avg(case when of_account.profit > 0 then 1 else 0 end)::float8 as win_rate,
        sum(greatest(of_account.profit, 0) order by trade.trade_number)
        / nullif(-sum(least(of_account.profit, 0) order by trade.trade_number), 0) as profit_factor
    from {{ work }}trade as trade
    cross join lateral (
        values ('clean', trade.clean_profit), ('realistic', trade.realistic_profit)
    ) as of_account (account, profit)
    where not trade.is_open
    group by trade.signal, trade.instrument_id, of_account.account
)

insert into lab.metric (
    run_id, trial, instrument_id, account, first_closed_at, last_closed_at, bars,
    {{ columns_of('', metrics('returns')) }},
    {{ columns_of('', metrics('trades')) }}
)
select
    {{ spec.run }}, metric.signal::integer, metric.instrument_id, metric.account, metric.first_closed_at, metric.last_closed_at, metric.bars,
    {{ columns_of('metric', metrics('returns')) }},
    coalesce(traded.trades, 0), traded.win_rate, traded.profit_factor
from metric
left join traded
    on metric.signal = traded.signal and metric.instrument_id = traded.instrument_id and metric.account = traded.account
{% endmacro %}


{#- Of each trial its realistic accounts in all instruments, in equal parts, and how sure one can be that the best is not luck. -#}
{% macro lab_portfolios(work, spec) %}
create unlogged table {{ work }}portfolio as
{%- for shard in range(walk_shards()) %}
select signal.signal, sums.*
from {{ work }}signal as signal
cross join lateral {{ work }}portfolios(signal.signal) as sums
where mod(signal.signal::integer, {{ walk_shards() }}) = {{ shard }}
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


{% macro lab_drop(work) %}
drop function {{ work }}walk, {{ work }}fills, {{ work }}spans, {{ work }}portfolios, {{ work }}equity;
drop table {{ work }}range, {{ work }}signal, {{ work }}cost, {{ work }}delisting, {{ work }}bar, {{ work }}instant, {{ work }}feature, {{ work }}event, {{ work }}fill,
{{ work }}trade, {{ work }}span, {{ work }}series, {{ work }}portfolio, {{ work }}portfolio_metric, {{ work }}deflation
{% endmacro %}
