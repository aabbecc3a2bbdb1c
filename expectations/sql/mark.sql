-- One pass over the landed rows: those that some predicate turns away, and those that were not finished yet.
select marked.row_number, marked.series, marked.reason
from (
    select
        row_number,
        series,
        case {cases}
            when {closed_at} > {as_of} then 'unfinished'
        end as reason
    from (
        select landing.*, {as_of} as as_of, {is_on_grid} as is_on_grid from landing
    ) as landing
) as marked
where marked.reason is not null
order by marked.row_number
