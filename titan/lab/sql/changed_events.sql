-- The events of frozen trials that came or went, or stand for another part of an account.
with is_now as (
    select
        event.signal::integer as trial,
        event.instrument_id,
        event.closed_at,
        event.direction,
        event.action,
        event.fraction,
        true as is_there
    from {work_event} as event
    inner join lab.frozen as frozen on event.signal::integer = frozen.trial and frozen.run_id = %(then)s
),

was as (
    select
        trial,
        instrument_id,
        closed_at,
        direction,
        action,
        fraction,
        true as is_there
    from lab.frozen_event
    where run_id = %(then)s
)

select
    coalesce(was.trial, is_now.trial) as trial,
    concat_ws(' ', instrument.exchange, instrument.market_type, instrument.symbol) as symbol,
    coalesce(was.closed_at, is_now.closed_at) as closed_at,
    coalesce(was.direction, is_now.direction) as direction,
    coalesce(was.action, is_now.action) as action,
    case when was.is_there then coalesce(was.fraction::text, 'whole') end as was,
    case when is_now.is_there then coalesce(is_now.fraction::text, 'whole') end as "is"
from was
full join is_now
    on
        was.trial = is_now.trial
        and was.instrument_id = is_now.instrument_id
        and was.closed_at = is_now.closed_at
        and was.direction = is_now.direction
        and was.action = is_now.action
inner join bars.dim_instrument as instrument
    on coalesce(was.instrument_id, is_now.instrument_id) = instrument.instrument_id
where
    was.is_there is null
    or is_now.is_there is null
    or abs(was.fraction - is_now.fraction) > 1e-10
    or (was.fraction is null) <> (is_now.fraction is null)
order by trial, symbol, closed_at, direction, action
