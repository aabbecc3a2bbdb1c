-- Features of one series after a moment, or of the newest so many bars, oldest first.
select
    feature.opened_at,
    feature.closed_at,
    {columns}
from features.fct_features as feature
where
    feature.instrument_id = %(instrument_id)s
    and feature.timeframe = %(timeframe)s
    and feature.closed_at > coalesce(
        %(after)s::timestamptz,
        (
            select older.closed_at from features.bar_features as older
            where
                older.instrument_id = %(instrument_id)s
                and older.timeframe = %(timeframe)s
                and older.closed_at <= %(until)s
            order by older.closed_at desc
            limit 1 offset %(newest)s
        ),
        '-infinity'
    )
    and feature.closed_at <= %(until)s
order by feature.closed_at
limit %(limit)s
