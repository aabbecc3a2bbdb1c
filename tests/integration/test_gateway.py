"""The gateway as its clients have it: a process of its own, asked over HTTP."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest.deletion import delete
from tests.commands import TITAN, titan
from tests.local_gateway import FIRST, HOURLY, LAST, gateway, letting_in, rows
from tests.warehouse import DATABASE, Row, Warehouse, instant, make_batch, separate_warehouse, use_database
from titan.core.database import arguments
from titan.core.settings import Settings
from titan.gateway.database import READER


@pytest.fixture(scope="module")
def filled(manifest: Any) -> Iterator[Warehouse]:
    """A warehouse with two symbols at one exchange, and one of them at another."""
    warehouse = separate_warehouse("gateway")
    warehouse.load(make_batch(rows({"BTC/USDT": 100, "ETH/USDT": 10}), exchange="one", observed=(FIRST, LAST)))
    warehouse.load(make_batch(rows({"ETH/USDT": 11}), exchange="two", observed=(FIRST, LAST)))
    warehouse.refresh()
    yield warehouse
    warehouse.close()


@pytest.fixture(scope="module")
def client(filled: Warehouse) -> Iterator[httpx.Client]:
    use_database(f"{DATABASE}_gateway")
    with gateway() as one:
        yield one


@pytest.fixture
def served(filled: Warehouse) -> Warehouse:
    """The same; commands work in it, too."""
    use_database(f"{DATABASE}_gateway")
    return filled


def got(client: httpx.Client, path: str, **parameters: Any) -> Any:
    """The data of an answer that there has to be."""
    response = client.get(path, params=parameters)
    assert response.status_code == 200, response.text
    assert response.headers["x-data-version"] == response.json()["data_version"]
    return response.json()["data"]


def problem(client: httpx.Client, path: str, status: int, **parameters: Any) -> Any:
    """What is said of a request that cannot be answered."""
    response = client.get(path, params=parameters)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told["status"] == status
    assert told["title"]
    assert told["detail"]
    return told


# --- answers ---------------------------------------------------------------------------------------------------------------


def test_every_answer_is_what_its_mart_has(client: httpx.Client, served: Warehouse) -> None:
    def mart(name: str, where: str) -> list[dict[str, Any]]:
        return [
            json.loads(row) for (row,) in served.query(f"select row_to_json(m)::text from marts.{name} as m where {where}")
        ]

    def same(told: Any, wanted: Any) -> bool:
        return all(
            instant(str(wanted[name])[:19]) == instant(str(value)[:19])
            if name.endswith("_at") and value
            else wanted[name] == value
            for name, value in told.items()
        )

    (summary,) = mart("market_summary", "symbol = 'BTC/USDT'")
    assert same(got(client, "/v1/summary/BTC/USDT"), summary)
    (dive,) = mart("deep_dive", "exchange = 'two' and timeframe = '4h'")
    assert same(got(client, "/v1/deep-dive/ETH%2FUSDT", exchange="TWO", timeframe="4h"), dive)
    assert got(client, "/v1/deep-dive/btc/usdt")["timeframe"] == "1D"
    pairs = mart("correlation", "timeframe = '1h' and instrument_id_a <= instrument_id_b")
    told = got(client, "/v1/reports/correlation", timeframe="1h")
    assert len(told) == 6
    assert sorted((one["correlation_90"], one["pairs_90"]) for one in told) == sorted(
        (one["correlation_90"], one["pairs_90"]) for one in pairs
    )
    two = got(client, "/v1/reports/correlation", symbol=["BTC/USDT", "ETH/USDT"], timeframe="1h", exchange="one")
    assert [(one["symbol_a"], one["symbol_b"]) for one in two] == [
        ("BTC/USDT", "BTC/USDT"), ("BTC/USDT", "ETH/USDT"), ("ETH/USDT", "ETH/USDT"),
    ]  # fmt: skip
    assert {one["status"] for one in got(client, "/v1/data-health")} == {"ok"}
    assert [one["symbol"] for one in got(client, "/v1/symbols")] == ["BTC/USDT", "ETH/USDT", "ETH/USDT"]
    screened = got(client, "/v1/screener", timeframe="4h", exchange="Two")
    assert [one["symbol"] for one in screened] == ["ETH/USDT"]
    assert same(screened[0], dive)
    assert len(got(client, "/v1/screener")) == 3
    leaders = got(client, "/v1/leaderboard", limit=10_000)
    assert len(leaders) == served.value("select count(*) from marts.strategy_leaderboard where scope = 'instrument'")


@pytest.mark.parametrize(
    ("path", "parameters", "mart", "key"),
    [
        (
            "/v1/ohlcv", {"symbol": "BTC/USDT", "timeframe": "1h", "from": "2024-01-01"},
            "ohlcv where symbol = 'BTC/USDT' and timeframe = '1h'", ["closed_at"],
        ),
        ("/v1/signals", {}, "signal_feed", ["closed_at", "signal", "instrument_id", "direction", "action"]),
        ("/v1/leaderboard", {}, "strategy_leaderboard where scope = 'instrument'", ["timeframe", "signal", "instrument_id"]),
    ],
)  # fmt: skip
def test_pages_have_every_row_once(
    client: httpx.Client, served: Warehouse, path: str, parameters: dict[str, str], mart: str, key: list[str]
) -> None:
    found, pages, following = [], 0, f"{path}?{httpx.QueryParams({**parameters, 'limit': 7})}"
    while following and pages < 500:
        response = client.get(following)
        assert response.status_code == 200, response.text
        found += response.json()["data"]
        link = response.links.get("next")
        assert (link is None) == (response.json()["next"] is None)
        following, pages = link["url"] if link else "", pages + 1
    assert len(found) == served.value(f"select count(*) from marts.{mart}")
    assert pages == -(-len(found) // 7) > 1
    whole = client.get(path, params={**parameters, "limit": len(found)}).json()
    assert (len(whole["data"]), whole["next"]) == (len(found), None)  # no page of nothing after it
    keys = [tuple(str(one[name]) for name in key) for one in found]
    assert len(set(keys)) == len(keys)


def test_features_are_those_that_are_computed(client: httpx.Client, served: Warehouse) -> None:
    """One's own, too; and not one that is disabled."""
    asked = {"symbol": "BTC/USDT", "timeframe": "1h"}
    names = ["rsi_14", "ema_50"]
    wanted = served.query(
        "select closed_at, rsi_14, ema_50 from marts.features where symbol = 'BTC/USDT' and timeframe = '1h' order by 1"
    )
    told = got(client, "/v1/features", **asked, feature=[*names, "rsi_14"], limit=10_000)
    assert [(instant(one["closed_at"][:19]), one["rsi_14"], one["ema_50"]) for one in told] == wanted
    assert list(told[0]) == ["opened_at", "closed_at", *names]
    newest = got(client, "/v1/features", **asked, feature=names, limit=3)
    assert newest == told[-3:]
    first = client.get("/v1/features", params={**asked, "feature": names, "from": FIRST.isoformat(), "limit": 5})
    second = client.get(first.links["next"]["url"]).json()["data"]
    assert [*first.json()["data"], *second] == told[:10]
    listed = [one["feature"] for one in got(client, "/v1/features/list")]
    assert list(got(client, "/v1/features", **asked, limit=1)[0])[2:] == listed
    assert problem(client, "/v1/features", 404, **asked, feature=["rsi_15"])["nearest"][0].startswith("rsi_")
    served.query(
        "insert into config.indicator (indicator, kernel, params) "
        """values ('mine', 'rsi', '{"period": 15}'), ('other', 'sma', '{"period": 33}')"""
    )
    served.query("update config.indicator set is_enabled = false where indicator = 'other'")
    served.refresh()
    assert got(client, "/v1/features", **asked, feature=["rsi_15"], limit=1)[0]["rsi_15"] is not None
    problem(client, "/v1/features", 404, **asked, feature=["sma_33"])


