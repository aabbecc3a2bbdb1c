-- The last walk-forwards, the last first.
select
    walk.walk_id,
    walk.begun_at,
    walk.type,
    walk.timeframe,
    walk.scheme,
    walk.trials,
    walk.folds,
    (
        select count(*) from lab.fold as fold
        where fold.walk_id = walk.walk_id
    ) as folds_done,
    metric.sharpe,
    metric.total_return,
    metric.maximum_drawdown,
    metric.win_rate,
    metric.profit_factor,
    metric.trades
from lab.walk as walk
left join lab.walk_metric as metric on walk.walk_id = metric.walk_id
order by walk.walk_id desc
limit %(most)s
