-- Every strategy and what it is now.
select
    status.strategy,
    status.status,
    status.decided_at,
    status.decided_by,
    status.reason,
    status.type,
    status.timeframe,
    status.direction,
    status.params::text as params,
    status.walk_id,
    metric.sharpe,
    metric.win_rate,
    metric.profit_factor,
    metric.maximum_drawdown
from lab.strategy_status as status
inner join lab.walk_metric as metric on status.walk_id = metric.walk_id
order by status.strategy
