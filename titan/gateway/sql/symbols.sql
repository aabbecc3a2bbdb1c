-- Every instrument that has candles, with every name that it went by.
select
    instrument.instrument_id,
    instrument.exchange,
    instrument.market_type,
    instrument.symbol,
    instrument.base_timeframe,
    array(
        select name.symbol from raw.instrument_name as name
        where name.instrument_id = instrument.instrument_id and name.symbol <> instrument.symbol
    ) as former_symbols
from bars.dim_instrument as instrument
order by instrument.exchange, instrument.symbol, instrument.market_type