def test_accounts_are_what_the_backtest_made(client: httpx.Client, served: Warehouse) -> None:
    served.query(HOURLY)
    served.refresh()
    (row,) = served.query(
        "select symbol, exchange, instrument_id, timeframe, signal, trades, maximum_drawdown "
        "from marts.strategy_leaderboard where scope = 'instrument' and signal = 'hourly' order by symbol limit 1"
    )
    symbol, exchange, number, timeframe, signal, trades, deepest = row
    asked = {"symbol": symbol, "exchange": exchange, "timeframe": timeframe, "signal": signal}
    of_it = f"instrument_id = {number} and timeframe = '{timeframe}' and signal = '{signal}'"
    curve = [
        (json.loads(one)["closed_at"][:19], json.loads(one)["realistic_equity"], json.loads(one)["realistic_hold_equity"])
        for (one,) in served.query(
            f"select row_to_json(e)::text from backtest.fct_strategy_equity as e where {of_it} order by closed_at"
        )
    ]
    whole = got(client, "/v1/equity", **asked, points=10_000)
    assert [(one["closed_at"][:19], one["equity"], one["hold_equity"]) for one in whole] == curve
    by_close = {at: equity for at, equity, _ in curve}
    some = got(client, "/v1/equity", **asked, points=7)
    assert len(some) == 7
    assert [one["equity"] for one in some] == [by_close[one["closed_at"][:19]] for one in some]
    assert some[-1]["closed_at"] == whole[-1]["closed_at"]
    assert min(one["drawdown"] for one in some) == min(one["drawdown"] for one in whole) == deepest  # none is lost between
    portfolio = got(client, "/v1/equity", timeframe=timeframe, signal="*")
    assert portfolio[-1]["equity"] == served.value(
        f"select realistic_equity from backtest.fct_portfolio_equity where timeframe = '{timeframe}' and signal = '*' "
        "order by closed_at desc limit 1"
    )
    assert client.get("/v1/equity", params={**asked, "signal": "none"}).status_code == 404
    told = got(client, "/v1/trades", **asked)
    assert sum(not one["is_open"] for one in told) == trades
    assert [one["trade_return"] for one in told] == [
        value
        for (value,) in served.query(
            f"select realistic_return from backtest.fct_strategy_trade where {of_it} order by trade_number desc"
        )
    ]
    first = client.get("/v1/trades", params={**asked, "limit": 1})
    assert len(told) > 1
    assert client.get(first.links["next"]["url"]).json()["data"] == told[1:2]


