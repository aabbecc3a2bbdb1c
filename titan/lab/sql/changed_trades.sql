-- The trades of a run that came, went, or came to something else, beyond a relative 1e-10.
with was as (
    select
        *,
        true as is_there
    from lab.trade
    where run_id = %(then)s
),

is_now as (
    select
        *,
        true as is_there
    from lab.trade
    where run_id = %(now)s
)

select
    coalesce(was.trial, is_now.trial) as trial,
    concat_ws(' ', instrument.exchange, instrument.market_type, instrument.symbol) as symbol,
    coalesce(was.direction, is_now.direction) as direction,
    coalesce(was.entry_at, is_now.entry_at) as entry_at,
    case
        when was.is_there is null then 'only now'
        when is_now.is_there is null then 'only then'
        else 'changed'
    end as what,
    was.exit_at as exit_then,
    is_now.exit_at as exit_now,
    was.realistic_return as was,
    is_now.realistic_return as "is"
from was
full join is_now
    on
        was.trial = is_now.trial
        and was.instrument_id = is_now.instrument_id
        and was.direction = is_now.direction
        and was.entry_at = is_now.entry_at
inner join bars.dim_instrument as instrument
    on coalesce(was.instrument_id, is_now.instrument_id) = instrument.instrument_id
where
    was.is_there is null
    or is_now.is_there is null
    or was.exit_at is distinct from is_now.exit_at
    or was.exit_reason is distinct from is_now.exit_reason
    or was.is_open <> is_now.is_open
    or exists (
        select
        from (
            values
            (was.entry_price, is_now.entry_price),
            (was.exit_price, is_now.exit_price),
            (was.clean_return, is_now.clean_return),
            (was.realistic_return, is_now.realistic_return),
            (was.clean_profit, is_now.clean_profit),
            (was.realistic_profit, is_now.realistic_profit)
        ) as pair (before, after)
        where abs(pair.before - pair.after) > 1e-10 * greatest(1, abs(pair.before), abs(pair.after))
    )
order by trial, symbol, entry_at, direction
