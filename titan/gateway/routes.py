"""The endpoints: what each is asked with, and which statement answers it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from prometheus_client import generate_latest

from titan.gateway import page
from titan.gateway.answers import Answer, Visit, cursor_of, from_cursor
from titan.gateway.knowledge import ask_as_of
from titan.gateway.problems import ProblemError, nearest
from titan.gateway.service import Gateway
from titan.gateway.stream import Listener

MOST_ROWS = 10_000  # of a page
MOST_SYMBOLS = 200  # of a heat map
EVERYTHING = 2**62  # more than any number that we give
LONG_AGO, FOR_EVER = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
LAST = "\U0010ffff"  # after every name

router = APIRouter(prefix="/v1")


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


def _visit(scope: str) -> Callable[[Request], Any]:
    async def visit(request: Request) -> Visit:
        _refuse_unknown(request)
        return await _gateway(request).admit(request, scope)

    return visit


def _refuse_unknown(request: Request) -> None:
    """A parameter that is misspelt would be ignored, and the answer be to another question."""
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name == "as_of" and name not in known:
            raise ProblemError(
                422,
                "Of now alone",
                "what this tells was not kept as of then",
                hint="leave as_of out; a frozen backtest was kept",
            )
        if name not in known:
            near = nearest(name, known)
            hint = f"is it {' or '.join(near)}?" if near else f"there are {', '.join(known)}" if known else "there are none"
            raise ProblemError(
                422, "No such parameter", f"{name[:100]!r} is none of this endpoint's", hint=hint, nearest=near
            )


Market = Annotated[Visit, Depends(_visit("market"))]
Research = Annotated[Visit, Depends(_visit("research"))]
Operations = Annotated[Visit, Depends(_visit("operations"))]

Exchange = Annotated[str | None, Query(description="The source, where several have the symbol.", examples=["binance"])]
MarketType = Annotated[
    Literal["spot", "perpetual", "future", "index"] | None, Query(description="The kind of market, likewise.")
]
Symbol = Annotated[str, Query(description="BASE/QUOTE, or a ticker; also a former name.", examples=["BTC/USDT"])]
Timeframe = Annotated[str, Query(description="A timeframe of bars.dim_timeframe.", examples=["1h", "1D", "1W_ISO"])]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="Rows of a page.")]
Cursor = Annotated[str | None, Query(description="`next` of the page before, as it is.", max_length=500)]


Since = Annotated[
    datetime | None, Query(alias="from", description="Bars that close after it.", examples=["2024-01-01T00:00:00Z"])
]
Until = Annotated[
    datetime | None, Query(alias="to", description="Bars that close until it.", examples=["2024-02-01T00:00:00Z"])
]
AsOf = Annotated[
    datetime | None,
    Query(
        description="Answer from what was known then; refused where that is another today.",
        examples=["2024-06-01T12:00:00Z"],
    ),
]


def _page(found: Answer, limit: int, key: tuple[str, ...]) -> tuple[Answer, str | None]:
    """The rows of a page, and where it ended if another one follows: a row more than asked for was read."""
    following = None
    if len(found.rows) > limit:
        found.rows = found.rows[:limit]
        last = found.records()[-1]
        following = cursor_of([0 if last[name] is None else last[name] for name in key])  # as the statement compares them
    return found, following


def _stretch(since: datetime | None, until: datetime | None, limit: int, cursor: str | None) -> dict[str, Any]:
    """Which bars of a series are asked for: those of a page after a moment, or the newest."""
    begin, end = _moment(since, LONG_AGO), _moment(until, FOR_EVER)
    if begin >= end:
        raise ProblemError(
            422, "Bad range", f"from {begin.isoformat()} to {end.isoformat()} holds nothing", hint="from is before to"
        )
    after = from_cursor(cursor, [datetime])[0] if cursor is not None else since and begin
    return {"after": after, "until": end, "limit": limit + 1, "newest": limit}


def _then(as_of: datetime | None) -> datetime | None:
    """The moment that was asked about. Raises ProblemError for one that has not come."""
    if as_of is None:
        return None
    moment = _moment(as_of, FOR_EVER)
    if moment > datetime.now(UTC):
        raise ProblemError(422, "Bad moment", f"{moment.isoformat()} has not come", hint="leave as_of out to ask about now")
    return moment


def _moment(value: datetime | None, otherwise: datetime) -> datetime:
    if value is None:
        return otherwise
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


async def _all_of(visit: Visit, name: str) -> Response:
    """The answer of a statement that is asked nothing."""
    gateway = _gateway(visit.request)

    async def ask() -> tuple[Answer, None]:
        return await gateway.answers.ask(name, {}), None

    return await gateway.answer(visit, ask)


@router.get("/symbols", summary="Instruments that have candles, and every name that each went by")
async def symbols(visit: Market) -> Response:
    """One row per instrument: exchange, market type, symbol, timeframe of its candles, former symbols."""
    return await _all_of(visit, "symbols")


@router.get("/summary/{symbol:path}", summary="Where the price of an instrument stands")
async def summary(
    visit: Market, symbol: str, exchange: Exchange = None, market: MarketType = None, as_of: AsOf = None
) -> Response:
    """`marts.market_summary` of one instrument: last price and when its candle closed, changes of 1, 7 and 30 days, gaps."""
    gateway = _gateway(visit.request)

    async def ask() -> tuple[Answer, None]:
        instrument = await gateway.names.instrument(visit, symbol, exchange, market)
        number = instrument["instrument_id"]
        found = await ask_as_of(gateway.answers, _then(as_of), [number], "summary", {"instrument_id": number})
        return _one(found, symbol).without("last_candle_age"), None  # the client has a clock

    return await gateway.answer(visit, ask, is_single=True)


@router.get("/deep-dive/{symbol:path}", summary="A series beside its trailing year")
async def deep_dive(
    visit: Market,
    symbol: str,
    timeframe: Timeframe = "1D",
    exchange: Exchange = None,
    market: MarketType = None,
    as_of: AsOf = None,
) -> Response:
    """`marts.deep_dive`: RSI, MACD, volatility, bands and squeeze, ATR, distance from the year's high, of the last bar."""
    gateway = _gateway(visit.request)

    async def ask() -> tuple[Answer, None]:
        instrument = await gateway.names.instrument(visit, symbol, exchange, market)
        wanted = await gateway.names.timeframe(visit, timeframe, with_features=True)
        asked = {"instrument_id": instrument["instrument_id"], "timeframe": wanted}
        found = await ask_as_of(gateway.answers, _then(as_of), [instrument["instrument_id"]], "deep_dive", asked)
        return _one(found, f"{symbol} {wanted}"), None

    return await gateway.answer(visit, ask, is_single=True)


