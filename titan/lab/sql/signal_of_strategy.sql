-- Whether config.signal has a row of a strategy's name, and whether that is the same signal.
select
    signal.signal is not null as is_signal,
    (signal.type, signal.timeframe, signal.direction, signal.params, signal.execution)
    = (strategy.type, strategy.timeframe, strategy.direction, strategy.params, strategy.execution) as is_same
from lab.strategy as strategy
left join config.signal as signal on strategy.strategy = signal.signal
where strategy.strategy = %(strategy)s
