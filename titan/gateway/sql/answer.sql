-- An answer, with what it was made of: one statement, so that both are of one instant.
select
    version.data_version,
    now() as as_of,
    answer.*
from ops.data_version as version
left join
    lateral (
        select
            row_number() over () as place,
            answered.*
        from ({query}) as answered
    ) as answer
    on true
order by answer.place