def test_portfolios_have_pages_although_they_have_no_instrument(client: httpx.Client, served: Warehouse) -> None:
    served.query(  # a second portfolio, of bars of another timeframe
        'insert into config.signal select (jsonb_populate_record(shipped, \'{"signal": "mine", "timeframe": "4h"}\')).* '
        "from config.signal as shipped order by shipped.signal limit 1"
    )
    served.refresh()
    first = client.get("/v1/leaderboard", params={"scope": "portfolio", "limit": 1})
    second = client.get(first.links["next"]["url"])
    assert second.status_code == 200, second.text
    told = [*first.json()["data"], *second.json()["data"]]
    wanted = served.query(
        "select timeframe, leader_rank, signal from marts.strategy_leaderboard where scope = 'portfolio' "
        "order by 1, 2, 3 limit 2"
    )
    assert [(one["timeframe"], one["leader_rank"], one["signal"]) for one in told] == wanted


def test_a_warehouse_without_candles_has_answers_of_nothing(warehouse: Warehouse) -> None:
    """And a symbol that it gets a second of is ambiguous at once."""
    with gateway() as client:
        for path in ("/v1/symbols", "/v1/signals", "/v1/leaderboard", "/v1/data-health", "/v1/reports/correlation"):
            assert got(client, path) == [], path
        problem(client, "/v1/summary/BTC/USDT", 404)
        problem(client, "/v1/reports/correlation", 404, as_of="2024-01-01")
        for exchange, status in (("one", 200), ("two", 409)):
            warehouse.load(make_batch(rows({"BTC/USDT": 5}, 2), exchange=exchange))
            warehouse.refresh()
            assert client.get("/v1/summary/BTC/USDT").status_code == status


def test_bars_come_in_three_forms_with_every_digit(client: httpx.Client, served: Warehouse) -> None:
    wanted = served.query(
        "select closed_at, close, volume from marts.ohlcv where symbol = 'BTC/USDT' and timeframe = '1h' "
        "order by closed_at desc limit 50"
    )[::-1]
    asked = {"symbol": "BTC/USDT", "timeframe": "1h", "limit": 50}
    by_json = got(client, "/v1/ohlcv", **asked)
    assert [(instant(one["closed_at"][:19]), one["close"], one["volume"]) for one in by_json] == wanted
    by_csv = client.get("/v1/ohlcv", params=asked, headers={"Accept": "text/csv"})
    assert by_csv.headers["content-type"].startswith("text/csv")
    assert [float(one["close"]) for one in csv.DictReader(io.StringIO(by_csv.text))] == [close for _, close, _ in wanted]
    by_arrow = client.get(
        "/v1/ohlcv", params=asked, headers={"Accept": "application/vnd.apache.arrow.stream;q=1, */*;q=0.1"}
    )
    table = pa.ipc.open_stream(by_arrow.content).read_all()
    assert table.schema.field("closed_at").type == pa.timestamp("us", "UTC")
    assert list(zip(table["closed_at"].to_pylist(), table["close"].to_pylist(), strict=True)) == [
        (at, close) for at, close, _ in wanted
    ]
    for path in ("/v1/signals", "/v1/leaderboard", "/v1/data-health", "/v1/symbols", "/v1/reports/correlation"):
        response = client.get(path, headers={"Accept": "application/vnd.apache.arrow.stream"})
        assert pa.ipc.open_stream(response.content).read_all().num_rows == len(client.get(path).json()["data"]), path
    assert client.get("/v1/symbols", headers={"Accept": "image/png"}).status_code == 406


