-- What was loaded: the current candles, every version they ever had, and what was turned away.
create schema if not exists raw;

create table raw.instrument (
    instrument_id integer generated always as identity primary key,
    exchange text not null check (exchange = lower(exchange)),
    market_type text not null check (market_type in ('spot', 'perpetual', 'future', 'index')),
    symbol text not null,
    base_timeframe text references config.timeframe,
    session_id text not null references config.session,
    created_at timestamptz not null default clock_timestamp(),
    unique (exchange, market_type, symbol)
);
comment on table raw.instrument is 'One row per (exchange, market type, symbol). Spot and perpetual BTC/USDT are two instruments.';
comment on column raw.instrument.base_timeframe is
'The timeframe that coarser bars come from, set by the first load; null while the instrument has no candles.';

create table raw.load_batch (
    batch_id bigint generated always as identity primary key,
    source text not null,
    origin text not null,
    timeframe text,
    started_at timestamptz not null,
    promoted_at timestamptz not null default clock_timestamp(),
    rows_read bigint not null default 0,
    rows_inserted bigint not null default 0,
    rows_revised bigint not null default 0,
    rows_unchanged bigint not null default 0,
    rows_duplicate bigint not null default 0,
    rows_unfinished bigint not null default 0,
    rows_quarantined bigint not null default 0,
    rows_deleted bigint not null default 0,
    details jsonb not null default '{}'
);
comment on table raw.load_batch is
'One row per promotion or deletion, numbered in the order in which they took effect; append-only.';
comment on column raw.load_batch.details is 'What was inferred from the file, or what was asked of the exchange.';

create table raw.ohlcv (
    instrument_id integer not null,
    timeframe text not null,
    opened_at timestamptz not null,
    closed_at timestamptz not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    quote_volume double precision,
    trade_count bigint,
    batch_id bigint not null,
    primary key (instrument_id, timeframe, closed_at)
);
comment on table raw.ohlcv is
'One row per (instrument, timeframe, closed_at): the current version of each finished candle. opened_at is included, closed_at is not.';
comment on column raw.ohlcv.volume is 'In units of the base asset.';
comment on column raw.ohlcv.quote_volume is 'In units of the quote asset; null where the source has none.';
comment on column raw.ohlcv.trade_count is 'Number of trades; null where the source has none.';

create table raw.ohlcv_revision (
    instrument_id integer not null,
    timeframe text not null,
    opened_at timestamptz not null,
    closed_at timestamptz not null,
    open double precision not null,
    high double precision not null,
    low double precision not null,
    close double precision not null,
    volume double precision not null,
    quote_volume double precision,
    trade_count bigint,
    from_batch bigint not null,
    to_batch bigint not null,
    primary key (instrument_id, timeframe, closed_at, from_batch)
);
comment on table raw.ohlcv_revision is
'One row per version of a candle that no longer stands: it stood from from_batch until to_batch replaced or deleted it. Append-only.';

create function raw.ohlcv_as_of(batch bigint) returns table (
    instrument_id integer, timeframe text, opened_at timestamptz, closed_at timestamptz,
    open double precision, high double precision, low double precision, close double precision,
    volume double precision, quote_volume double precision, trade_count bigint
) language sql stable as $$
    select
        instrument_id, timeframe, opened_at, closed_at, open, high, low, close, volume, quote_volume, trade_count
    from raw.ohlcv where batch_id <= batch
    union all
    select
        instrument_id, timeframe, opened_at, closed_at, open, high, low, close, volume, quote_volume, trade_count
    from raw.ohlcv_revision where from_batch <= batch and to_batch > batch
$$;
comment on function raw.ohlcv_as_of(bigint) is 'The candles as they stood once that batch had taken effect.';

create table raw.observed (
    instrument_id integer not null references raw.instrument,
    timeframe text not null,
    observed tstzmultirange not null,
    primary key (instrument_id, timeframe)
);
comment on table raw.observed is
'One row per series: the time that its source was asked about. A missing candle inside did not exist; outside it was never fetched.';

create table raw.quarantine (
    quarantine_id bigint generated always as identity primary key,
    batch_id bigint not null,
    exchange text,
    market_type text,
    symbol text,
    timeframe text,
    origin text not null,
    row_number bigint not null,
    reason text not null,
    value text,
    record text not null,
    record_hash text generated always as (md5(record)) stored,
    quarantined_at timestamptz not null default clock_timestamp()
);
create unique index quarantine_record on raw.quarantine (
    coalesce(exchange, ''), coalesce(market_type, ''), coalesce(symbol, ''), coalesce(timeframe, ''), reason, record_hash
);
comment on table raw.quarantine is 'One row per record that was turned away, with the reason and its original text.';
comment on column raw.quarantine.origin is 'The file or the request that it came from, first seen.';
comment on column raw.quarantine.row_number is 'Line of the file, or position in the answer, counting from 1.';
comment on column raw.quarantine.reason is 'The predicate that does not hold (expectations/predicates.py), or why it could not be parsed.';

-- Edits of configuration are changes like any other. Those of a session or an exchange concern only the instruments there.
create function config.publish_session() returns trigger language plpgsql as $$
begin
    insert into ops.change (node, instrument_id)
    select 'config.session', instrument_id from raw.instrument
    where session_id in (old.session_id, new.session_id);
    return null;
end $$;
create trigger publish after insert or update or delete on config.session
for each row execute function config.publish_session();

create function config.publish_exchange() returns trigger language plpgsql as $$
begin
    insert into ops.change (node, instrument_id)
    select 'config.exchange', instrument_id from raw.instrument as instrument
    where
        instrument.exchange in (old.exchange, new.exchange)
        or (
            '*' in (old.exchange, new.exchange)
            and not exists (select from config.exchange as own where own.exchange = instrument.exchange)
        );
    return null;
end $$;
create trigger publish after insert or update or delete on config.exchange
for each row execute function config.publish_exchange();

create function config.publish_table() returns trigger language plpgsql as $$
begin
    insert into ops.change (node) values (format('%I.%I', tg_table_schema, tg_table_name));
    return null;
end $$;
create trigger publish after insert or update or delete or truncate on config.timeframe
for each statement execute function config.publish_table();

create function raw.publish_instrument() returns trigger language plpgsql as $$
begin
    insert into ops.change (node, instrument_id)
    values ('raw.instrument', coalesce(new.instrument_id, old.instrument_id));
    return null;
end $$;
create trigger publish after insert or update or delete on raw.instrument
for each row execute function raw.publish_instrument();
