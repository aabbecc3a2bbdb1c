-- Parameters chosen on one part of the history and judged on the next, and the strategies that somebody approved on that ground.
create table lab.walk (
    walk_id bigint generated always as identity primary key,
    begun_at timestamptz not null default now(),
    type text not null,
    timeframe text not null,
    direction text not null,
    grid jsonb not null,
    execution jsonb not null,
    costs jsonb not null,
    delistings jsonb not null,
    instruments integer[] not null,
    since timestamptz,
    until timestamptz not null,
    scheme text not null check (scheme in ('anchored', 'rolling')),
    folds integer not null check (folds > 0),
    train_bars integer not null check (train_bars > 0),
    test_bars integer not null check (test_bars > 0),
    embargo_bars integer not null check (embargo_bars >= 0),
    metric text not null,
    trials integer not null,
    code_hash text not null,
    data_hash text not null
);
comment on table lab.walk is 'One row per walk-forward: what it was asked for. It is over when it has a row in lab.walk_metric.';
comment on column lab.walk.train_bars is 'Bars to choose by: of every fold (rolling), or of the first one (anchored); the embargo is the end of them.';
comment on column lab.walk.data_hash is 'SHA-256 over the bars of all instruments until the end: a walk goes on over the same ones only.';

create table lab.fold (
    walk_id bigint not null references lab.walk,
    fold integer not null,
    train_from timestamptz,
    train_until timestamptz not null,
    test_from timestamptz not null,
    test_until timestamptz not null,
    run_id bigint not null references lab.run deferrable initially deferred,
    test_run_id bigint not null references lab.run deferrable initially deferred,
    trial integer not null,
    params jsonb not null,
    params_hash text not null,
    in_sample double precision not null,
    out_of_sample double precision,
    finished_at timestamptz not null default clock_timestamp(),
    primary key (walk_id, fold)
);
comment on table lab.fold is
'One row per fold of a walk-forward: run_id tried the grid on bars from train_from until train_until, test_run_id the best of it on '
'bars from test_from until test_until.';
comment on column lab.fold.in_sample is 'The metric by which the trial was chosen.';
comment on column lab.fold.out_of_sample is 'The same metric of the bars after.';

create table lab.walk_metric (
    walk_id bigint primary key references lab.walk,
    first_closed_at timestamptz not null,
    last_closed_at timestamptz not null,
    bars bigint not null,
    exposure double precision not null,
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
    result_hash text not null
);
comment on table lab.walk_metric is 'One row per walk-forward that is over: what its folds came to out of sample, one after the other, after costs.';
comment on column lab.walk_metric.result_hash is
'SHA-256 over the choices and the stitched equity: the same walk over the same bars gives the same.';

create view lab.walk_equity as
with bar as (
    select
        fold.walk_id,
        fold.fold,
        equity.closed_at,
        equity.instrument_id,
        equity.clean_equity / nullif(lag(equity.clean_equity, 1, 1::double precision) over series, 0) - 1 as clean_return,
        equity.realistic_equity / nullif(lag(equity.realistic_equity, 1, 1::double precision) over series, 0) - 1
            as realistic_return,
        equity.realistic_hold_equity / nullif(lag(equity.realistic_hold_equity, 1, 1::double precision) over series, 0) - 1
            as realistic_hold_return
    from lab.fold as fold
    inner join lab.equity as equity on fold.test_run_id = equity.run_id
    window series as (partition by equity.run_id, equity.instrument_id order by equity.closed_at)
),
returned as (
    select
        walk_id,
        fold,
        closed_at,
        coalesce(avg(clean_return order by instrument_id), 0) as clean_return,
        coalesce(avg(realistic_return order by instrument_id), 0) as realistic_return,
        coalesce(avg(realistic_hold_return order by instrument_id), 0) as realistic_hold_return
    from bar
    group by walk_id, fold, closed_at
),
compounded as (
    select
        returned.*,
        backtest.product(1 + clean_return) over bars as clean_equity,
        backtest.product(1 + realistic_return) over bars as realistic_equity,
        backtest.product(1 + realistic_hold_return) over bars as realistic_hold_equity
    from returned
    window bars as (partition by walk_id order by closed_at)
)
select
    compounded.*,
    clean_equity / greatest(1, max(clean_equity) over bars) - 1 as clean_drawdown,
    realistic_equity / greatest(1, max(realistic_equity) over bars) - 1 as realistic_drawdown,
    realistic_hold_equity / greatest(1, max(realistic_hold_equity) over bars) - 1 as realistic_hold_drawdown
