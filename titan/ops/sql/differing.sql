-- Bars as they are stored and as they are computed again from candles, where they differ.
with stored as materialized (
    select * from ({stored_bars}) as bar
    where {in_range}
),

again as materialized (
    select * from ({bars_again}) as bar
    where {in_range}
)

select
    instrument.instrument_id,
    instrument.exchange,
    instrument.symbol,
    coalesce(stored.timeframe, again.timeframe) as timeframe,
    coalesce(stored.closed_at, again.closed_at) as closed_at,
    coalesce(stored.relation, again.relation) as relation,
    case when stored.opened_at is null then 'missing' when again.opened_at is null then 'surplus' else 'wrong' end as fault,
    {stored_object} as stored,
    {object_again} as recomputed
from stored
full join again
    on
        stored.relation = again.relation
        and stored.instrument_id = again.instrument_id
        and stored.timeframe = again.timeframe
        and stored.closed_at = again.closed_at
inner join raw.instrument as instrument on coalesce(stored.instrument_id, again.instrument_id) = instrument.instrument_id
left join ops.horizon as horizon on instrument.instrument_id = horizon.instrument_id
where
    coalesce(coalesce(stored.opened_at, again.opened_at) >= horizon.horizon_at, true)
    and {stored_row} is distinct from {row_again}
order by instrument.exchange, instrument.symbol, closed_at, timeframe, relation
