"""Events: what is told of a refresh, to listeners and to a Redis that comes and goes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from fakeredis import TcpFakeServer

from tests.commands import TITAN, titan
from tests.warehouse import Row, Warehouse, make_batch
from titan.core.database import connect
from titan.core.errors import ExitCode, GateError
from titan.core.settings import REPOSITORY, Settings
from titan.ops import events
from titan.ops.events import RedisStreams, Relay

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # the fake server leaves its sockets to the collector

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def load(warehouse: Warehouse, first: int, count: int, *symbols: str) -> None:
    rows = [Row(START + at * HOUR, 100 + at % 7, symbol) for symbol in symbols for at in range(first, first + count)]
    warehouse.load(make_batch(rows, observed=(START, START + (first + count) * HOUR)))
    warehouse.refresh()


@pytest.fixture
def heard(warehouse: Warehouse) -> Iterator[list[dict[str, Any]]]:
    """What a listener of all topics has heard by now; to be asked after something was committed."""

    class Heard(list[dict[str, Any]]):
        def now(self) -> list[dict[str, Any]]:
            self[:] = [json.loads(notice.payload) for notice in listener.notifies(timeout=0.2)]
            return self

    load(warehouse, 0, 48, "BTC/USDT", "ETH/USDT")
    with connect(autocommit=True) as listener:
        for topic in events.topics(listener):
            listener.execute(f"listen titan_{topic}".encode())
        yield Heard()


def test_a_refresh_tells_what_is_new_of_each_topic(warehouse: Warehouse, heard: Any) -> None:
    load(warehouse, 48, 1, "BTC/USDT")
    told = heard.now()
    assert {message["topic"] for message in told} >= {"candles", "features"}
    assert {message.get("symbol") for message in told} == {"BTC/USDT"}
    closed_at = START + 49 * HOUR
    for message in told:
        assert (message["exchange"], message["market"]) == ("test", "spot")
        last = datetime.fromisoformat(message["to"]) if "to" in message else closed_at  # whatever comes later
        assert datetime.fromisoformat(message["from"]) <= closed_at <= last
    numbers = [message["change"] for message in told]
    assert numbers == sorted(numbers)
    # Who hears of a bar can read it.
    assert (
        warehouse.value("select max(closed_at) from marts.ohlcv where symbol = 'BTC/USDT' and timeframe = '1h'") == closed_at
    )
    warehouse.refresh()
    assert heard.now() == []


def test_what_is_made_anew_is_told_without_a_series(warehouse: Warehouse, heard: Any) -> None:
    warehouse.refresh(is_full=True)
    told = heard.now()
    assert {message["topic"] for message in told} == {"candles", "features", "signals"}
    assert all(message.keys() == {"topic", "change", "node"} for message in told)


def test_a_change_of_many_series_is_told_in_short(warehouse: Warehouse, heard: Any) -> None:
    instrument = warehouse.value("select instrument_id from raw.instrument limit 1")
    for count in (1_000, 1_001):
        warehouse.query(
            "insert into ops.change (node, instrument_id, first_at, last_at) select 'bars.candle', %s, "
            "timestamptz '2024-01-01' + at * interval '1 hour', 'infinity' from generate_series(1, %s) as at",
            instrument, count,
        )  # fmt: skip
    told = heard.now()
    assert len([message for message in told if "symbol" in message]) == 1_000
    assert len([message for message in told if "symbol" not in message]) == 1
    assert all("to" not in message for message in told)


def test_alerts_are_of_what_somebody_should_look_at(warehouse: Warehouse, heard: Any) -> None:
    bad = [Row(START + at * HOUR, -1, "XRP/USDT") for at in range(40)]
    with pytest.raises(GateError):
        warehouse.load(make_batch(bad))
    warehouse.query("select ops.record_failure('bars.gap', '22012', 'division by zero')")
    warehouse.query("insert into ops.circuit_breaker values ('kraken', 1, 'kraken is away', false, now(), now())")
    told = heard.now()
    assert [(message["kind"], message["subject"]) for message in told] == [
        ("gate", "test"), ("refresh", "bars.gap"), ("exchange", "kraken"),
    ]  # fmt: skip
    assert "stopped: " in told[0]["message"]
    assert "bad_row_share" in told[0]["message"]
    assert told[1]["message"] == "division by zero"
    warehouse.query("update ops.alert set raised_at = now() - interval '31 days' where kind = 'gate'")
    assert warehouse.value("select ops.prune_alerts()") == 1


class Redis:
    """A Redis on loopback that is started, taken away, and comes back with what it had."""

    def __init__(self) -> None:
        self.server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
        self.port = self.server.server_address[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.client = redis.Redis.from_url(self.url, decode_responses=True)

    def messages(self, topic: str = "candles") -> list[dict[str, str]]:
        return [fields for _, fields in self.client.xrange(f"stream:{topic}")]

    def close(self) -> None:
        self.client.close()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def store() -> Iterator[Redis]:
    store = Redis()
    yield store
    store.close()


def relay(sink: Any, name: str = "redis") -> Relay:
    return Relay(name, ["candles", "features", "signals", "alerts"], sink, lambda seconds: None)


def test_a_relay_passes_everything_on_in_order_and_nothing_twice(warehouse: Warehouse, store: Redis) -> None:
    sink = RedisStreams(store.url, 1000)
    ours = relay(sink)
    assert ours.pass_on() == 0  # from now on
    load(warehouse, 0, 48, "BTC/USDT", "ETH/USDT")
    load(warehouse, 48, 2, "ETH/USDT")
    while ours.pass_on():
        pass
    told = store.messages()
    numbers = [int(message["change"]) for message in told]
    assert numbers == sorted(set(numbers))
    assert told[-1]["symbol"] == "ETH/USDT"
    assert datetime.fromisoformat(told[-1]["to"]) >= START + 50 * HOUR
    assert store.messages("features")
    assert ours.pass_on() == 0
    warehouse.query("select ops.prune_changes()")
    assert warehouse.value("select count(*) from ops.event") == 0  # passed on, and so forgotten
    ours.close()
    sink.close()


def test_while_redis_is_away_events_are_kept(warehouse: Warehouse, store: Redis) -> None:
    class Away:
        def send(self, topic: str, messages: Any) -> None:
            raise events.SinkUnavailableError("away")

    gone = relay(Away())
    gone.pass_on()
    for at in range(3):
        load(warehouse, 48 * at, 48, "BTC/USDT")
        with pytest.raises(events.SinkUnavailableError):
            gone.pass_on()
    gone.close()
    (candles, *_) = events.relays(warehouse.connection)[1:2]
    assert (candles["relay"], candles["topic"], candles["waiting"] >= 3) == ("redis", "candles", True)
    sink = RedisStreams(store.url, 1000)
    ours = relay(sink)
    while ours.pass_on():
        pass
    ours.close()
    sink.close()
    assert len(store.messages()) == candles["waiting"]
    assert all(row["waiting"] == 0 for row in events.relays(warehouse.connection))


def test_a_relay_that_dies_before_it_recorded_passes_on_again(warehouse: Warehouse, store: Redis) -> None:
    class Killed:
        def __init__(self, sink: RedisStreams) -> None:
            self._sink = sink

        def send(self, topic: str, messages: Any) -> None:
            self._sink.send(topic, messages)
            raise KeyboardInterrupt

    sink = RedisStreams(store.url, 1000)
    first = relay(Killed(sink))
    first.pass_on()
    load(warehouse, 0, 48, "BTC/USDT")
    with pytest.raises(KeyboardInterrupt):
        first.pass_on()
    first.close()
    second = relay(sink)
    second.pass_on()
    second.close()
    sink.close()
    numbers = [message["change"] for message in store.messages()]
    assert numbers == [*dict.fromkeys(numbers)] * 2


def test_a_forgotten_relay_keeps_nothing(warehouse: Warehouse) -> None:
    class Nowhere:
        def send(self, topic: str, messages: Any) -> None:
            raise events.SinkUnavailableError("away")

    ours = relay(Nowhere(), "old")
    ours.pass_on()
    ours.close()
    load(warehouse, 0, 48, "BTC/USDT")
    assert warehouse.value("select count(*) from ops.event") > 0
    assert "old\tcandles" in titan("events", "relays").stdout
    assert titan("events", "forget", "old").returncode == ExitCode.OK
    warehouse.query("select ops.prune_changes()")
    assert warehouse.value("select count(*) from ops.event") == 0
    assert titan("events", "forget", "old").returncode == ExitCode.USAGE
    assert ours.pass_on() == 0  # but one that runs is there again, and is told what comes
    ours.close()
    assert "old\tcandles" in titan("events", "relays").stdout


@pytest.fixture
def process(warehouse: Warehouse) -> Iterator[Any]:
    """Starts programs beside the warehouse, which end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str, **environment: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
            )
        )
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


