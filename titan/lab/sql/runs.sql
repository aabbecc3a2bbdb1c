-- The last runs, the last first.
select
    run_id,
    started_at,
    type,
    timeframe,
    direction,
    trials,
    cardinality(instruments) as instruments,
    bars,
    seconds
from lab.run
order by run_id desc
limit %(most)s
