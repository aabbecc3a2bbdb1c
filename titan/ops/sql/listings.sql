-- How exchanges list markets and did before: of one exchange or symbol, or else of every market that has candles here.
select
    listing.exchange,
    listing.market_type as market,
    listing.symbol,
    listing.own_name,
    listing.is_trading,
    listing.lot_size,
    listing.tick_size,
    listing.least_notional,
    listing.from_at,
    listing.to_at
from raw.listing as listing
left join raw.instrument as instrument
    on
        listing.exchange = instrument.exchange
        and listing.market_type = instrument.market_type
        and listing.symbol = instrument.symbol
where
    (listing.exchange = %(exchange)s or %(exchange)s::text is null)
    and (listing.symbol = %(symbol)s or %(symbol)s::text is null)
    and (instrument.instrument_id is not null or coalesce(%(exchange)s::text, %(symbol)s::text) is not null)
order by listing.exchange, listing.symbol, listing.market_type, listing.from_at
