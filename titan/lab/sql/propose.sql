-- A draft: the choice of a walk-forward's last fold under a name.
insert into lab.strategy (strategy, walk_id, type, timeframe, direction, params, execution, params_hash)
select
    %(strategy)s,
    walk.walk_id,
    walk.type,
    walk.timeframe,
    walk.direction,
    fold.params,
    walk.execution,
    fold.params_hash
from lab.walk as walk
inner join lab.fold as fold on walk.walk_id = fold.walk_id and walk.folds = fold.fold
where walk.walk_id = %(walk_id)s
