"""The door: what a candle has to satisfy to get in."""

from expectations.measures import MEASURES, Measure
from expectations.predicates import PREDICATES, Predicate

__all__ = ["MEASURES", "PREDICATES", "Measure", "Predicate"]
