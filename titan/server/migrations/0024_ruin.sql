-- Prices of zero are warned of, and what is worth nothing stays so: ruin is neither compounded nor undone.
insert into config.expectation (expectation, suite, severity, threshold) values ('zero_price_count', '*', 'warning', 0);

create function backtest.compound(equity double precision, growth double precision) returns double precision
language plpgsql immutable strict parallel safe as $compound$
begin
    if equity <= 0 then
        return equity;
    end if;
    return equity * growth;
end $compound$;
comment on function backtest.compound is
'What an account is after it has grown by a factor; one at or below zero stays what it is: a debt does not grow back by a loss.';

-- The same aggregate under the name of what it does now: views that use it follow.
alter aggregate backtest.product(double precision) rename to compounded;
create or replace aggregate backtest.compounded(double precision) (
    sfunc = backtest.compound, stype = double precision, initcond = '1', parallel = safe
);
comment on aggregate backtest.compounded(double precision) is
'An account of 1 after growing by each factor in turn, over a window or a group; it ends where it comes to zero or below.';

alter table lab.metric add column is_ruined boolean generated always as (total_return <= -1) stored;
alter table lab.portfolio_metric add column is_ruined boolean generated always as (total_return <= -1) stored;
alter table lab.walk_metric add column is_ruined boolean generated always as (total_return <= -1) stored;
comment on column lab.metric.is_ruined is 'Nothing, or less, was left of the account: it ended there.';
comment on column lab.portfolio_metric.is_ruined is 'Nothing, or less, was left of the account: it ended there.';
comment on column lab.walk_metric.is_ruined is 'Nothing, or less, was left of the account: it ended there.';

create or replace view lab.portfolio_equity as
with bar as (
    select
        run_id,
        trial,
        closed_at,
        instrument_id,
        clean_equity,
        realistic_equity,
        realistic_hold_equity,
        lag(clean_equity, 1, 1::double precision) over series as clean_before,
        lag(realistic_equity, 1, 1::double precision) over series as realistic_before,
        lag(realistic_hold_equity, 1, 1::double precision) over series as realistic_hold_before
    from lab.equity
    window series as (partition by run_id, trial, instrument_id order by closed_at)
),
returned as (
    select
        run_id,
        trial,
        closed_at,
        avg(case when clean_before > 0 then clean_equity / clean_before - 1 else 0 end order by instrument_id) as clean_return,
        avg(case when realistic_before > 0 then realistic_equity / realistic_before - 1 else 0 end order by instrument_id)
            as realistic_return,
        avg(
            case when realistic_hold_before > 0 then realistic_hold_equity / realistic_hold_before - 1 else 0 end
            order by instrument_id
        ) as realistic_hold_return
    from bar
    group by run_id, trial, closed_at
),
compounded as (
    select
        run_id,
        trial,
        closed_at,
        backtest.compounded(1 + clean_return) over bars as clean_equity,
        backtest.compounded(1 + realistic_return) over bars as realistic_equity,
        backtest.compounded(1 + realistic_hold_return) over bars as realistic_hold_equity
    from returned
    window bars as (partition by run_id, trial order by closed_at)
)
select
    compounded.*,
    clean_equity / greatest(1, max(clean_equity) over bars) - 1 as clean_drawdown,
    realistic_equity / greatest(1, max(realistic_equity) over bars) - 1 as realistic_drawdown,
    realistic_hold_equity / greatest(1, max(realistic_hold_equity) over bars) - 1 as realistic_hold_drawdown
from compounded
window bars as (partition by run_id, trial order by closed_at);

create or replace view lab.walk_equity as
with bar as (
    select
        fold.walk_id,
        fold.fold,
        equity.closed_at,
        equity.instrument_id,
        equity.clean_equity,
        equity.realistic_equity,
        equity.realistic_hold_equity,
        lag(equity.clean_equity, 1, 1::double precision) over series as clean_before,
        lag(equity.realistic_equity, 1, 1::double precision) over series as realistic_before,
        lag(equity.realistic_hold_equity, 1, 1::double precision) over series as realistic_hold_before
    from lab.fold as fold
    inner join lab.equity as equity on fold.test_run_id = equity.run_id
    window series as (partition by equity.run_id, equity.instrument_id order by equity.closed_at)
),
returned as (
    select
        walk_id,
        fold,
        closed_at,
        avg(case when clean_before > 0 then clean_equity / clean_before - 1 else 0 end order by instrument_id) as clean_return,
        avg(case when realistic_before > 0 then realistic_equity / realistic_before - 1 else 0 end order by instrument_id)
            as realistic_return,
        avg(
            case when realistic_hold_before > 0 then realistic_hold_equity / realistic_hold_before - 1 else 0 end
            order by instrument_id
        ) as realistic_hold_return
    from bar
    group by walk_id, fold, closed_at
),
compounded as (
    select
        returned.*,
        backtest.compounded(1 + clean_return) over bars as clean_equity,
        backtest.compounded(1 + realistic_return) over bars as realistic_equity,
        backtest.compounded(1 + realistic_hold_return) over bars as realistic_hold_equity
    from returned
    window bars as (partition by walk_id order by closed_at)
)
select
    walk_id,
    fold,
    closed_at,
    case when lag(clean_equity, 1, 1::double precision) over bars > 0 then clean_return else 0 end as clean_return,
    case when lag(realistic_equity, 1, 1::double precision) over bars > 0 then realistic_return else 0 end as realistic_return,
    case when lag(realistic_hold_equity, 1, 1::double precision) over bars > 0 then realistic_hold_return else 0 end
        as realistic_hold_return,
    clean_equity,
    realistic_equity,
    realistic_hold_equity,
    clean_equity / greatest(1, max(clean_equity) over bars) - 1 as clean_drawdown,
    realistic_equity / greatest(1, max(realistic_equity) over bars) - 1 as realistic_drawdown,
    realistic_hold_equity / greatest(1, max(realistic_hold_equity) over bars) - 1 as realistic_hold_drawdown
from compounded
window bars as (partition by walk_id order by closed_at);
