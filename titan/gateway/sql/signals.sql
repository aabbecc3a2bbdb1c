-- Events of signals before one, newest first.
select
    event.exchange,
    event.market_type,
    event.symbol,
    event.timeframe,
    event.closed_at,
    event.known_at,
    event.signal,
    event.signal_type,
    event.direction,
    event.action,
    event.close,
    event.fraction,
    event.is_live,
    event.instrument_id
from marts.signal_feed as event
where
    event.instrument_id = coalesce(%(instrument_id)s, event.instrument_id)
    and event.timeframe = coalesce(%(timeframe)s, event.timeframe)
    and event.signal = coalesce(%(signal)s, event.signal)
    and (event.is_live or not %(is_live)s)
    and event.closed_at > %(after)s
    and event.closed_at <= %(until)s
    and (event.closed_at, event.signal, event.instrument_id, event.direction, event.action)
    < (%(before)s, %(before_signal)s, %(before_instrument)s, %(before_direction)s, %(before_action)s)
order by
    event.closed_at desc, event.signal desc, event.instrument_id desc, event.direction desc, event.action desc
limit %(limit)s
