-- A run, once its trials are computed: what it was asked for, what it went over, and what its trials are worth together.
insert into lab.run (
    run_id, seconds, type, timeframe, direction, grid, execution, costs, since, until, instruments, trials, bars,
    change_seq, ends, code_hash, delistings, effective_trials, mean_correlation, sharpe_deviation,
    expected_maximum_sharpe
)
select
    %(run_id)s,
    %(seconds)s,
    %(type)s,
    %(timeframe)s,
    %(direction)s,
    %(grid)s,
    %(execution)s,
    %(costs)s,
    %(since)s,
    %(until)s,
    %(instruments)s,
    %(trials)s,
    (
        select sum(data.bars)
        from lab.data as data
        where data.run_id = %(run_id)s and data.timeframe = %(timeframe)s
    ),
    (select coalesce(max(change.seq), 0) from ops.change as change),
    %(ends)s,
    %(code_hash)s,
    %(delistings)s,
    deflation.effective_trials,
    deflation.mean_correlation,
    deflation.sharpe_deviation,
    deflation.expected_maximum_sharpe
from {work_deflation} as deflation
