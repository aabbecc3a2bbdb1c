"""Backtests, walk-forward, evidence and approval."""
