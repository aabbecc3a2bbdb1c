-- The thresholds, and what a strategy came to out of sample.
select
    threshold.metric,
    threshold.least,
    (of_walk.metrics ->> threshold.metric)::float8 as value,
    coalesce((of_walk.metrics ->> threshold.metric)::float8 >= threshold.least, false) as is_reached,
    of_walk.metrics ? threshold.metric as is_metric
from lab.strategy as strategy
inner join lab.walk_metric as metric on strategy.walk_id = metric.walk_id
cross join
    lateral (
        select to_jsonb(metric) - array['walk_id', 'first_closed_at', 'last_closed_at', 'result_hash'] as metrics
    ) as of_walk
cross join config.approval_threshold as threshold
where strategy.strategy = %(strategy)s
order by threshold.metric
