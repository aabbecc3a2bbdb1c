-- How the returns of several instruments went together, each pair once.
select
    version.data_version,
    now() as as_of,
    answer.*
from ops.data_version as version
left join
    lateral (
        select
            true as is_row,
            pair.*
        from marts.correlation as pair
        where
            pair.timeframe = %(timeframe)s
            and pair.instrument_id_a = any(%(instruments)s)
            and pair.instrument_id_b = any(%(instruments)s)
            and pair.instrument_id_a <= pair.instrument_id_b
    ) as answer
    on true
order by answer.instrument_id_a, answer.instrument_id_b
