-- Trades of a signal in one instrument before one of them, newest first.
select
    trade.trade_number,
    trade.direction,
    trade.entry_at,
    trade.realistic_entry_price as entry_price,
    trade.exit_at,
    trade.realistic_exit_price as exit_price,
    trade.exit_reason,
    trade.is_open,
    trade.realistic_return as trade_return,
    trade.clean_return as trade_return_before_costs,
    trade.fees,
    trade.borrow
from backtest.fct_strategy_trade as trade
where
    trade.instrument_id = %(instrument_id)s
    and trade.timeframe = %(timeframe)s
    and trade.signal = %(signal)s
    and trade.trade_number < %(before)s
order by trade.trade_number desc
limit %(limit)s
