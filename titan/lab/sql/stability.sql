-- How stable the parameters are that a walk-forward chose.
select
    param,
    folds,
    different_values,
    changes,
    least,
    median,
    most
from lab.walk_stability
where walk_id = %(walk_id)s
order by param
