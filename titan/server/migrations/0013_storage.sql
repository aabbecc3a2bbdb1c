-- What is kept, and how: nothing of this happens unless a row asks for it and `titan storage apply` is called.
create table config.storage (
    relation text primary key
    check (relation in ('raw.ohlcv', 'bars.candle', 'bars.rollup_stored', 'features.bar_features')),
    columnstore_after interval not null check (columnstore_after >= interval '7 days')
);
comment on table config.storage is
'One row per table whose chunks older than columnstore_after go to the columnstore of TimescaleDB''s Community edition.';

create table config.retention (
    is_only_row boolean primary key default true check (is_only_row),
    candles_for interval not null check (candles_for >= interval '7 days')
);
comment on table config.retention is
'At most one row: for how long candles shorter than a day are kept. Bars that were made of them stay.';

create table ops.horizon (
    instrument_id integer primary key references raw.instrument,
    timeframe text not null,
    horizon_at timestamptz not null
);
comment on table ops.horizon is
'One row per series whose old candles were dropped: those that closed before horizon_at, a local midnight. The bars and features that '
'close by then are frozen: no build writes them again. The candle that closes at the horizon stays, for what looks one back.';

create function ops.keep_horizon() returns trigger language plpgsql as $$
begin
    if new.horizon_at < old.horizon_at then
        raise exception 'ops.horizon never moves back: the candles before % are gone', old.horizon_at;
    end if;
    return new;
end $$;
create trigger forward_only before update on ops.horizon
for each row execute function ops.keep_horizon();

do $$
begin
    if exists (select from pg_roles where rolname = 'titan_reader') then
        grant select on all tables in schema config, ops to titan_reader;
    end if;
end $$;
