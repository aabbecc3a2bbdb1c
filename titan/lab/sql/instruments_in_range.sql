-- The instruments that are meant, with the first opening and the last close of their bars.
select
    instrument.instrument_id,
    instrument.symbol,
    first_bar.opened_at,
    last_bar.closed_at
from bars.dim_instrument as instrument
cross join
    lateral (
        select bar.opened_at
        from bars.fct_bars as bar
        where bar.instrument_id = instrument.instrument_id and bar.timeframe = %(timeframe)s
        order by bar.closed_at
        limit 1
    ) as first_bar
cross join
    lateral (
        select bar.closed_at
        from bars.fct_bars as bar
        where bar.instrument_id = instrument.instrument_id and bar.timeframe = %(timeframe)s
        order by bar.closed_at desc
        limit 1
    ) as last_bar
where
    (%(symbols)s::text[] is null or instrument.symbol = any(%(symbols)s))
    and (%(exchange)s::text is null or instrument.exchange = lower(%(exchange)s))
    and (%(market)s::text is null or instrument.market_type = lower(%(market)s))
order by instrument.instrument_id