def test_an_answer_holds_until_its_inputs_change(client: httpx.Client, served: Warehouse) -> None:
    """One more candle, a decision on a strategy: the next answer knows. Nothing: it is the one of before."""
    asked = {"symbol": "BTC/USDT", "timeframe": "1h", "limit": 1}
    first = client.get("/v1/ohlcv", params=asked)
    again = client.get("/v1/ohlcv", params=asked)
    assert again.json() == first.json()  # as_of, too: it was kept
    tag = first.headers["etag"]
    unchanged = client.get("/v1/ohlcv", params=asked, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    for turn in range(3):
        at = LAST + timedelta(hours=turn)
        served.load(make_batch([Row(at, 200 + turn, "BTC/USDT")], exchange="one"))
        served.refresh()
        changed = client.get("/v1/ohlcv", params=asked, headers={"If-None-Match": tag})
        assert (changed.status_code, changed.json()["data"][0]["close"]) == (200, 200 + turn)
        tag = changed.headers["etag"]
    before = client.get("/v1/leaderboard").headers["etag"]
    served.query("update config.kept set rule = rule || '!' where relation = 'ops.head'")  # what no model reads is audited
    assert client.get("/v1/leaderboard").headers["etag"] != before


def test_as_of_is_what_was_known_then_or_a_refusal(warehouse: Warehouse) -> None:
    """Beside a warehouse that has nothing but what had been loaded by then."""

    def loaded(first: int, last: int, symbol: str, price: float) -> datetime:
        some = [Row(FIRST + timedelta(hours=at), price + at % 7, symbol) for at in range(first, last)]
        warehouse.load(make_batch(some, exchange="one", observed=(FIRST, FIRST + timedelta(hours=last))))
        warehouse.refresh()
        time.sleep(0.05)
        moment: datetime = warehouse.value("select clock_timestamp()")
        time.sleep(0.05)
        return moment

    paths = [
        "/v1/summary/BTC/USDT", "/v1/deep-dive/BTC/USDT?timeframe=4h", "/v1/ohlcv?symbol=BTC/USDT&timeframe=1D",
        "/v1/ohlcv?symbol=BTC/USDT&timeframe=1h&from=2024-01-20&limit=5", "/v1/reports/correlation?timeframe=1h",
        "/v1/signals?symbol=BTC/USDT", "/v1/features?symbol=BTC/USDT&timeframe=4h&feature=rsi_14",
        "/v1/screener?timeframe=2h",
        "/v1/equity?symbol=BTC/USDT&timeframe=1D&signal=ema_crossover_9_21",
    ]  # fmt: skip
    before = warehouse.value("select clock_timestamp()")
    loaded(0, 500, "ETH/USDT", 10)
    then = loaded(0, 500, "BTC/USDT", 100)
    with gateway() as client:

        def asked(path: str, moment: datetime) -> httpx.Response:
            return client.get(f"{path}{'&' if '?' in path else '?'}as_of={quote(moment.isoformat())}")

        now = {path: client.get(path).json()["data"] for path in paths}
        assert all(now.values())
        loaded(510, 700, "BTC/USDT", 300)  # after a gap that nobody knew of then
        later = loaded(500, 700, "ETH/USDT", 11)
        changed = [path for path in paths if client.get(path).json()["data"] != now[path]]
        assert len(changed) >= 7
        for path in paths:
            response = asked(path, then)
            assert (response.status_code, response.json().get("data")) == (200, now[path]), (path, response.text)
            assert datetime.fromisoformat(response.json()["as_of"]) == then
            assert asked(path, before).json()["title"] == "Nothing was known then"
            assert asked(path, then + timedelta(days=9999)).json()["title"] == "Bad moment"

        # A candle of then is another today, one is gone, bars are made otherwise: refused, each by its name.
        warehouse.load(make_batch([Row(FIRST + timedelta(hours=50), 1e6, "BTC/USDT")], exchange="one"))
        warehouse.refresh()
        for path in paths:
            response = asked(path, then)
            assert (response.status_code, response.json()["title"]) == (409, "Another today"), path
            assert "2024-01-03T03:00" in response.json()["detail"]
        assert asked(paths[0], later).status_code == 409
        assert asked("/v1/summary/ETH/USDT", then).status_code == 200
        delete(warehouse.connection, exchange="one", symbol="ETH/USDT", from_at=FIRST + timedelta(hours=650))
        assert asked("/v1/summary/ETH/USDT", then).status_code == 200  # what is gone was not known yet
        assert asked("/v1/summary/ETH/USDT", later).json()["title"] == "Another today"
        warehouse.query("update config.timeframe set compute_features = false where timeframe = '2h'")
        assert asked("/v1/summary/ETH/USDT", then).json()["title"] == "Configured otherwise since"


# --- what cannot be answered -----------------------------------------------------------------------------------------------


def test_what_is_not_there_is_told_with_what_is_near(client: httpx.Client) -> None:
    told = problem(client, "/v1/summary/BTC/USD", 404)
    assert told["nearest"][0] == "BTC/USDT"
    told = problem(client, "/v1/summary/ETH/USDT", 409)
    assert told["choices"] == [
        {"exchange": "one", "market_type": "spot", "symbol": "ETH/USDT"},
        {"exchange": "two", "market_type": "spot", "symbol": "ETH/USDT"},
    ]
    assert "exchange=one" in told["hint"]
    assert "it is at one spot" in problem(client, "/v1/summary/BTC/USDT", 404, exchange="two")["hint"]
    assert problem(client, "/v1/ohlcv", 404, symbol="BTC/USDT", timeframe="1d")["nearest"][0] == "1D"
    assert "1h" in problem(client, "/v1/deep-dive/BTC/USDT", 404, timeframe="1W_US")["hint"]
    assert "10000" in problem(client, "/v1/ohlcv", 422, symbol="BTC/USDT", limit=10_001)["detail"]
    assert "symbol" in problem(client, "/v1/ohlcv", 422)["detail"]
    assert problem(client, "/v1/ohlcv", 422, symbol="BTC/USDT", **{"from": "2024-02-01", "to": "2024-01-01"})
    assert problem(client, "/v1/ohlcv", 422, symbol="BTC/USDT", **{"from": "yesterday"})["faults"][0]["parameter"] == "from"
    assert problem(client, "/v1/nothing", 404)["hint"] == "/docs lists what there is"
    assert client.post("/v1/symbols").status_code == 405
    assert "is it from?" in problem(client, "/v1/ohlcv", 422, symbol="BTC/USDT", form="2024-01-01")["hint"]
    assert problem(client, "/v1/leaderboard", 422, as_of="2024-01-01")["title"] == "Of now alone"
    for path in ("/v1/ohlcv?symbol=BTC/USDT&from=2024-01-01", "/v1/signals?limit=5", "/v1/leaderboard?limit=5"):
        for cursor in ("x", "!!", "bnVsbA", "WyIxIl0", "WyJhIiwxLCJiIiwiYyIsMV0"):
            assert client.get(f"{path}&cursor={cursor}").status_code == 422, (path, cursor)


INJECTIONS = [
    "'; drop table raw.ohlcv; --", "BTC/USDT' or '1'='1", '"; select pg_sleep(9); --', "$$||pg_sleep(9)||$$", "%(limit)s",
    "{limit}", "\x00", "\\", "BTC/USDT\u202e", "../../etc/passwd", "%", "_" * 5000,
]  # fmt: skip


def test_no_parameter_reaches_the_database_as_sql(client: httpx.Client, served: Warehouse) -> None:
    before = served.value("select count(*) from raw.ohlcv")
    document = client.get("/openapi.json").json()
    tried = 0
    for path, methods in document["paths"].items():
        if path in ("/metrics", "/v1/stream") or "{probe}" in path:
            continue
        for parameter in methods["get"].get("parameters", []):
            for text in INJECTIONS:
                query = {"symbol": "BTC/USDT"} if path == "/v1/ohlcv" else {}
                url = path.replace("{symbol}", "BTC/USDT")
                if parameter["in"] == "path":
                    url = path.replace("{symbol}", quote(text, safe=""))
                else:
                    query[parameter["name"]] = text
                response = client.get(url, params=query)
                assert response.status_code in (200, 404, 406, 409, 422), (url, query, response.text)
                if response.status_code == 200:
                    assert parameter["name"] in ("signal", "cursor") or text not in response.text, (url, query)
                tried += 1
    assert tried > 200
    assert served.value("select count(*) from raw.ohlcv") == before


def test_the_gateway_can_only_read(served: Warehouse) -> None:
    with psycopg.connect(**arguments(Settings.from_environment()), options=READER) as connection:
        assert connection.execute("select current_user").fetchone() == ("titan_reader",)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("create temporary table x ()")
        connection.rollback()
        connection.execute("set transaction read write")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("delete from raw.ohlcv")


# --- keys ------------------------------------------------------------------------------------------------------------------


def test_keys_open_what_they_are_for_until_they_are_revoked(served: Warehouse) -> None:
    anna = titan("key", "create", "anna", "--scope", "market", "--per-minute", "5")
    key = anna.stdout.strip()
    assert key.startswith("titan_")
    assert len(key) > 40
    old = titan("key", "create", "old", "--expires", "2020-01-01").stdout.strip()
    everything = titan(
        "key", "create", "all", *(f"--scope={one}" for one in ("market", "research", "operations"))
    ).stdout.strip()
    assert key not in titan("key", "list").stdout + str(served.query("select * from config.api_key"))
    assert titan("key", "create", "anna").returncode == 2
    assert "there are market, research, operations" in titan("key", "create", "x", "--scope", "all").stderr

    def asked(client: httpx.Client, path: str, key: str) -> httpx.Response:
        return client.get(path, headers={"Authorization": f"Bearer {key}"} if key else {})

    with gateway("--require-key") as client:
        assert client.get("/v1/health/ready").json().keys() == {"status"}
        for wrong in ("", "nobody's"):
            refused = asked(client, "/v1/symbols", wrong)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert "has expired" in asked(client, "/v1/symbols", old).json()["detail"]
        assert asked(client, "/v1/symbols", everything).status_code == 200
        assert client.get("/metrics", headers={"X-API-Key": everything}).status_code == 200
        assert "is for market" in asked(client, "/v1/leaderboard", key).json()["detail"]
        found = [asked(client, "/v1/symbols", key) for _ in range(6)]
        assert [one.status_code for one in found] == [200] * 5 + [429]
        assert 1 <= int(found[-1].headers["retry-after"]) <= 13
        assert titan("key", "revoke", "all").returncode == 0
        assert "was revoked" in asked(client, "/v1/symbols", everything).json()["detail"]
    assert titan("key", "revoke", "all").returncode == 2
    entries = served.query("select action from ops.audit where relation = 'config.api_key' order by seq")
    assert [action for (action,) in entries] == ["baseline", "insert", "insert", "insert", "update"]


def test_it_listens_beyond_this_machine_only_for_keys(served: Warehouse) -> None:
    served.query("update config.api_key set revoked_at = now()")
    command = [TITAN, "serve", "--host", "0.0.0.0", "--port", "0"]  # noqa: S104 - it has to be refused
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert refused.returncode == 2
    assert "there is no key yet" in refused.stderr
    titan("key", "create", "somebody")
    with gateway("--host", "0.0.0.0") as client:  # noqa: S104
        local = httpx.URL(client.base_url).copy_with(host="127.0.0.1")
        assert client.get(local.join("/v1/symbols")).status_code == 401


def test_a_page_of_somebody_elses_cannot_ask_for_its_visitor(client: httpx.Client) -> None:
    """Its name may lead here; what it asks says which name that was."""
    assert client.get("/v1/symbols", headers={"Host": "evil.example"}).status_code == 400


# --- news ------------------------------------------------------------------------------------------------------------------


def test_the_stream_tells_what_becomes_new(client: httpx.Client, served: Warehouse) -> None:
    heard: list[tuple[str, Any]] = []
    ready, done = threading.Event(), threading.Event()

    def listen() -> None:
        with client.stream("GET", "/v1/stream", params={"topic": "candles", "symbol": "btc/usdt"}, timeout=20) as response:
            kind = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: "):
                    heard.append((kind, json.loads(line[6:])))
                    ready.set()
                    if kind == "candles":
                        done.set()
                        return

    thread = threading.Thread(target=listen)
    thread.start()
    assert ready.wait(10)
    at = LAST + timedelta(hours=10)
    served.load(make_batch([Row(at, 5, "ETH/USDT")], exchange="two"))
    served.load(make_batch([Row(at, 300, "BTC/USDT")], exchange="one"))
    served.refresh()
    assert done.wait(10)
    thread.join(10)
    assert heard[0] == ("hello", {"topics": ["candles"], "away_since": None})
    assert {kind for kind, _ in heard} == {"hello", "candles"}
    assert {message.get("symbol", "BTC/USDT") for _, message in heard[1:]} == {"BTC/USDT"}
    assert got(client, "/v1/ohlcv", symbol="BTC/USDT", timeframe="1h", limit=1)[0]["close"] == 300
    assert problem(client, "/v1/stream", 404, topic="gossip")["hint"].startswith("there are ")


def test_it_lives_through_lost_connections(client: httpx.Client, served: Warehouse) -> None:
    for _ in range(3):
        served.query(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'titan serve%' "
            "and datname = current_database()"
        )
        served.query(
            "insert into raw.load_batch (source, origin, started_at) values ('test', 'test', now())"
        )  # nothing holds
        assert client.get("/v1/symbols").status_code == 200


def test_a_gateway_that_is_killed_leaves_nothing(warehouse: Warehouse) -> None:
    def sessions() -> int:
        return int(
            warehouse.value(
                "select count(*) from pg_stat_activity where application_name like 'titan serve%' "
                "and datname = current_database()"
            )
        )

    for _ in range(3):
        process = subprocess.Popen([TITAN, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        address = process.stdout.readline().strip()
        with httpx.Client(base_url=address, transport=httpx.HTTPTransport(retries=5)) as client:
            assert client.get("/v1/symbols").status_code == 200
            assert sessions() > 0
            process.kill()
            process.communicate()
    deadline = time.monotonic() + 20
    while sessions():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_database_that_is_away_is_told_of_and_comes_back_by_itself(served: Warehouse) -> None:
    """Also to who listens, who is let go when the gateway is stopped."""
    heard: list[str] = []

    def listen(client: httpx.Client) -> None:
        with client.stream("GET", "/v1/stream", timeout=60) as response:
            heard.extend(line[7:] for line in response.iter_lines() if line.startswith("event: "))

    with letting_in(served) as allow, gateway() as client:
        assert client.get("/v1/symbols").status_code == 200
        thread = threading.Thread(target=listen, args=(client,))
        thread.start()
        while not client.get("/metrics").text.count("titan_gateway_stream_clients 1.0"):
            time.sleep(0.05)
        try:
            allow(False)
            told = client.get("/v1/summary/BTC/USDT")
            assert told.status_code == 503
            assert told.headers["retry-after"] == "5"
            assert told.json()["since"] in told.json()["detail"]
            assert client.get("/v1/health/live").status_code == 200
            assert client.get("/v1/health/ready").status_code == 503
        finally:
            allow(True)
        deadline = time.monotonic() + 30
        while client.get("/v1/summary/BTC/USDT").status_code != 200 or "back" not in heard:
            assert time.monotonic() < deadline, heard
            time.sleep(0.2)
    thread.join(10)
    assert heard == ["hello", "away", "back", "end"]


def test_what_it_counts_is_there_for_prometheus(client: httpx.Client, served: Warehouse) -> None:
    served.query("select ops.measure()")
    client.get("/v1/symbols")
    text = client.get("/metrics").text
    assert 'titan_gateway_requests_total{route="/v1/symbols",status="200"}' in text
    assert 'titan_metric{metric="models_behind",subject=""} 0' in text
    assert {family.name for family in text_string_to_metric_families(text)} >= {"titan_metric", "titan_gateway_seconds"}


def test_what_there_is_is_written_down(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        about = methods["get"]
        assert about["summary"], path
        assert about["description"], path
        for parameter in about.get("parameters", []):
            assert parameter["in"] == "path" or parameter["description"], (path, parameter["name"])
    page = client.get("/docs").text
    assert all(path.split("/{")[0] in page for path in document["paths"])
    assert "http://" not in page.replace("http://127.0.0.1", "")
    assert "https://" not in page
