-- The delistings that were known by the end: a source that was asked past one knows that it was one.
select delisting.*
from config.delisting as delisting
inner join bars.dim_instrument as instrument
    on
        delisting.exchange = instrument.exchange
        and delisting.market_type = instrument.market_type
        and delisting.symbol = instrument.symbol
inner join bars.observed as observed
    on
        instrument.instrument_id = observed.instrument_id
        and instrument.base_timeframe = observed.timeframe
        and delisting.delisted_at <= observed.observed_until
where delisting.delisted_at <= coalesce({until}::timestamptz, 'infinity')
