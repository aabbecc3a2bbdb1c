-- A strategy's signal, live from the next build on.
insert into config.signal (signal, type, timeframe, params, direction, execution)
select
    strategy,
    type,
    timeframe,
    params,
    direction,
    execution
from lab.strategy
where strategy = %(strategy)s
on conflict (signal) do update set is_enabled = true where not signal.is_enabled
