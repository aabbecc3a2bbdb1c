-- What `titan poll` and the scheduled flows keep up to date.
create table config.subscription (
    exchange text not null check (exchange = lower(exchange)),
    symbol text not null,
    timeframe text not null references config.timeframe,
    since date not null default '2020-01-01',
    is_active boolean not null default true,
    primary key (exchange, symbol, timeframe)
);
comment on table config.subscription is 'One row per series that is asked of an exchange again and again (titan poll).';
comment on column config.subscription.symbol is 'As ccxt writes it: BASE/QUOTE, a perpetual BASE/QUOTE:SETTLE.';
comment on column config.subscription.since is 'The first day to ask for; later polls go on from what is there.';
