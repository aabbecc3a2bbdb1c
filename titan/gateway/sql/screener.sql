-- Every instrument's last bar of one timeframe, by what one row of its features has: nothing of a year is read for it.
select
    dive.exchange,
    dive.market_type,
    dive.symbol,
    dive.timeframe,
    dive.last_closed_at,
    dive.last_price,
    dive.change_1,
    dive.change_7,
    dive.change_30,
    dive.return_zscore,
    dive.rsi_14,
    dive.macd_histogram,
    dive.volatility,
    dive.atr_ratio,
    dive.percent_b,
    dive.band_width
from marts.deep_dive as dive
where dive.timeframe = %(timeframe)s and dive.exchange = coalesce(%(exchange)s, dive.exchange)
order by dive.symbol, dive.exchange, dive.market_type
