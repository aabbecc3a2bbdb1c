-- What each signal would have earned, best first.
select leader.* from marts.strategy_leaderboard as leader
where
    leader.scope = %(scope)s
    and leader.timeframe = coalesce(%(timeframe)s, leader.timeframe)
    and (%(instrument_id)s::integer is null or leader.instrument_id = %(instrument_id)s)
    and (leader.timeframe, leader.leader_rank, leader.signal, coalesce(leader.instrument_id, 0))
    > (%(after_timeframe)s, %(after_rank)s, %(after_signal)s, %(after_instrument)s)
order by leader.timeframe, leader.leader_rank, leader.signal, leader.instrument_id
limit %(limit)s
