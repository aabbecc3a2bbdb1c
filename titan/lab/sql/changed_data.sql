-- The series of a run whose bars or features have another hash now.
with was as (
    select * from lab.data
    where run_id = %(then)s
),

is_now as (
    select * from lab.data
    where run_id = %(now)s
)

select
    concat_ws(
        ' ', coalesce(was.exchange, is_now.exchange), coalesce(was.market_type, is_now.market_type),
        coalesce(was.symbol, is_now.symbol)
    ) as symbol,
    coalesce(was.timeframe, is_now.timeframe) as timeframe,
    case when was.data_hash = is_now.data_hash then 'features' else 'bars' end as what,
    was.bars as bars_then,
    is_now.bars as bars_now,
    was.data_hash as was,
    is_now.data_hash as "is"
from was
full join is_now
    on was.instrument_id = is_now.instrument_id and was.timeframe = is_now.timeframe
where
    was.data_hash is distinct from is_now.data_hash
    or was.feature_hash is distinct from is_now.feature_hash
    or was.bars is distinct from is_now.bars
order by symbol, timeframe
