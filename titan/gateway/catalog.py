"""What a request may name: instruments, by any name that they went by, and timeframes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from titan.gateway.answers import Answers, Visit
from titan.gateway.problems import ProblemError, nearest


@dataclass
class Catalog:
    """The instruments and timeframes that there are, of one version of the data."""

    instruments: list[dict[str, Any]]
    timeframes: dict[str, bool]  # whether there are features of it
    features: list[str]
    data_version: str

    @classmethod
    async def read(cls, answers: Answers) -> Catalog:
        """Ask the database."""
        instruments = await answers.ask("symbols", {})
        timeframes = (await answers.ask("timeframes", {})).records()
        return cls(
            instruments.records(),
            {one["timeframe"]: one["compute_features"] for one in timeframes},
            [one["feature"] for one in (await answers.ask("feature_list", {})).records()],
            instruments.data_version,
        )


class Names:
    """Finds what requests name, of the version of the data that they are answered from.

    Raises ProblemError for what there is not, and for what is more than one thing.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._catalog: Catalog | None = None

    async def instrument(self, visit: Visit, symbol: str, exchange: str | None, market: str | None) -> dict[str, Any]:
        """The one instrument of a symbol, which `exchange` and `market` narrow down."""
        found = await self._matching(visit, symbol, exchange, market)
        if len(found) == 1:
            return found[0]
        choices = [{name: one[name] for name in ("exchange", "market_type", "symbol")} for one in found]
        told = ", ".join(f"{one['exchange']} {one['market_type']}" for one in choices)
        raise ProblemError(
            409, "Ambiguous symbol", f"{symbol} is {len(found)} instruments: {told}",
            hint=f"add ?exchange={found[0]['exchange']}&market={found[0]['market_type']}, or another of them",
            choices=choices,
        )  # fmt: skip

    async def instruments(self, visit: Visit, symbols: list[str], exchange: str | None) -> list[dict[str, Any]]:
        """Each symbol's instrument, or every instrument where none is named."""
        if symbols:
            return [await self.instrument(visit, symbol, exchange, None) for symbol in dict.fromkeys(symbols)]
        return [
            one for one in (await self._of(visit)).instruments if (exchange or one["exchange"]).lower() == one["exchange"]
        ]

    async def timeframe(self, visit: Visit, name: str, *, with_features: bool = False) -> str:
        """A timeframe by its name."""
        known = (await self._of(visit)).timeframes
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

    async def features(self, visit: Visit, names: list[str]) -> tuple[str, ...]:
        """Each once, or all where none is named."""
        known = (await self._of(visit)).features
        for name in names:
            if name not in known:
                near = nearest(name, known)
                raise ProblemError(
                    404, "No such feature", f"{name[:100]!r} is none that is computed",
                    hint=f"is it {' or '.join(near)}?" if near else "/v1/features/list has them", nearest=near,
                )  # fmt: skip
        return tuple(dict.fromkeys(names)) or tuple(known)

    async def _matching(self, visit: Visit, symbol: str, exchange: str | None, market: str | None) -> list[dict[str, Any]]:
        wanted = symbol.upper()
        catalog = await self._of(visit)
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

    async def _of(self, visit: Visit) -> Catalog:
        if self._catalog is None or self._catalog.data_version != visit.data_version:
            self._catalog = await Catalog.read(self._answers)
        return self._catalog
