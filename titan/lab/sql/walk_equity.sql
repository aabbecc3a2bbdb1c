-- Equity and drawdown of a walk-forward, out of sample: what is drawn.
select
    closed_at,
    realistic_hold_equity,
    realistic_hold_drawdown,
    clean_equity,
    clean_drawdown,
    realistic_equity,
    realistic_drawdown
from lab.walk_equity
where walk_id = %(walk_id)s
order by closed_at
