-- What each signal would have earned, best first.
select
    version.data_version,
    now() as as_of,
    answer.*
from ops.data_version as version
left join
    lateral (
        select
            true as is_row,
            leader.*
        from marts.strategy_leaderboard as leader
        where
            leader.scope = %(scope)s
            and leader.timeframe = coalesce(%(timeframe)s, leader.timeframe)
            and (leader.timeframe, leader.leader_rank, leader.signal, coalesce(leader.instrument_id, 0))
            > (%(after_timeframe)s, %(after_rank)s, %(after_signal)s, %(after_instrument)s)
        order by leader.timeframe, leader.leader_rank, leader.signal, leader.instrument_id
        limit %(limit)s
    ) as answer
    on true
order by answer.timeframe, answer.leader_rank, answer.signal, answer.instrument_id
