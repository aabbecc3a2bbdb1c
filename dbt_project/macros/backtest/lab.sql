{#-
  The statements of a run of titan backtest run, as JSON: {steps: [[step, sql], …], refused: {trial: reason}}. They run in one transaction; what they work with are unlogged
  tables and functions of schema lab that the last step drops (not temporary ones: those are closed to parallel workers).

  spec  run (its id), signals (rows as of config.signal; `signal` is the number of the trial), instruments, since, until
-#}
{% macro lab_statements(spec) %}
  {% set work = 'lab.work_' ~ spec.run ~ '_' %}
  {% set grid = [] %}
  {% set refused = {} %}
  {% for signal in signal_program(spec.signals, none, is_grid=true) %}
    {% if signal.refusals %}{% do refused.update({signal.row.signal: signal.refusals[0]}) %}{% else %}{% do grid.append(signal) %}{% endif %}
  {% endfor %}
  {% if not grid %}{{ return(tojson({'refused': refused, 'steps': []})) }}{% endif %}
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
  {% set readable = readable_features(program) %}
  {% set from = {
    'signals': work ~ 'signal', 'events': work ~ 'event', 'bars': work ~ 'bar', 'costs': work ~ 'cost', 'fills': work ~ 'fill',
    'series': work ~ 'series',
    'delistings': source('config', 'delisting')
  } %}
  {{ return(tojson({'refused': refused, 'steps': [
    ['bars', lab_bars(work, spec, timeframes | unique | sort)],
    ['features', walk_function(program, work ~ 'walk', 'lab.nothing') ~ ';' ~ lab_features(work, program, grid)],
    ['signals', lab_events(work, grid, readable, spec)],
    ['trades', fill_walk(work ~ 'fills', from, is_sparse=true) ~ ';' ~ lab_fills(work)],
    ['metrics', series_sums(work ~ 'sums', from, (timeframes | unique | list | length) == 1) ~ ';' ~ lab_metrics(work, spec)],
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
  {% do source('config', 'delisting') %}
{% endmacro %}


{#- Bars in the range, each with the one before it; the instruments of a run are in `series`. -#}
{% macro lab_bars(work, spec, timeframes) %}
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
from {{ ref('fct_bars') }} as bar
where
    bar.instrument_id = any (array[{{ spec.instruments | join(', ') }}]::integer[])
    and bar.timeframe = any (array['{{ timeframes | join("', '") }}'])
    {%- if spec.since %}
    and bar.closed_at > '{{ spec.since }}'
    and bar.opened_at >= '{{ spec.since }}'
    {%- endif %}
    {%- if spec.until %}
    and bar.closed_at <= '{{ spec.until }}'
    {%- endif %}
window series as (partition by bar.instrument_id, bar.timeframe order by bar.closed_at);
alter table {{ work }}bar add primary key (instrument_id, timeframe, closed_at);
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
analyze {{ work }}series
{% endmacro %}


{#- From the first bar of the history on, as the stored ones: the same bits. -#}
{% macro lab_features(work, program, grid) %}
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


{% macro lab_events(work, grid, readable, spec) %}
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
where
    true
    {%- if spec.since %}
    and event.closed_at >= '{{ spec.since }}'
    {%- endif %}
    {%- if spec.until %}
    and event.closed_at <= '{{ spec.until }}'
    {%- endif %};
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


{% macro lab_fills(work) %}
create unlogged table {{ work }}fill as
{%- for shard in range(walk_shards()) %}
select series.instrument_id, series.timeframe, series.signal, filled.*
from ({{ lab_series(work, shard) }}) as series
cross join lateral {{ work }}fills(series.signal, series.instrument_id, series.timeframe, '-infinity') as filled
{{ 'union all' if not loop.last }}
{%- endfor %};
create index on {{ work }}fill (instrument_id, timeframe, signal, closed_at);
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
create unlogged table {{ work }}sum as
{%- for shard in range(walk_shards()) %}
select series.*, sums.*
from ({{ lab_series(work, shard) }}) as series
cross join lateral {{ work }}sums(series.signal, series.instrument_id, series.timeframe) as sums
{{ 'union all' if not loop.last }}
{%- endfor %};
with in_columns as (
    select * from {{ work }}sum
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
        sum(greatest(of_account.profit, 0)) / nullif(-sum(least(of_account.profit, 0)), 0) as profit_factor
    from {{ work }}trade as trade
    cross join lateral (
        values ('clean', trade.clean_profit), ('realistic', trade.realistic_profit)
    ) as of_account (account, profit)
    where not trade.is_open
    group by trade.signal, trade.instrument_id, of_account.account
)

insert into lab.metric
select
    {{ spec.run }}, metric.signal::integer, metric.instrument_id, metric.account, metric.first_closed_at, metric.last_closed_at, metric.bars,
    metric.exposure, metric.total_return, metric.cagr, metric.volatility, metric.sharpe, metric.sortino, metric.calmar,
    metric.maximum_drawdown, metric.skewness, metric.kurtosis, metric.probabilistic_sharpe, coalesce(traded.trades, 0), traded.win_rate,
    traded.profit_factor
from metric
left join traded
    on metric.signal = traded.signal and metric.instrument_id = traded.instrument_id and metric.account = traded.account
{% endmacro %}


{% macro lab_equity(work, spec) %}
insert into lab.equity
select {{ spec.run }}, best.trial, series.instrument_id, valued.closed_at, valued.clean_equity, valued.realistic_equity, valued.realistic_hold_equity
from (
    select trial from lab.metric
    where run_id = {{ spec.run }} and account = 'realistic'
    group by trial
    order by avg(sharpe) desc nulls last, trial
    limit 1
) as best
inner join {{ work }}signal as signal on best.trial = signal.signal::integer
cross join {{ work }}series as series
cross join lateral {{ work }}equity(signal.signal, series.instrument_id, series.timeframe, '-infinity') as valued
where series.timeframe = signal.timeframe
{% endmacro %}


{% macro lab_drop(work) %}
drop function {{ work }}walk, {{ work }}fills, {{ work }}sums, {{ work }}equity;
drop table {{ work }}signal, {{ work }}cost, {{ work }}bar, {{ work }}feature, {{ work }}event, {{ work }}fill, {{ work }}trade, {{ work }}sum, {{ work }}series
{% endmacro %}


{#-
  The function that sums up the returns of one trial in one instrument, as metric_sums does from rows of fct_strategy_equity, without making
  those rows: it looks only at bars at which something is held or was just left, since at all others the return is zero.
-#}
{% macro series_sums(name, from, is_same_timeframe) -%}
create or replace function {{ name }}(series_signal text, series_instrument integer, series_timeframe text)
returns table (
  bars_per_year float8,
  first_closed_at timestamptz,
  last_closed_at timestamptz,
  bars bigint,
  exposure float8
  {%- for account in ['clean', 'realistic'] %},
  {{ account }}_equity float8,
  {{ account }}_drawdown float8,
  {{ account }}_n bigint
  {%- for name in return_sums('') %},
  {{ account }}_{{ name }} float8
  {%- endfor %}
  {%- endfor %}
)
language plpgsql stable strict parallel safe cost 1000000 as $sums$
#variable_conflict use_column
declare
  last_close float8;
begin
  select series.bars, series.first_closed_at, series.last_closed_at, series.last_close, series.bars_per_year
  into bars, first_closed_at, last_closed_at, last_close, bars_per_year
  from {{ from.series }} as series
  where series.instrument_id = series_instrument and series.timeframe = series_timeframe;
  clean_n := bars;
  realistic_n := bars;

  with fill as (
    select distinct on (filled.closed_at) filled.*
    from (
      select
        {#- The bar in which it shows; without looking for it where the fill is one of that bar. #}
        case
          when {{ is_same_timeframe }} and fill.opened_at < fill.closed_at then fill.closed_at
          else (
            select bar.closed_at
            from {{ from.bars }} as bar
            where bar.instrument_id = series_instrument and bar.timeframe = series_timeframe and bar.closed_at >= fill.closed_at
            order by bar.closed_at
            limit 1
          )
        end as closed_at,
        fill.fill_number, fill.cash, fill.holding, fill.realistic_cash, fill.realistic_holding, fill.borrow_per_day, fill.settled_at
      from {{ from.fills }} as fill
      where fill.instrument_id = series_instrument and fill.timeframe = series_timeframe and fill.signal = series_signal
    ) as filled
    where filled.closed_at is not null
    order by filled.closed_at, filled.fill_number desc
  ),

  state as (
    select
      fill.*,
      case when fill.holding <> 0 then lead(fill.closed_at, 1, 'infinity') over fills else fill.closed_at + interval '1 microsecond' end
        as until_at,
      lag(fill.cash, 1, 1) over fills as cash_before,
      lag(fill.holding, 1, 0) over fills as holding_before,
      lag(fill.realistic_cash, 1, 1) over fills as realistic_cash_before,
      lag(fill.realistic_holding, 1, 0) over fills as realistic_holding_before,
      lag(fill.borrow_per_day, 1, 0) over fills as borrow_before,
      lag(fill.settled_at) over fills as settled_before
    from fill
    window fills as (order by fill.closed_at)
  ),

  valued as (
    select
      bar.closed_at,
      state.holding <> 0 as is_held,
      state.cash + state.holding * bar.close as clean_equity,
      case
        when bar.closed_at = state.closed_at then state.cash_before + state.holding_before * coalesce(bar.previous_close, 0)
        else state.cash + state.holding * bar.previous_close
      end as clean_before,
      state.realistic_cash + state.realistic_holding * bar.close
        - case when state.borrow_per_day <> 0 then {{ borrow_until('state.borrow_per_day', 'state.settled_at', 'bar.closed_at') }} else 0 end
        as realistic_equity,
      case
        when bar.closed_at = state.closed_at then
          state.realistic_cash_before + state.realistic_holding_before * coalesce(bar.previous_close, 0)
          - case
            when state.borrow_before <> 0 then {{ borrow_until('state.borrow_before', 'state.settled_before', 'bar.previous_closed_at') }}
            else 0
          end
        else
          state.realistic_cash + state.realistic_holding * bar.previous_close
          - case
            when state.borrow_per_day <> 0 then {{ borrow_until('state.borrow_per_day', 'state.settled_at', 'bar.previous_closed_at') }}
            else 0
          end
      end as realistic_before
    from state
    inner join {{ from.bars }} as bar
      on
        bar.instrument_id = series_instrument
        and bar.timeframe = series_timeframe
        and bar.closed_at >= state.closed_at
        and bar.closed_at < state.until_at
  ),

  followed as (
    select
      valued.is_held,
      valued.clean_equity,
      valued.realistic_equity,
      valued.clean_equity / nullif(valued.clean_before, 0) - 1 as clean_return,
      valued.realistic_equity / nullif(valued.realistic_before, 0) - 1 as realistic_return,
      max(valued.clean_equity) over bars as clean_peak,
      max(valued.realistic_equity) over bars as realistic_peak
    from valued
    window bars as (order by valued.closed_at)
  )

  select
    count(*) filter (where is_held) / nullif(bars, 0)::float8
    {%- for account in ['clean', 'realistic'] %},
    coalesce(min({{ account }}_equity / greatest({{ account }}_peak, 1)) - 1, 0)
    {%- for sum in return_sums(account ~ '_return').values() %},
    {{ sum }}
    {%- endfor %}
    {%- endfor %}
  into
    exposure
    {%- for account in ['clean', 'realistic'] %},
    {{ account }}_drawdown
    {%- for name in return_sums('') %},
    {{ account }}_{{ name }}
    {%- endfor %}
    {%- endfor %}
  from followed;

  select
    fill.cash + fill.holding * last_close,
    fill.realistic_cash + fill.realistic_holding * last_close
      - {{ borrow_until('fill.borrow_per_day', 'fill.settled_at', 'last_closed_at') }}
  into clean_equity, realistic_equity
  from {{ from.fills }} as fill
  where fill.instrument_id = series_instrument and fill.timeframe = series_timeframe and fill.signal = series_signal
  order by fill.closed_at desc, fill.fill_number desc
  limit 1;
  clean_equity := coalesce(clean_equity, 1);
  realistic_equity := coalesce(realistic_equity, 1);
  return next;
end
$sums$
{%- endmacro %}
