-- Equity and drawdown of a run's best trial, in equal parts over its instruments: what is drawn.
select
    closed_at,
    realistic_hold_equity,
    realistic_hold_drawdown,
    clean_equity,
    clean_drawdown,
    realistic_equity,
    realistic_drawdown,
    trial
from lab.portfolio_equity
where run_id = %(run_id)s
order by closed_at
