-- What was measured last (ops.metric).
select
    metric.metric,
    metric.subject,
    metric.value,
    extract(epoch from metric.measured_at)::double precision as measured_at
from ops.metric_now as metric
order by metric.metric, metric.subject
