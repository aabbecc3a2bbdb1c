-- The timeframes that there are, and of which there are features.
select
    version.data_version,
    now() as as_of,
    true as is_row,
    timeframe.timeframe,
    timeframe.compute_features
from ops.data_version as version
cross join bars.dim_timeframe as timeframe
order by timeframe.sort_order
