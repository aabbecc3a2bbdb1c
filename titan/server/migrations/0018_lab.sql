-- What was tried: runs of backtests, their trials and what came of them. History: rows are added and stay as they are.
create sequence lab.run_id_seq;

create table lab.run (
    run_id bigint primary key default nextval('lab.run_id_seq'),
    started_at timestamptz not null default now(),
    seconds double precision not null,
    type text not null,
    timeframe text not null,
    direction text not null,
    grid jsonb not null,
    execution jsonb not null,
    costs jsonb not null,
    since timestamptz,
    until timestamptz,
    instruments integer[] not null,
    trials integer not null,
    bars bigint not null,
    change_seq bigint not null,
    flow_run_id uuid default nullif(current_setting('titan.run_id', true), '')::uuid
);
comment on table lab.run is
'One row per run of titan backtest run. What it computed was computed in one transaction: a run that failed has no row.';
comment on column lab.run.grid is 'The values of each parameter; the trials are their combinations.';
comment on column lab.run.costs is 'fee_bps, slippage_bps and borrow_bps_per_day, as the run was charged, by exchange and market type.';
comment on column lab.run.bars is 'Bars of all instruments in the range; each trial goes over all of them.';
comment on column lab.run.change_seq is 'The last change of ops.change when it ran: what was loaded or configured later it has not seen.';

create table lab.trial (
    run_id bigint not null references lab.run deferrable initially deferred,
    trial integer not null,
    params jsonb not null,
    execution jsonb not null,
    params_hash text not null,
    primary key (run_id, trial)
);
comment on table lab.trial is 'One row per combination of parameters that a run tried.';

create table lab.metric (
    run_id bigint not null,
    trial integer not null,
    instrument_id integer not null,
    account text not null check (account in ('clean', 'realistic')),
    first_closed_at timestamptz,
    last_closed_at timestamptz,
    bars bigint not null,
    exposure double precision,
    total_return double precision,
    cagr double precision,
    volatility double precision,
    sharpe double precision,
    sortino double precision,
    calmar double precision,
    maximum_drawdown double precision,
    skewness double precision,
    kurtosis double precision,
    probabilistic_sharpe double precision,
    trades bigint not null,
    win_rate double precision,
    profit_factor double precision,
    primary key (run_id, trial, instrument_id, account),
    foreign key (run_id, trial) references lab.trial deferrable initially deferred
);
comment on table lab.metric is
'One row per trial, instrument and account (clean: no costs; realistic: with costs), as in backtest.fct_strategy_metric.';

create table lab.trade (
    run_id bigint not null,
    trial integer not null,
    instrument_id integer not null,
    trade_number integer not null,
    direction text not null,
    entry_known_at timestamptz not null,
    entry_at timestamptz not null,
    entry_price double precision not null,
    exit_at timestamptz,
    exit_price double precision not null,
    exit_reason text,
    is_open boolean not null,
    clean_return double precision not null,
    realistic_return double precision not null,
    clean_profit double precision not null,
    realistic_profit double precision not null,
    primary key (run_id, trial, instrument_id, trade_number)
);
comment on table lab.trade is 'One row per trade of a trial in an instrument, as in backtest.fct_strategy_trade.';

create table lab.equity (
    run_id bigint not null,
    trial integer not null,
    instrument_id integer not null,
    closed_at timestamptz not null,
    clean_equity double precision not null,
    realistic_equity double precision not null,
    realistic_hold_equity double precision not null,
    primary key (run_id, trial, instrument_id, closed_at)
);
comment on table lab.equity is 'One row per bar of the trial of a run with the best mean realistic Sharpe ratio.';

create view lab.portfolio_equity as
with bar as (
    select
        run_id,
        trial,
        closed_at,
        instrument_id,
        clean_equity / nullif(lag(clean_equity, 1, 1::double precision) over series, 0) - 1 as clean_return,
        realistic_equity / nullif(lag(realistic_equity, 1, 1::double precision) over series, 0) - 1 as realistic_return,
        realistic_hold_equity / nullif(lag(realistic_hold_equity, 1, 1::double precision) over series, 0) - 1
            as realistic_hold_return
    from lab.equity
    window series as (partition by run_id, trial, instrument_id order by closed_at)
),
compounded as (
    select
        run_id,
        trial,
        closed_at,
        backtest.product(1 + coalesce(avg(clean_return order by instrument_id), 0)) over bars as clean_equity,
        backtest.product(1 + coalesce(avg(realistic_return order by instrument_id), 0)) over bars as realistic_equity,
        backtest.product(1 + coalesce(avg(realistic_hold_return order by instrument_id), 0)) over bars
            as realistic_hold_equity
    from bar
    group by run_id, trial, closed_at
    window bars as (partition by run_id, trial order by closed_at)
)
select
    compounded.*,
    clean_equity / greatest(1, max(clean_equity) over bars) - 1 as clean_drawdown,
    realistic_equity / greatest(1, max(realistic_equity) over bars) - 1 as realistic_drawdown,
    realistic_hold_equity / greatest(1, max(realistic_hold_equity) over bars) - 1 as realistic_hold_drawdown
from compounded
window bars as (partition by run_id, trial order by closed_at);
comment on view lab.portfolio_equity is
'One row per bar of the best trial of a run, in equal parts over its instruments, every bar anew.';

create function lab.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'lab.% is history: rows are added and stay as they are', tg_table_name;
end $$;

do $$
declare
    relation text;
begin
    foreach relation in array array['run', 'trial', 'metric', 'trade', 'equity'] loop
        execute format(
            'create trigger keep before update or delete or truncate on lab.%I for each statement '
            'execute function lab.refuse_change()', relation
        );
    end loop;
end $$;
