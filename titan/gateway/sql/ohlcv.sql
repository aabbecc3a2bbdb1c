-- Bars of one series after a moment, or the newest so many, oldest first.
select
    bar.opened_at,
    bar.closed_at,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume,
    bar.quote_volume,
    bar.trade_count,
    bar.missing_count,
    bar.is_partial
from bars.fct_bars as bar
where
    bar.instrument_id = %(instrument_id)s
    and bar.timeframe = %(timeframe)s
    and bar.closed_at > coalesce(
        %(after)s::timestamptz,
        (
            select older.closed_at from bars.fct_bars as older
            where
                older.instrument_id = %(instrument_id)s
                and older.timeframe = %(timeframe)s
                and older.closed_at <= %(until)s
            order by older.closed_at desc
            limit 1 offset %(newest)s
        ),
        '-infinity'
    )
    and bar.closed_at <= %(until)s
order by bar.closed_at
limit %(limit)s