def _one(found: Answer, what: str) -> Answer:
    if not found.rows:
        raise ProblemError(
            404, "No bar yet", f"{what} has no finished bar", hint="/v1/data-health tells what there is of it; titan refresh"
        )
    return found


@router.get("/ohlcv", summary="Bars of a series")
async def ohlcv(
    visit: Market,
    symbol: Symbol,
    timeframe: Timeframe = "1D",
    since: Since = None,
    until: Until = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
    exchange: Exchange = None,
    market: MarketType = None,
    as_of: AsOf = None,
) -> Response:
    """Bars, oldest first: from a moment on, in pages; without `from` the newest ones."""
    gateway = _gateway(visit.request)

    async def ask() -> tuple[Answer, str | None]:
        instrument = await gateway.names.instrument(visit, symbol, exchange, market)
        asked = _stretch(since, until, limit, cursor)
        asked["instrument_id"] = instrument["instrument_id"]
        asked["timeframe"] = await gateway.names.timeframe(visit, timeframe)
        found = await ask_as_of(gateway.answers, _then(as_of), [instrument["instrument_id"]], "ohlcv", asked)
        return _page(found, limit, ("closed_at",))

    return await gateway.answer(visit, ask)


@router.get("/timeframes", summary="Timeframes of bars, and of which there are features")
async def timeframes(visit: Market) -> Response:
    """One row per timeframe, the shortest first."""
    return await _all_of(visit, "timeframes")


@router.get("/features/list", summary="What each feature is")
async def feature_list(visit: Market) -> Response:
    """`features.dim_feature`: unit, formula, where it begins, when it is null, whose definition it follows."""
    return await _all_of(visit, "feature_list")


