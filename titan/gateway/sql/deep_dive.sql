-- One series beside its trailing year.
select
    version.data_version,
    now() as as_of,
    answer.*
from ops.data_version as version
left join
    lateral (
        select
            true as is_row,
            dive.*
        from marts.deep_dive as dive
        where dive.instrument_id = %(instrument_id)s and dive.timeframe = %(timeframe)s
    ) as answer
    on true
order by answer.instrument_id
