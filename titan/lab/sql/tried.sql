-- How many trials a run made, what independent ones they are worth, and how many of its kind there had been by then.
select
    run.run_id,
    run.type,
    run.timeframe,
    run.trials,
    run.effective_trials,
    run.mean_correlation,
    tried.trials_in_all,
    (
        select array_agg(distinct concat_ws(' ', data.exchange, data.market_type, data.symbol))
        from lab.data as data
        where data.run_id = run.run_id
    ) as instruments
from lab.run as run
inner join lab.tried as tried on run.run_id = tried.run_id
where run.run_id = %(run_id)s