@router.get("/features", summary="Features of a series' bars")
async def features(
    visit: Market,
    symbol: Symbol,
    timeframe: Timeframe = "1D",
    names: Annotated[
        list[str] | None,
        Query(alias="feature", description="Each once; all where none is named.", examples=[["rsi_14", "ema_50"]]),
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
    exchange: Exchange = None,
    market: MarketType = None,
    as_of: AsOf = None,
) -> Response:
    """`features.fct_features`, oldest first, with the features that were added to `config.indicator`: from a moment on, in
    pages; without `from` those of the newest bars.
    """
    gateway = _gateway(visit.request)

    async def ask() -> tuple[Answer, str | None]:
        instrument = await gateway.names.instrument(visit, symbol, exchange, market)
        asked = _stretch(since, until, limit, cursor)
        asked["instrument_id"] = instrument["instrument_id"]
        asked["timeframe"] = await gateway.names.timeframe(visit, timeframe, with_features=True)
        columns = await gateway.names.features(visit, names or [])
        found = await ask_as_of(gateway.answers, _then(as_of), [instrument["instrument_id"]], "features", asked, columns)
        return _page(found, limit, ("closed_at",))

    return await gateway.answer(visit, ask)


@router.get("/screener", summary="Every instrument's last bar")
async def screener(visit: Market, timeframe: Timeframe = "1D", exchange: Exchange = None, as_of: AsOf = None) -> Response:
    """`marts.deep_dive` of all, without what takes a year of bars to tell."""
    gateway = _gateway(visit.request)

    async def ask() -> tuple[Answer, None]:
        wanted = await gateway.names.timeframe(visit, timeframe, with_features=True)
        chosen = await gateway.names.instruments(visit, [], exchange)
        numbers: list[int] = [one["instrument_id"] for one in chosen]
        asked = {"timeframe": wanted, "exchange": exchange and exchange.lower()}
        return await ask_as_of(gateway.answers, _then(as_of), numbers, "screener", asked), None

    return await gateway.answer(visit, ask)


@router.get("/reports/correlation", summary="How the returns of several instruments went together")
async def correlation(
    visit: Market,
    symbols: Annotated[
        list[str] | None,
        Query(
            alias="symbol",
            description="Each once; all instruments where none is named.",
            examples=[["BTC/USDT", "ETH/USDT"]],
        ),
    ] = None,
    timeframe: Timeframe = "1D",
    exchange: Exchange = None,
    as_of: AsOf = None,
) -> Response:
    """`marts.correlation`: each pair once, over the last 30, 90, 365 bars that closed together, and how many those were."""
    gateway = _gateway(visit.request)

    async def ask() -> tuple[Answer, None]:
        chosen = await gateway.names.instruments(visit, symbols or [], exchange)
        if len(chosen) > MOST_SYMBOLS:
            raise ProblemError(
                422, "Too many instruments", f"{len(chosen)} of them make {len(chosen) * (len(chosen) + 1) // 2:,} pairs",
                hint=f"name {MOST_SYMBOLS} at most with symbol=…, or one exchange",
            )  # fmt: skip
        numbers: list[int] = [one["instrument_id"] for one in chosen]
        asked = {"instruments": numbers, "timeframe": await gateway.names.timeframe(visit, timeframe, with_features=True)}
        return await ask_as_of(gateway.answers, _then(as_of), numbers, "correlation", asked), None

    return await gateway.answer(visit, ask)


@router.get("/signals", summary="When signals said to enter or leave")
async def signals(
    visit: Research,
    symbol: Annotated[str | None, Query(description="Only of this instrument.", examples=["BTC/USDT"])] = None,
    timeframe: Annotated[str | None, Query(description="Only of signals over these bars.", examples=["1D"])] = None,
    signal: Annotated[str | None, Query(description="Only this one, as in dim_signal.", max_length=200)] = None,
    is_live: Annotated[bool, Query(description="Only those of an active strategy.")] = False,
    since: Annotated[datetime | None, Query(alias="from", description="Only after it.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    exchange: Exchange = None,
    market: MarketType = None,
    as_of: AsOf = None,
) -> Response:
    """`marts.signal_feed`, newest first."""
    gateway = _gateway(visit.request)

    async def ask() -> tuple[Answer, str | None]:
        before: list[Any] = [FOR_EVER, LAST, 2**31 - 1, LAST, LAST]
        if cursor is not None:
            before = from_cursor(cursor, [datetime, str, int, str, str])
        instrument = await gateway.names.instrument(visit, symbol, exchange, market) if symbol else None
        asked: dict[str, Any] = {
            "instrument_id": instrument and instrument["instrument_id"],
            "timeframe": await gateway.names.timeframe(visit, timeframe) if timeframe else None,
            "signal": signal, "is_live": is_live, "after": _moment(since, LONG_AGO), "until": FOR_EVER,
            "limit": limit + 1,
        }  # fmt: skip
        asked |= zip(
            ("before", "before_signal", "before_instrument", "before_direction", "before_action"), before, strict=True
        )
        key = ("closed_at", "signal", "instrument_id", "direction", "action")
        if as_of is not None and not symbol:
            raise ProblemError(
                422, "Of which symbol?", "as_of needs a symbol here", hint="what was known is looked up for it"
            )
        found = await ask_as_of(gateway.answers, _then(as_of), [asked["instrument_id"]], "signals", asked)
        return _page(found, limit, key)

    return await gateway.answer(visit, ask)


@router.get("/leaderboard", summary="What each signal would have earned")
async def leaderboard(
    visit: Research,
    scope: Annotated[
        Literal["instrument", "portfolio"], Query(description="Each instrument by itself, or all in equal parts.")
    ] = "instrument",
    timeframe: Annotated[str | None, Query(description="Only of signals over these bars.", examples=["1D"])] = None,
    symbol: Annotated[str | None, Query(description="Only in this instrument.", examples=["BTC/USDT"])] = None,
    exchange: Exchange = None,
    market: MarketType = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """`marts.strategy_leaderboard`, best first: with costs, beside the same without and buying and holding."""
    gateway = _gateway(visit.request)

    async def ask() -> tuple[Answer, str | None]:
        after: list[Any] = ["", 0, "", 0]
        if cursor is not None:
            after = from_cursor(cursor, [str, int, str, int])
        instrument = await gateway.names.instrument(visit, symbol, exchange, market) if symbol else None
        asked: dict[str, Any] = {
            "scope": scope, "limit": limit + 1, "instrument_id": instrument and instrument["instrument_id"],
            "timeframe": await gateway.names.timeframe(visit, timeframe) if timeframe else None,
        }  # fmt: skip
        asked |= zip(("after_timeframe", "after_rank", "after_signal", "after_instrument"), after, strict=True)
        found = await gateway.answers.ask("leaderboard", asked)
        return _page(found, limit, ("timeframe", "leader_rank", "signal", "instrument_id"))

    return await gateway.answer(visit, ask)


@router.get("/equity", summary="What an account that follows a signal was worth")
async def equity(
    visit: Research,
    signal: Annotated[str, Query(description="As in dim_signal; * for all of them in equal parts.", max_length=200)],
    timeframe: Timeframe,
    symbol: Annotated[
        str | None, Query(description="In this instrument; in all, in equal parts, without.", examples=["BTC/USDT"])
    ] = None,
    points: Annotated[
        int, Query(ge=2, le=MOST_ROWS, description="Of a longer history, each stands for equally many bars.")
    ] = 1000,
    exchange: Exchange = None,
    market: MarketType = None,
    as_of: AsOf = None,
) -> Response:
    """`backtest.fct_strategy_equity` or `fct_portfolio_equity` of the account with costs, which began with 1, beside buying
    and holding: what each was worth at the close, and its deepest drawdown since the point before.
    """
    gateway = _gateway(visit.request)

    async def ask() -> tuple[Answer, None]:
        chosen = (
            [await gateway.names.instrument(visit, symbol, exchange, market)]
            if symbol
            else await gateway.names.instruments(visit, [], None)
        )
        numbers: list[int] = [one["instrument_id"] for one in chosen]
        asked = {
            "instrument_id": numbers[0] if symbol else None, "signal": signal, "points": points, "until": FOR_EVER,
            "timeframe": await gateway.names.timeframe(visit, timeframe),
        }  # fmt: skip
        found = await ask_as_of(gateway.answers, _then(as_of), numbers, "equity", asked)
        return _traded(found, signal, timeframe, symbol), None

    return await gateway.answer(visit, ask)


def _traded(found: Answer, signal: str, timeframe: str, symbol: str | None) -> Answer:
    if not found.rows:
        told = f"{signal[:100]!r} over {timeframe} bars of {symbol or 'any instrument'} has no account"
        raise ProblemError(404, "Nothing was traded", told, hint="/v1/leaderboard has what there is")
    return found


@router.get("/trades", summary="Trades of a signal in an instrument")
async def trades(
    visit: Research,
    symbol: Symbol,
    signal: Annotated[str, Query(description="As in dim_signal.", max_length=200)],
    timeframe: Timeframe,
    limit: Limit = 100,
    cursor: Cursor = None,
    exchange: Exchange = None,
    market: MarketType = None,
) -> Response:
    """`backtest.fct_strategy_trade` of the account with costs, newest first. Returns are fractions of what was put in."""
    gateway = _gateway(visit.request)

    async def ask() -> tuple[Answer, str | None]:
        instrument = await gateway.names.instrument(visit, symbol, exchange, market)
        asked = {
            "instrument_id": instrument["instrument_id"], "signal": signal,
            "timeframe": await gateway.names.timeframe(visit, timeframe), "limit": limit + 1,
            "before": from_cursor(cursor, [int])[0] if cursor is not None else EVERYTHING,
        }  # fmt: skip
        return _page(await gateway.answers.ask("trades", asked), limit, ("trade_number",))

    return await gateway.answer(visit, ask)


@router.get("/data-health", summary="Whether the candles of each series can be relied on")
async def data_health(
    visit: Operations,
    status: Annotated[
        Literal["ok", "differs", "stale", "quarantine", "outage", "not_fetched"] | None, Query(description="Only these.")
    ] = None,
) -> Response:
    """`marts.data_health`; ages are in seconds."""
    gateway = _gateway(visit.request)

    async def ask() -> tuple[Answer, None]:
        return await gateway.answers.ask("data_health", {"status": status}), None

    return await gateway.answer(visit, ask, is_aging=True)


@router.get("/health/{probe}", summary="Whether the gateway lives, and the warehouse is ready")
async def health(request: Request, probe: Literal["live", "startup", "ready"]) -> Response:
    """What `titan health` says, in a word where a key is needed. `live` asks nobody: a restart brings no database back."""
    if probe == "live":
        return JSONResponse({"status": "ok"})
    from titan.ops.health import health as look

    found = await run_in_threadpool(look, probe)
    told = {"status": found.status} if _gateway(request).options.needs_key else found.as_json()
    return JSONResponse(told, 503 if found.status == "failing" else 200, {"Cache-Control": "no-store"})


@router.get("/stream", summary="What becomes new, pushed", response_class=StreamingResponse)
async def stream(
    visit: Market,
    topics: Annotated[
        list[str] | None,
        Query(
            alias="topic", description="candles, features, signals, alerts; all where none is named.", examples=[["candles"]]
        ),
    ] = None,
    symbols: Annotated[
        list[str] | None, Query(alias="symbol", description="Only of these.", examples=[["BTC/USDT"]])
    ] = None,
    timeframes: Annotated[
        list[str] | None, Query(alias="timeframe", description="Only of these.", examples=[["1h"]])
    ] = None,
) -> StreamingResponse:
    """Server-sent events, as docs/events.md has them. Nothing is kept for who does not listen: after `hello`, `missed` and
    `back` read anew.
    """
    shared = _gateway(visit.request).stream
    if unknown := [topic for topic in topics or [] if shared.topics and topic not in shared.topics]:
        raise ProblemError(
            404, "No such topic", f"{unknown[0][:100]!r} is none", hint=f"there are {', '.join(shared.topics)}"
        )
    listener = Listener(
        frozenset(topics or shared.topics), frozenset(one.upper() for one in symbols or []), frozenset(timeframes or [])
    )

    async def events() -> AsyncIterator[bytes]:
        async for one in shared.listen(listener):
            yield one

    return StreamingResponse(
        events(), media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


pages = APIRouter()


@pages.get("/metrics", summary="Counters, for Prometheus", response_class=PlainTextResponse)
async def metrics(visit: Operations) -> Response:
    """The gateway's own, and what the warehouse measured last (ops.metric_now) as `titan_metric`."""
    gateway = _gateway(visit.request)
    measured = await gateway.answers.ask("metrics", {})
    lines = ["# HELP titan_metric What the warehouse measured last (docs/operations.md).", "# TYPE titan_metric gauge"]
    # Without their moments: Prometheus drops what is five minutes old, and some of it is measured by the hour.
    lines += [
        f"titan_metric{{metric={_label(metric)},subject={_label(subject or '')}}} {value}"
        for metric, subject, value, _ in measured.rows
    ]
    if measured.rows:
        lines += [
            "# HELP titan_metric_measured_seconds When the warehouse was measured last, in seconds since 1970.",
            "# TYPE titan_metric_measured_seconds gauge",
            f"titan_metric_measured_seconds {max(row[3] for row in measured.rows)}",
        ]
    text = generate_latest(gateway.registry).decode() + "\n".join(lines) + "\n"
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@pages.get("/", include_in_schema=False)
@pages.get("/page/{name}", include_in_schema=False)
async def page_file(request: Request, name: str = "index.html") -> Response:
    """The page, and what it is made of. It tells nothing by itself: what it shows it asks for like any client."""
    return page.send(request, name)


def _label(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # which escapes what Prometheus has escaped


@pages.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """What there is, in words: the page needs nothing from elsewhere."""
    from titan.gateway.reference import page

    return HTMLResponse(page(request.app.openapi()))
