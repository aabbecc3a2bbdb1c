"""What a request may name: instruments, by any name that they went by, and timeframes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from titan.gateway.answers import Answers
from titan.gateway.problems import ProblemError, nearest

KEPT = 5.0  # seconds; what is not found is looked for again at once


@dataclass
class Catalog:
    """The instruments and timeframes that there were a moment ago."""

    instruments: list[dict[str, Any]]
    timeframes: dict[str, bool]  # whether there are features of it
    read_at: float

    @classmethod
    async def read(cls, answers: Answers) -> Catalog:
        """Ask the database."""
        instruments = (await answers.ask("symbols", {})).records()
        timeframes = {one["timeframe"]: one["compute_features"] for one in (await answers.ask("timeframes", {})).records()}
        return cls(instruments, timeframes, time.monotonic())


class Names:
    """Finds what requests name. Raises ProblemError for what there is not, and for what is more than one thing."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._catalog: Catalog | None = None

    async def instrument(self, symbol: str, exchange: str | None, market: str | None) -> dict[str, Any]:
        """The one instrument of a symbol, which `exchange` and `market` narrow down."""
        found = await self._matching(symbol, exchange, market)
        if len(found) == 1:
            return found[0]
        choices = [{name: one[name] for name in ("exchange", "market_type", "symbol")} for one in found]
        told = ", ".join(f"{one['exchange']} {one['market_type']}" for one in choices)
        raise ProblemError(
            409, "Ambiguous symbol", f"{symbol} is {len(found)} instruments: {told}",
            hint=f"add ?exchange={found[0]['exchange']}&market={found[0]['market_type']}, or another of them",
            choices=choices,
        )  # fmt: skip

    async def instruments(self, symbols: list[str], exchange: str | None) -> list[dict[str, Any]]:
        """Each symbol's instrument, or every instrument where none is named."""
        if symbols:
            return [await self.instrument(symbol, exchange, None) for symbol in dict.fromkeys(symbols)]
        return [one for one in (await self._now()).instruments if (exchange or one["exchange"]).lower() == one["exchange"]]

    async def timeframe(self, name: str, *, with_features: bool = False) -> str:
        """A timeframe by its name."""
        known = (await self._now()).timeframes
        if name not in known:
            known = (await self._now(is_anew=True)).timeframes
        fitting = [one for one, has_features in known.items() if has_features or not with_features]
        if name in fitting:
            return name
        near = nearest(name, fitting)
        if name in known:
            raise ProblemError(
                404, "No features of that timeframe", f"nothing computes features of {name} bars",
                hint=f"there are some of {', '.join(fitting)}; config.timeframe says of which", nearest=near,
            )  # fmt: skip
        raise ProblemError(
            404, "No such timeframe", f"{name!r} is none",
            hint=f"is it {' or '.join(near)}?" if near else "bars.dim_timeframe has them: 1m, 1h, 1D, 1W_ISO, 1MO",
            nearest=near,
        )  # fmt: skip

    async def _matching(self, symbol: str, exchange: str | None, market: str | None) -> list[dict[str, Any]]:
        wanted = symbol.upper()
        for is_anew in (False, True):
            catalog = await self._now(is_anew=is_anew)
            of_symbol = [one for one in catalog.instruments if one["symbol"] == wanted] or [
                one for one in catalog.instruments if wanted in one["former_symbols"]
            ]
            found = [
                one
                for one in of_symbol
                if (exchange or one["exchange"]).lower() == one["exchange"] and market in (None, one["market_type"])
            ]
            if found:
                return found
        if of_symbol:
            there = ", ".join(f"{one['exchange']} {one['market_type']}" for one in of_symbol)
            raise ProblemError(
                404, "No such instrument", f"{wanted} is not at {exchange or 'any exchange'} as {market or 'any market'}",
                hint=f"it is at {there}",
            )  # fmt: skip
        near = nearest(symbol, sorted({one["symbol"] for one in catalog.instruments}))
        raise ProblemError(
            404, "No such symbol", f"{symbol[:100]!r} is none",
            hint=f"is it {' or '.join(near)}?" if near else "marts.symbol has them; /v1/symbols lists them", nearest=near,
        )  # fmt: skip

    async def _now(self, *, is_anew: bool = False) -> Catalog:
        if self._catalog is None or is_anew or time.monotonic() - self._catalog.read_at > KEPT:
            self._catalog = await Catalog.read(self._answers)
        return self._catalog
