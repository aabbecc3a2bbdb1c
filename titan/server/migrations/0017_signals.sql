-- Signals, what trading costs, and when instruments are delisted. What a type takes is told by dbt_project/macros/signals/types;
-- the build checks each row and names the one that is wrong.
create table config.signal (
    signal text primary key check (signal ~ '^[a-z][a-z0-9_]*$'),
    type text not null,
    timeframe text not null,
    params jsonb not null default '{}' check (jsonb_typeof(params) = 'object'),
    direction text not null default 'long' check (direction in ('long', 'short', 'both')),
    execution jsonb not null default '{}' check (jsonb_typeof(execution) = 'object'),
    is_enabled boolean not null default true
);
comment on table config.signal is
'One row per signal: insert into config.signal values (''golden_cross'', ''sma_crossover'', ''1D'', ''{"fast": 50, "slow": 200}'') '
'and build. A change makes the signals anew.';
comment on column config.signal.signal is 'A name for the row, by which trades and metrics are found.';
comment on column config.signal.type is 'The declaration that computes it: dbt_project/macros/signals/types.';
comment on column config.signal.timeframe is 'The timeframe whose bars it looks at, in every instrument that has features of it.';
comment on column config.signal.params is 'What the type asks for, by name.';
comment on column config.signal.direction is 'Which positions it opens: long, short, or both.';
comment on column config.signal.execution is
'How it is traded, by name: fraction, volatility_target, pyramiding, exit_units, stop_loss, take_profit, trailing_stop, '
'execution_timeframe (docs/backtest.md).';

insert into config.signal (signal, type, timeframe, params, direction, execution) values
('ema_crossover_9_21', 'ema_crossover', '1D', '{"fast": 9, "slow": 21}', 'long', '{}'),
('sma_crossover_50_200', 'sma_crossover', '1D', '{"fast": 50, "slow": 200}', 'long', '{}'),
('rsi_mean_revert_14', 'rsi_mean_revert', '1D', '{"period": 14, "oversold": 30, "overbought": 70, "exit": 50}', 'long', '{}'),
('atr_breakout_20_14', 'atr_breakout', '1D', '{"channel": 20, "period": 14, "expansion": 1.0}', 'long', '{}'),
('ema_rsi_9_21_14', 'ema_rsi', '1D', '{"fast": 9, "slow": 21, "period": 14, "momentum": 55}', 'long', '{}'),
(
    'macd_bollinger_20_2', 'macd_bollinger', '1D',
    '{"fast": 12, "slow": 26, "signal": 9, "period": 20, "deviations": 2}', 'long', '{"stop_loss": 0.1}'
);

create table config.cost (
    exchange text not null check (exchange = lower(exchange)),
    market_type text not null,
    fee_bps double precision not null check (fee_bps >= 0 and fee_bps < 10000),
    slippage_bps double precision not null check (slippage_bps >= 0 and slippage_bps < 10000),
    borrow_bps_per_day double precision not null check (borrow_bps_per_day >= 0 and borrow_bps_per_day < 10000),
    primary key (exchange, market_type)
);
comment on table config.cost is
'What trading costs, one row per exchange and market type; * stands for every one without a row of its own.';
comment on column config.cost.fee_bps is 'Of the notional of every fill, in hundredths of a per cent.';
comment on column config.cost.slippage_bps is 'By how much a fill is worse than its price, in hundredths of a per cent.';
comment on column config.cost.borrow_bps_per_day is
'Of the notional of a short at its entry, for every day that it is open, in hundredths of a per cent: borrow or funding.';

insert into config.cost values ('*', '*', 10, 5, 2);

create table config.delisting (
    exchange text not null,
    market_type text not null default 'spot',
    symbol text not null,
    delisted_at timestamptz not null,
    primary key (exchange, market_type, symbol)
);
comment on table config.delisting is
'Instruments that are traded no longer. An open position leaves at the last traded close, flagged.';

do $$
declare
    relation text;
begin
    foreach relation in array array['signal', 'cost', 'delisting'] loop
        execute format(
            'create trigger publish after insert or update or delete or truncate on config.%I '
            'for each statement execute function config.publish_table()', relation
        );
    end loop;
end $$;

create schema signals;
create schema backtest;
create schema lab;

-- One unit of a position while it is open: what it came in at and where it leaves.
create type backtest.unit as (
    trade_number integer,
    direction integer,
    known_at timestamptz,
    entry_at timestamptz,
    entry_price double precision,
    realistic_entry_price double precision,
    quantity double precision,
    realistic_quantity double precision,
    entry_fee double precision,
    borrow_per_day double precision,
    stop_price double precision,
    target_price double precision,
    best_price double precision
);

-- A running product, as an aggregate and over a window.
create aggregate backtest.product(double precision) (
    sfunc = float8mul, stype = double precision, initcond = '1', parallel = safe
);

-- The standard normal distribution by its power series (Marsaglia 2004, Journal of Statistical Software 11): to 1e-15.
create function backtest.normal_cdf(x double precision) returns double precision
language plpgsql immutable strict parallel safe as $cdf$
declare
    term double precision := x;
    total double precision := x;
    before double precision := 0;
    divisor integer := 1;
begin
    if abs(x) > 8 then
        return case when x > 0 then 1 else 0 end;
    end if;
    while total <> before loop
        before := total;
        divisor := divisor + 2;
        term := term * x * x / divisor;
        total := total + term;
    end loop;
    return 0.5 + total * exp(-0.5 * x * x) / sqrt(2 * pi());
end $cdf$;

do $$
declare
    schema_name text;
begin
    if exists (select from pg_roles where rolname = 'titan_reader') then
        grant select on config.signal, config.cost, config.delisting to titan_reader;
        foreach schema_name in array array['signals', 'backtest', 'lab'] loop
            execute format('grant usage on schema %I to titan_reader', schema_name);
            execute format('alter default privileges in schema %I grant select on tables to titan_reader', schema_name);
        end loop;
    end if;
end $$;
