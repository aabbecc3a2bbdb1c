-- The folds of a walk-forward: what each chose, and what that came to.
select
    fold.fold,
    fold.test_from,
    fold.test_until,
    (
        select string_agg(param.name || '=' || param.value, ' ' order by param.name)
        from jsonb_each_text(fold.params) as param (name, value)
    ) as params,
    fold.in_sample,
    best.deflated_sharpe as deflated,
    fold.out_of_sample,
    test.total_return,
    test.maximum_drawdown,
    test.trades,
    fold.run_id,
    fold.test_run_id
from lab.fold as fold
inner join lab.portfolio_metric as best on fold.run_id = best.run_id and fold.trial = best.trial
inner join lab.portfolio_metric as test on fold.test_run_id = test.run_id
where fold.walk_id = %(walk_id)s
order by fold.fold