def example(number: int) -> str:
    """The program in the documentation, as it stands there; it prints at once."""
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "events.md").read_text(), re.DOTALL)
    return blocks[number].replace('news.get("to"))', 'news.get("to"), flush=True)')


def first_line(process: subprocess.Popen[str], act: Callable[[], object]) -> str:
    """What a program prints first, after something was done often enough for it to have begun listening."""
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.append(process.stdout.readline()))  # type: ignore[union-attr]
    reader.start()
    deadline = time.monotonic() + 30
    while not lines:
        assert time.monotonic() < deadline, process.stderr
        assert process.poll() is None, process.communicate()
        act()
        reader.join(0.2)
    return lines[0]


def test_the_listener_of_the_documentation_hears(warehouse: Warehouse, process: Any) -> None:
    load(warehouse, 0, 48, "BTC/USDT")
    listener = process(sys.executable, "-c", example(0), DATABASE_URL=Settings.from_environment().url)
    tell = "insert into ops.change (node, instrument_id) select 'bars.candle', instrument_id from raw.instrument"
    assert first_line(listener, lambda: warehouse.query(tell)).split()[1:] == ["BTC/USDT", "None"]


def test_the_consumer_of_the_documentation_gets_what_the_command_relays(
    warehouse: Warehouse, store: Redis, process: Any
) -> None:
    relaying = process(TITAN, "--log", "json", "events", "relay", TITAN_REDIS_URL=store.url)
    while not warehouse.value("select count(*) from ops.relay"):
        assert relaying.poll() is None
        time.sleep(0.05)
    load(warehouse, 0, 48, "BTC/USDT")
    consumer = process(sys.executable, "-c", example(1), TITAN_REDIS_URL=store.url)
    assert first_line(consumer, lambda: None).split()[1] == "BTC/USDT"
    relaying.send_signal(signal.SIGTERM)
    assert relaying.wait(timeout=20) == 0
    assert '"event": "relayed"' in relaying.stderr.read()


