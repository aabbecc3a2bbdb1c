-- The values of frozen bars that are others now. Only instruments whose hash differs are read.
with changed as (
    select
        was.instrument_id,
        was.timeframe,
        was.last_closed_at,
        concat_ws(' ', was.exchange, was.market_type, was.symbol) as symbol
    from lab.data as was
    left join lab.data as is_now
        on
            is_now.run_id = %(now)s
            and was.instrument_id = is_now.instrument_id
            and was.timeframe = is_now.timeframe
    where was.run_id = %(then)s and was.data_hash is distinct from is_now.data_hash
),

was as (
    select frozen.*
    from lab.frozen_bar as frozen
    inner join changed
        on frozen.instrument_id = changed.instrument_id and frozen.timeframe = changed.timeframe
    where frozen.run_id = %(then)s
),

is_now as (
    select bar.*
    from bars.fct_bars as bar
    inner join changed
        on
            bar.instrument_id = changed.instrument_id
            and bar.timeframe = changed.timeframe
            and bar.closed_at <= changed.last_closed_at
    where exists (
        select from lab.frozen_bar as frozen
        where frozen.run_id = %(then)s
    )
),

paired as (
    select
        coalesce(was.instrument_id, is_now.instrument_id) as instrument_id,
        coalesce(was.timeframe, is_now.timeframe) as timeframe,
        coalesce(was.closed_at, is_now.closed_at) as closed_at,
        of_column.name as what,
        of_column.was,
        of_column.is_now
    from was
    full join is_now
        on
            was.instrument_id = is_now.instrument_id
            and was.timeframe = is_now.timeframe
            and was.closed_at = is_now.closed_at
    cross join
        lateral (
            values
            ('open', was.open, is_now.open),
            ('high', was.high, is_now.high),
            ('low', was.low, is_now.low),
            ('close', was.close, is_now.close),
            ('volume', was.volume, is_now.volume)
        ) as of_column (name, was, is_now)
    where of_column.was is distinct from of_column.is_now
)

select
    changed.symbol,
    paired.timeframe,
    paired.closed_at,
    paired.what,
    paired.was,
    paired.is_now as "is"
from paired
inner join changed on paired.instrument_id = changed.instrument_id and paired.timeframe = changed.timeframe
order by changed.symbol, paired.timeframe, paired.closed_at, paired.what
