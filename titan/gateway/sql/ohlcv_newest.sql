-- The newest bars of one series, oldest of them first.
select
    version.data_version,
    now() as as_of,
    answer.*
from ops.data_version as version
left join
    lateral (
        select
            true as is_row,
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
            and bar.closed_at <= %(until)s
            and bar.closed_at <= coalesce(nullif(current_setting('titan.as_of', true), '')::timestamptz, 'infinity')
        order by bar.closed_at desc
        limit %(limit)s
    ) as answer
    on true
order by answer.closed_at