def test_the_command_prints_what_becomes_new_and_ends_when_told(warehouse: Warehouse, process: Any) -> None:
    listening = process(TITAN, "events", "listen", "--topic", "alerts")
    tell = "insert into ops.alert (kind, subject, message) values ('gate', 'test', 'look')"
    message = json.loads(first_line(listening, lambda: warehouse.query(tell)))
    assert (message["topic"], message["subject"], message["message"]) == ("alerts", "test", "look")
    listening.send_signal(signal.SIGTERM)
    assert listening.wait(timeout=20) == 0


def test_what_is_too_long_ago_leaves_its_stream(store: Redis) -> None:
    sink = RedisStreams(store.url, 10)
    sink.send("candles", [{"topic": "candles", "change": number} for number in range(500)])
    assert len(store.messages()) < 500
    assert store.messages()[-1]["change"] == "499"
    sink.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("relay",), "no Redis is named"),
        (("relay", "--redis", "nowhere"), "is no address of a Redis"),
        (("listen", "--topic", "news"), "there is no topic 'news'"),
    ],
)
def test_what_cannot_be_told_is_said(warehouse: Warehouse, arguments: tuple[str, ...], message: str) -> None:
    result = titan("events", *arguments)
    assert (result.returncode, message in result.stderr) == (ExitCode.USAGE, True)