from compounded
window bars as (partition by walk_id order by closed_at);
comment on view lab.walk_equity is
'One row per bar out of sample: the folds of a walk-forward one after the other, in equal parts over the instruments. Buying and holding '
'buys anew in every fold.';

create view lab.walk_stability as
with chosen as (
    select
        fold.walk_id,
        fold.fold,
        param.name,
        param.value::double precision as value,
        param.value is distinct from lag(param.value) over (partition by fold.walk_id, param.name order by fold.fold)
        and fold.fold > 1 as is_changed
    from lab.fold as fold
    cross join lateral jsonb_each_text(fold.params) as param (name, value)
)
select
    walk_id,
    name as param,
    count(*) as folds,
    count(distinct value) as different_values,
    count(*) filter (where is_changed) as changes,
    min(value) as least,
    percentile_cont(0.5) within group (order by value) as median,
    max(value) as most
from chosen
group by walk_id, name;
comment on view lab.walk_stability is 'One row per walk-forward and parameter: how much the choice moves from fold to fold.';

create table config.approval_threshold (
    metric text primary key,
    least double precision not null
);
comment on table config.approval_threshold is
'One row per metric of lab.walk_metric that a strategy has to reach out of sample to be approved.';
insert into config.approval_threshold values
('sharpe', 1.2), ('win_rate', 0.45), ('profit_factor', 1.5), ('maximum_drawdown', -0.15);

create table lab.strategy (
    strategy text primary key check (strategy ~ '^[a-z][a-z0-9_]*$'),
    walk_id bigint not null references lab.walk_metric,
    type text not null,
    timeframe text not null,
    direction text not null,
    params jsonb not null,
    execution jsonb not null,
    params_hash text not null
);
comment on table lab.strategy is
'One row per strategy that was proposed: the choice of the last fold of a walk-forward, whose results speak for it.';

create table lab.approval (
    approval_id bigint generated always as identity primary key,
    strategy text not null references lab.strategy,
    decided_at timestamptz not null default clock_timestamp(),
    from_status text,
    to_status text not null check (to_status in ('draft', 'approved', 'active', 'archived')),
    decided_by text not null,
    reason text not null check (reason <> ''),
    evidence jsonb not null,
    check (
        (from_status is null and to_status = 'draft')
        or (from_status = 'draft' and to_status in ('approved', 'archived'))
        or (from_status = 'approved' and to_status in ('active', 'archived'))
        or (from_status = 'active' and to_status = 'archived')
    ),
    unique (strategy, to_status)
);
comment on table lab.approval is 'One row per decision about a strategy: who took it, when and why.';
comment on column lab.approval.evidence is 'What it was decided on: the metrics out of sample and the thresholds of that moment.';

create view lab.strategy_status as
select distinct on (strategy.strategy)
    strategy.*,
    approval.to_status as status,
    approval.decided_at,
    approval.decided_by,
    approval.reason
from lab.strategy as strategy
inner join lab.approval as approval on strategy.strategy = approval.strategy
order by strategy.strategy, approval.approval_id desc;
comment on view lab.strategy_status is 'One row per strategy: what it is now, by the last decision. Those that are active are live.';

do $$
declare
    relation text;
begin
    foreach relation in array array['walk', 'fold', 'walk_metric', 'strategy', 'approval'] loop
        execute format(
            'create trigger keep before update or delete or truncate on lab.%I for each statement '
            'execute function lab.refuse_change()', relation
        );
    end loop;
    if exists (select from pg_roles where rolname = 'titan_reader') then
        grant select on config.approval_threshold to titan_reader;
    end if;
end $$;
