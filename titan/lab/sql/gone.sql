-- The series of a run that have no bars in its range any more.
select concat_ws(' ', data.exchange, data.market_type, data.symbol, data.timeframe) as name
from lab.data as data
where
    data.run_id = %(run_id)s
    and not exists (
        select
        from bars.fct_bars as bar
        where
            bar.instrument_id = data.instrument_id
            and bar.timeframe = data.timeframe
            and bar.closed_at between data.first_closed_at and data.last_closed_at
    )
order by name
