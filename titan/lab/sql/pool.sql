-- What decides whether instruments may stand in one portfolio; of their bars in the range no more than two are counted.
select
    instrument.instrument_id,
    concat_ws(' ', instrument.exchange, instrument.market_type, instrument.symbol) as name,
    instrument.exchange,
    instrument.symbol,
    instrument.session_id,
    (
        select count(*)
        from (
            select
            from bars.fct_bars as bar
            where
                bar.instrument_id = instrument.instrument_id
                and bar.timeframe = %(timeframe)s
                and bar.closed_at > coalesce(%(since)s, '-infinity'::timestamptz)
                and bar.opened_at >= coalesce(%(since)s, '-infinity'::timestamptz)
                and bar.closed_at <= coalesce(%(until)s, 'infinity'::timestamptz)
            limit 2 -- noqa: AM09
        ) as first_bars
    ) as bars
from bars.dim_instrument as instrument
where instrument.instrument_id = any(%(instruments)s)
order by instrument.exchange, instrument.market_type, instrument.symbol
