"""The door: what a candle has to satisfy to get in."""

from expectations.predicates import PREDICATES, Predicate

__all__ = ["PREDICATES", "Predicate"]
