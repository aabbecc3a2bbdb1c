-- The moments at which a bar of any of the instruments closes.
select distinct bar.closed_at
from bars.fct_bars as bar
where
    bar.instrument_id = any(%(instruments)s)
    and bar.timeframe = %(timeframe)s
    and bar.closed_at > coalesce(%(since)s, '-infinity'::timestamptz)
    and bar.opened_at >= coalesce(%(since)s, '-infinity'::timestamptz)
    and bar.closed_at <= coalesce(%(until)s, 'infinity'::timestamptz)
order by bar.closed_at
