-- Whether the candles of each series can be relied on.
select
    version.data_version,
    now() as as_of,
    answer.*
from ops.data_version as version
left join
    lateral (
        select
            true as is_row,
            health.*
        from marts.data_health as health
        where health.status = coalesce(%(status)s, health.status)
    ) as answer
    on true
order by answer.exchange, answer.symbol, answer.instrument_id
