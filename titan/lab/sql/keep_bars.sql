-- Keeps the bars that a run stood on, once, whichever of its trials is frozen first.
insert into lab.frozen_bar (run_id, instrument_id, timeframe, closed_at, open, high, low, close, volume)
select
    data.run_id,
    bar.instrument_id,
    bar.timeframe,
    bar.closed_at,
    bar.open,
    bar.high,
    bar.low,
    bar.close,
    bar.volume
from lab.data as data
inner join bars.fct_bars as bar
    on
        data.instrument_id = bar.instrument_id
        and data.timeframe = bar.timeframe
        and data.last_closed_at >= bar.closed_at
where
    data.run_id = %(run_id)s
    and not exists (
        select from lab.frozen_bar as frozen
        where frozen.run_id = %(run_id)s
    )
