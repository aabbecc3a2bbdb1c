-- What a run is charged: the rows of config.cost, or those that a run recorded, with what it was asked for instead.
create unlogged table {work_cost} as
select
    exchange,
    market_type,
    coalesce({fee_bps}::float8, fee_bps) as fee_bps,
    coalesce({slippage_bps}::float8, slippage_bps) as slippage_bps,
    coalesce({borrow_bps_per_day}::float8, borrow_bps_per_day) as borrow_bps_per_day
from {cost}
