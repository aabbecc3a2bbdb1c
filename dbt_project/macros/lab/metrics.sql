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
{%- for shard in range(loop_shards()) %}
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
