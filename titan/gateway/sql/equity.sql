-- What an account was worth, of one instrument or of all in equal parts, beside buying and holding: the last bar of each of
-- so many stretches of equally many bars, with the deepest drawdown of the stretch, so that none is lost between two points.
with account as (
    select
        equity.closed_at,
        equity.realistic_equity,
        equity.realistic_drawdown,
        equity.clean_equity,
        equity.realistic_hold_equity,
        equity.realistic_hold_drawdown
    from backtest.fct_strategy_equity as equity
    where
        equity.instrument_id = %(instrument_id)s
        and equity.timeframe = %(timeframe)s
        and equity.signal = %(signal)s
        and equity.closed_at <= %(until)s
    union all
    select
        portfolio.closed_at,
        portfolio.realistic_equity,
        portfolio.realistic_drawdown,
        portfolio.clean_equity,
        portfolio.realistic_hold_equity,
        portfolio.realistic_hold_drawdown
    from backtest.fct_portfolio_equity as portfolio
    where
        %(instrument_id)s::integer is null
        and portfolio.timeframe = %(timeframe)s
        and portfolio.signal = %(signal)s
        and portfolio.closed_at <= %(until)s
),

stretch as (
    select
        account.*,
        ntile(%(points)s) over (order by account.closed_at) as stretch
    from account
),

last_of_stretch as (
    select
        stretch.*,
        row_number() over (partition by stretch.stretch order by stretch.closed_at desc) as from_its_end,
        min(stretch.realistic_drawdown) over (partition by stretch.stretch) as deepest,
        min(stretch.realistic_hold_drawdown) over (partition by stretch.stretch) as hold_deepest
    from stretch
)

select
    point.closed_at,
    point.realistic_equity as equity,
    point.deepest as drawdown,
    point.clean_equity,
    point.realistic_hold_equity as hold_equity,
    point.hold_deepest as hold_drawdown
from last_of_stretch as point
where point.from_its_end = 1
order by point.closed_at
