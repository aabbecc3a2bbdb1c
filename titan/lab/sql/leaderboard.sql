-- Frozen trials, or the best of every run, by their deflated Sharpe ratio.
select *
from lab.leaderboard
where is_frozen or (%(with_all)s and is_best_of_run)
order by deflated_sharpe desc nulls last, sharpe desc nulls last, run_id, trial
limit %(most)s
