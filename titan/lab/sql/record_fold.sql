-- A fold: what was chosen, by which metric, and what that metric came to in the bars that followed.
insert into lab.fold (
    walk_id, fold, train_from, train_until, test_from, test_until, run_id, test_run_id, trial, params, params_hash,
    in_sample, out_of_sample
)
select
    %(walk_id)s,
    %(fold)s,
    %(train_from)s,
    %(train_until)s,
    %(test_from)s,
    %(test_until)s,
    %(run_id)s,
    %(test_run_id)s,
    trial.trial,
    trial.params,
    trial.params_hash,
    %(in_sample)s,
    portfolio.{metric}
from lab.trial as trial
inner join lab.portfolio_metric as portfolio on trial.run_id = portfolio.run_id and trial.trial = portfolio.trial
where trial.run_id = %(test_run_id)s
