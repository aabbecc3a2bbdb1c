-- Every series that a source was asked about, and from when to when there are candles.
select
    instrument.instrument_id,
    instrument.exchange,
    instrument.market_type as market,
    instrument.symbol,
    observed.timeframe,
    observed.timeframe = instrument.base_timeframe as is_base,
    first_candle.opened_at as first_at,
    last_candle.closed_at as last_at,
    upper(observed.observed) as observed_until
from raw.instrument as instrument
inner join raw.observed as observed on instrument.instrument_id = observed.instrument_id
cross join
    lateral (
        select ohlcv.opened_at from raw.ohlcv
        where ohlcv.instrument_id = observed.instrument_id and ohlcv.timeframe = observed.timeframe
        order by ohlcv.closed_at limit 1
    ) as first_candle
cross join
    lateral (
        select ohlcv.closed_at from raw.ohlcv
        where ohlcv.instrument_id = observed.instrument_id and ohlcv.timeframe = observed.timeframe
        order by ohlcv.closed_at desc limit 1
    ) as last_candle
order by instrument.exchange, instrument.market_type, instrument.symbol, observed.timeframe
