-- What a walk-forward came to, out of sample.
select
    metric.bars,
    metric.sharpe,
    metric.probabilistic_sharpe,
    metric.total_return,
    metric.maximum_drawdown,
    metric.is_ruined,
    metric.trades,
    metric.win_rate,
    metric.profit_factor,
    metric.exposure,
    hold.realistic_hold_equity - 1 as hold_return,
    metric.result_hash
from lab.walk_metric as metric
cross join
    lateral (
        select equity.realistic_hold_equity
        from lab.walk_equity as equity
        where equity.walk_id = metric.walk_id
        order by equity.closed_at desc
        limit 1
    ) as hold
where metric.walk_id = %(walk_id)s
