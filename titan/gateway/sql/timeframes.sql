-- The timeframes that there are, and of which there are features.
select
    timeframe.timeframe,
    timeframe.compute_features
from bars.dim_timeframe as timeframe
order by timeframe.sort_order
