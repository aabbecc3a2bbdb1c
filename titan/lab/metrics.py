"""The names of metrics, as the macro `metrics` has them too: in the order of the columns of lab.metric and its like."""

from __future__ import annotations

OF_RETURNS = (
    "exposure", "total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "maximum_drawdown", "skewness",
    "kurtosis", "probabilistic_sharpe",
)  # fmt: skip
OF_TRADES = ("trades", "win_rate", "profit_factor")

METRICS = (*OF_RETURNS, *OF_TRADES)
PORTFOLIO_METRICS = (*OF_RETURNS, "deflated_sharpe", *OF_TRADES)

# What parameters may be chosen by: of the others more is not better.
CHOICES = tuple(
    name for name in PORTFOLIO_METRICS if name not in ("exposure", "volatility", "skewness", "kurtosis", "trades")
)
