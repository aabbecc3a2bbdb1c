-- The best trials of a run by the Sharpe ratio of their portfolios, after costs.
select
    trial.trial,
    trial.params::text as params,
    portfolio.sharpe,
    portfolio.probabilistic_sharpe,
    portfolio.deflated_sharpe,
    portfolio.total_return,
    portfolio.maximum_drawdown,
    portfolio.is_ruined,
    portfolio.trades,
    portfolio.win_rate,
    portfolio.profit_factor,
    metric.clean_sharpe as mean_clean_sharpe,
    metric.sharpe as mean_sharpe
from lab.trial as trial
cross join
    lateral (
        select
            avg(of_instrument.sharpe) filter (where of_instrument.account = 'realistic') as sharpe,
            avg(of_instrument.sharpe) filter (where of_instrument.account = 'clean') as clean_sharpe
        from lab.metric as of_instrument
        where trial.run_id = of_instrument.run_id and trial.trial = of_instrument.trial
    ) as metric
left join lab.portfolio_metric as portfolio on trial.run_id = portfolio.run_id and trial.trial = portfolio.trial
where trial.run_id = %(run_id)s
order by portfolio.sharpe desc nulls last, metric.sharpe desc nulls last, trial.trial
limit %(most)s
