-- Configuration: rows that users add and edit. The defaults are inserted here, once, and never overwritten.
create schema if not exists config;

create table config.session (
    session_id text primary key check (session_id = upper(session_id)),
    name text not null,
    is_24_7 boolean not null,
    trading_days_per_week integer not null check (trading_days_per_week between 1 and 7),
    timezone text not null,
    open_local time not null,
    close_local time not null,
    check (is_24_7 or open_local < close_local)
);
comment on table config.session is 'One row per trading session. Times are local to the timezone; a 24/7 session is the UTC day.';

insert into config.session values
('CRYPTO', 'Around the clock', true, 7, 'UTC', '00:00', '00:00'),
('EQUITY', 'US equities, regular hours', false, 5, 'America/New_York', '09:30', '16:00');

create table config.exchange (
    exchange text primary key check (exchange = lower(exchange)),
    session_id text not null references config.session,
    prints_empty_candles boolean not null,
    outage_after interval not null check (outage_after > interval '0')
);
comment on table config.exchange is
'What is known of a source, one row each; the row * stands for every source without one of its own.';
comment on column config.exchange.prints_empty_candles is
'Whether the source prints a candle when nothing trades. If it does, a missing candle is an outage whatever its length.';
comment on column config.exchange.outage_after is 'A gap longer than this is an outage; a shorter one may just be a quiet market.';

insert into config.exchange values
('*', 'CRYPTO', false, '6 hours'),
('binance', 'CRYPTO', true, '6 hours'),
('binanceusdm', 'CRYPTO', true, '6 hours'),
('synthetic', 'CRYPTO', false, '6 hours');

create table config.timeframe (
    timeframe text primary key,
    base_unit text not null check (base_unit in ('MIN', 'H', 'D', 'W', 'MO')),
    quantity integer not null check (quantity > 0),
    is_intraday boolean generated always as (base_unit in ('MIN', 'H')) stored
);
comment on table config.timeframe is 'One row per timeframe that a source may deliver.';

insert into config.timeframe (timeframe, base_unit, quantity) values
('1m', 'MIN', 1), ('3m', 'MIN', 3), ('5m', 'MIN', 5), ('15m', 'MIN', 15), ('30m', 'MIN', 30),
('1h', 'H', 1), ('2h', 'H', 2), ('4h', 'H', 4), ('6h', 'H', 6), ('8h', 'H', 8), ('12h', 'H', 12),
('1D', 'D', 1), ('1W_ISO', 'W', 1), ('1MO', 'MO', 1);
