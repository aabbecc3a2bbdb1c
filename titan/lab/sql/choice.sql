-- The best trial of a run by a metric of its portfolio; the first of those that are equal.
select
    trial,
    {metric} as value
from lab.portfolio_metric
where run_id = %(run_id)s and {metric} is not null and trades > 0
order by {metric} desc, trial asc
limit 1
