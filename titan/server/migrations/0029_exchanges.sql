-- Whether an exchange is to be left alone is known to every process that asks exchanges, and outlasts it.
create table ops.circuit_breaker (
    exchange text primary key,
    failures integer not null check (failures > 0),
    reason text not null,
    is_asked_for boolean not null,
    failed_at timestamptz not null,
    retry_at timestamptz not null
);
comment on table ops.circuit_breaker is
'One row per exchange that did not answer when it was asked last: until retry_at nobody asks it. It has none once it answers.';
comment on column ops.circuit_breaker.failures is 'How often in a row it did not answer; waits grow with it, to a minute.';
comment on column ops.circuit_breaker.is_asked_for is 'Whether the exchange asked to be left alone (429, 418, Retry-After), whoever asks it.';

-- How far back a series goes that says no beginning of its own.
create table config.history (
    exchange text not null check (exchange = lower(exchange)),
    timeframe text not null,
    depth interval check (depth > interval '0'),
    primary key (exchange, timeframe)
);
comment on table config.history is
'How much history is loaded of a series that names no beginning; * stands for every exchange or timeframe without a row of its own.';
comment on column config.history.timeframe is 'As Titan writes it; minutes stands for all shorter than an hour, * for all.';
comment on column config.history.depth is 'Back from now; null for all that the exchange has.';

insert into config.history values ('*', '*', null), ('*', 'minutes', '180 days');

create function config.history_begins(exchange_name text, timeframe_name text, as_of timestamptz) returns timestamptz
language sql stable as $$
    -- No exchange has candles that are older than the first one that sold bitcoin.
    select coalesce(date_trunc('day', as_of - history.depth, 'UTC'), timestamptz '2010-07-17 00:00+00')
    from config.history as history
    where
        history.exchange in (exchange_name, '*')
        and (
            history.timeframe in (timeframe_name, '*')
            or (history.timeframe = 'minutes' and timeframe_name ~ '^[0-9]+m$')
        )
    order by history.exchange = '*', history.timeframe = '*', history.timeframe = 'minutes'
    limit 1
$$;
comment on function config.history_begins(text, text, timestamptz) is
'From where a series is loaded that names no beginning: by the row of config.history that names it most closely.';

alter table config.subscription alter column since drop not null;
alter table config.subscription alter column since drop default;
comment on column config.subscription.since is 'The first day to ask for; null for the depth that config.history has for it.';

-- Which symbols belonged to a set, and when: nobody has to know today what he would have chosen then.
create table config.universe (
    universe text not null check (universe <> ''),
    exchange text not null check (exchange = lower(exchange)),
    symbol text not null,
    from_date date not null,
    to_date date check (to_date > from_date),
    reason text not null default 'by hand',
    primary key (universe, exchange, symbol, from_date)
);
comment on table config.universe is 'One row per stretch of time in which a symbol belonged to a set of symbols (titan universe).';
comment on column config.universe.from_date is 'The first day on which it belonged, UTC.';
comment on column config.universe.to_date is 'The first day on which it did no longer; null if it still does.';
comment on column config.universe.reason is 'The rule that chose it, or by hand.';

create function config.universe_at(universe_name text, as_of timestamptz default now())
returns table (exchange text, symbol text) language sql stable as $$
    select universe.exchange, universe.symbol
    from config.universe as universe
    where
        universe.universe = universe_name
        and universe.from_date <= (as_of at time zone 'UTC')::date
        and (universe.to_date is null or universe.to_date > (as_of at time zone 'UTC')::date)
$$;
comment on function config.universe_at(text, timestamptz) is 'The symbols that belonged to a set at an instant.';

-- An outage is asked about once more, since exchanges mend theirs; and no oftener.
create table ops.asked_again (
    instrument_id integer not null references raw.instrument on delete cascade,
    timeframe text not null,
    gap_opened_at timestamptz not null,
    gap_closed_at timestamptz not null,
    asked_at timestamptz not null default clock_timestamp(),
    primary key (instrument_id, timeframe, gap_opened_at, gap_closed_at)
);
comment on table ops.asked_again is 'One row per gap that titan backfill asked about once more, after its source had said that there is nothing.';

-- Batches that streams tell are as many and as ordinary as those that were asked for.
create or replace function ops.prune_gate_results(kept interval default '30 days') returns bigint language sql as $$
    with pruned as (
        delete from ops.gate_result
        using raw.load_batch
        where
            gate_result.batch_id = load_batch.batch_id
            and gate_result.judged_at < clock_timestamp() - kept
            and load_batch.source in ('exchange', 'stream')
            and not load_batch.is_stopped
            and not exists (
                select from jsonb_to_recordset(gate_result.results) as result (is_met boolean) where not result.is_met
            )
        returning 1
    )
    select count(*) from pruned
$$;

create table locks.backfill ();
comment on table locks.backfill is 'Locked while somebody asks for what is missing.';

do $$
begin
    if exists (select from pg_roles where rolname = 'titan_reader') then
        grant select on all tables in schema ops to titan_reader;
        grant select on all tables in schema config to titan_reader;
    end if;
end $$;
