-- What exchanges list, and when that changed: a symbol comes, halts, goes, and trades in other steps than before.
create table raw.listing (
    listing_id bigint generated always as identity primary key,
    exchange text not null check (exchange = lower(exchange)),
    market_type text not null,
    symbol text not null,
    own_name text not null,
    is_trading boolean not null,
    lot_size double precision check (lot_size > 0),
    tick_size double precision check (tick_size > 0),
    least_notional double precision check (least_notional >= 0),
    from_at timestamptz not null,
    to_at timestamptz check (to_at > from_at),
    is_detected boolean not null default true
);
create unique index listing_now on raw.listing (exchange, market_type, symbol) where to_at is null;
create index listing_symbol on raw.listing (exchange, symbol, from_at);
comment on table raw.listing is
'One row per market of an exchange and stretch of time in which it was listed as this: what a list of markets said when one was read, or by hand.';
comment on column raw.listing.own_name is 'What the exchange calls the market.';
comment on column raw.listing.is_trading is 'Whether it was traded; a halted market is listed and is not.';
comment on column raw.listing.lot_size is 'The step of quantities, in the base currency; null where the exchange tells none.';
comment on column raw.listing.tick_size is 'The step of prices, in the quote currency; null where the exchange tells none.';
comment on column raw.listing.least_notional is 'The least that an order is worth, in the quote currency; null where the exchange tells none.';
comment on column raw.listing.from_at is 'Since when this is known: when the first list that said so was read, not when the exchange began.';
comment on column raw.listing.to_at is 'When a list first said otherwise; null while it holds.';
comment on column raw.listing.is_detected is 'False: entered by hand.';

do $$
begin
    if exists (select from pg_roles where rolname = 'titan_reader') then
        grant select on raw.listing to titan_reader;
    end if;
end $$;
