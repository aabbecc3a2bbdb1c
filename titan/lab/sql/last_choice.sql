-- Whether a walk-forward is over (then the second walk_id is there), and what its last fold chose.
select
    walk.folds,
    metric.walk_id,
    fold.params
from lab.walk as walk
left join lab.walk_metric as metric on walk.walk_id = metric.walk_id
left join lab.fold as fold on walk.walk_id = fold.walk_id and walk.folds = fold.fold
where walk.walk_id = %(walk_id)s
