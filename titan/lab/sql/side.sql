-- A trial to be compared with another: what was asked for, what it stood on, what it came to.
select
    run.type,
    run.timeframe,
    run.direction,
    trial.params::text as params,
    trial.execution::text as execution,
    run.costs::text as costs,
    portfolio.first_closed_at,
    portfolio.last_closed_at,
    cardinality(run.instruments) as instruments,
    run.trials,
    run.effective_trials,
    run.code_hash,
    trial.params_hash,
    data.data_hash,
    data.feature_hash,
    portfolio.*
from lab.run as run
inner join lab.trial as trial on run.run_id = trial.run_id
inner join lab.portfolio_metric as portfolio on trial.run_id = portfolio.run_id and trial.trial = portfolio.trial
cross join
    lateral (
        select
            encode(
                sha256(convert_to(string_agg(one.data_hash, ' ' order by one.instrument_id, one.timeframe), 'UTF8')), 'hex'
            ) as data_hash,
            encode(
                sha256(convert_to(string_agg(one.feature_hash, ' ' order by one.instrument_id, one.timeframe), 'UTF8')),
                'hex'
            ) as feature_hash
        from lab.data as one
        where one.run_id = run.run_id
    ) as data
where run.run_id = %(run_id)s and trial.trial = %(trial)s
