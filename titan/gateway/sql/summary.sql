-- Where the price of one instrument stands.
select
    version.data_version,
    now() as as_of,
    answer.*
from ops.data_version as version
left join
    lateral (
        select
            true as is_row,
            summary.*
        from marts.market_summary as summary
        where summary.instrument_id = %(instrument_id)s
    ) as answer
    on true
order by answer.instrument_id
