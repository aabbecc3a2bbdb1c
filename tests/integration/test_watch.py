"""A watch over an exchange on loopback: real loads and refreshes, by a clock that runs as fast as they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from ingest.sources.limits import Backoff
from tests.clocks import FastClock
from tests.commands import TITAN, titan
from tests.local_exchange import SINCE, Fault, LocalExchange
from tests.warehouse import Warehouse
from titan.cli import output
from titan.core import correlation
from titan.core.database import connect
from titan.core.errors import BuildError, BusyError, ExitCode
from titan.ops import refresh, watch
from titan.ops.run_lock import held
from titan.ops.subscriptions import Series
from titan.ops.watch import Cycle, Delays, Watch, _Answer

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # requests keeps its connections until it is collected

MINUTE = timedelta(minutes=1)
START = SINCE + timedelta(hours=2)  # when a watch begins: two hours of minutes are history
DOWN = Fault(0, b"")


@pytest.fixture
def market(exchange: LocalExchange, warehouse: Warehouse) -> LocalExchange:
    """Minutes of two symbols, before and after START, of which the first one is subscribed to."""
    exchange.candles.clear()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        exchange.add(symbol, SINCE, "1m", [100 + at % 7 for at in range(180)])
    subscribe(warehouse, "BTC/USDT")
    return exchange


def subscribe(warehouse: Warehouse, *symbols: str) -> None:
    for symbol in symbols:
        warehouse.query(
            "insert into config.subscription (exchange, symbol, timeframe, since) values ('binance', %s, '1m', %s)",
            symbol,
            SINCE.date(),
        )


def run(clock: FastClock, market: LocalExchange, *, build: refresh.Build | None = None) -> list[Cycle]:
    """The rounds of a watch until its clock stops."""
    market.now = clock.now
    told: list[Cycle] = []
    Watch(clock, build).run(told.append)
    return told


def asked_at(cycles: list[Cycle]) -> list[datetime]:
    return [cycle.at for cycle in cycles if cycle.asked]


def newest(warehouse: Warehouse, symbol: str = "BTC/USDT") -> datetime:
    return warehouse.value(
        "select max(closed_at) from marts.ohlcv where symbol = %s and timeframe = '1m' and not is_partial", symbol
    )


def test_each_candle_is_asked_for_loaded_and_refreshed_when_it_is_due(warehouse: Warehouse, market: LocalExchange) -> None:
    subscribe(warehouse, "ETH/USDT")
    cycles = run(FastClock(START, START + 5.5 * MINUTE), market)
    assert [(cycle.asked, cycle.inserted) for cycle in cycles] == [(2, 240), *[(2, 2)] * 5]
    assert [cycle.fresh for cycle in cycles] == [{"1m": START + at * MINUTE} for at in range(6)]
    assert all(timedelta(0) < at - (START + number * MINUTE) <= timedelta(seconds=watch.FIRST_DELAY)
               for number, at in enumerate(asked_at(cycles)[1:], start=1))  # fmt: skip
    assert newest(warehouse) == newest(warehouse, "ETH/USDT") == START + 5 * MINUTE
    assert warehouse.value("select count(*) from raw.load_batch") == 1 + 5  # two series, one batch
    assert warehouse.query("select command, outcome from ops.run") == [("watch", "done")]
    warehouse.assert_incremental_equals_full()


def test_a_usual_delay_is_learnt_and_outlasts_the_process(warehouse: Warehouse, market: LocalExchange) -> None:
    market.lateness = timedelta(seconds=7)
    run(FastClock(START, START + 8 * MINUTE), market)
    seconds = warehouse.value("select seconds from ops.exchange_delay")
    assert 7 * 0.9 <= seconds <= 7 * 1.6
    cycles = run(FastClock(START + 8.5 * MINUTE, START + 12.5 * MINUTE), market)
    lateness = [(at - START) % MINUTE for at in asked_at(cycles)[1:]]
    assert len(lateness) <= 6
    assert all(late >= timedelta(seconds=6) for late in lateness)
    assert newest(warehouse) == START + 12 * MINUTE
    market.lateness = timedelta(0)
    run(FastClock(START + 12.5 * MINUTE, START + 30 * MINUTE), market)
    assert warehouse.value("select seconds from ops.exchange_delay") < seconds / 2


def test_a_quiet_market_is_asked_once_a_candle_and_teaches_nothing(warehouse: Warehouse, market: LocalExchange) -> None:
    subscribe(warehouse, "ETH/USDT")
    after = {at: market.candles["ETHUSDT"].pop(at) for at in sorted(market.candles["ETHUSDT"]) if at >= ms(START)}
    clock = FastClock(START, START + 20.5 * MINUTE)
    late = ms(START + 14 * MINUTE)
    clock.at = [(START + 16 * MINUTE, lambda: market.candles["ETHUSDT"].update({late: after[late]}))]
    cycles = run(clock, market)
    alone = [cycle for cycle in cycles if cycle.asked == 1]
    assert len([cycle for cycle in cycles if cycle.asked == 2]) >= 19
    assert 3 <= len(alone) <= 16  # in its first quiet minute, and in the one after it was heard of again
    assert warehouse.value("select seconds from ops.exchange_delay") <= watch.FIRST_DELAY
    assert newest(warehouse, "ETH/USDT") == START + 15 * MINUTE
    assert newest(warehouse) == START + 20 * MINUTE
    # Bars of the minute are as fresh as those of the series that is behind.
    behind = {cycle.fresh["1m"] for cycle in cycles if cycle.asked == 2 and cycle.at > START + 17 * MINUTE}
    assert behind == {START + 15 * MINUTE}


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def test_a_lost_exchange_is_left_alone_for_longer_each_time_and_nothing_is_lost(
    warehouse: Warehouse, market: LocalExchange
) -> None:
    clock = FastClock(START, START + 12.5 * MINUTE)
    clock.at = [(START + 2 * MINUTE, lambda: (market.faults.extend([DOWN] * 4), market.market_faults.extend([DOWN] * 20)))]
    cycles = run(clock, market)
    failed = [cycle.at for cycle in cycles if cycle.failed]
    assert len(failed) == 5  # four attempts at the candles, and four at the markets each time
    waits = [after - before for before, after in pairwise(failed[1:])]  # the first one asked for candles, too
    assert waits == sorted(waits)
    assert newest(warehouse) == START + 12 * MINUTE
    assert not cycles[-1].failed
    warehouse.assert_incremental_equals_full()


def test_a_market_that_its_exchange_cannot_serve_does_not_hold_up_the_others(
    warehouse: Warehouse, market: LocalExchange
) -> None:
    subscribe(warehouse, "ETH/USDT")
    answer, asked = market.answer, []

    def refuse(path: str, query: dict[str, list[str]]) -> Fault:
        if query.get("symbol") != ["BTCUSDT"]:
            return answer(path, query)
        asked.append(path)
        return DOWN

    market.answer = refuse  # type: ignore[method-assign]
    cycles = run(FastClock(START, START + 8.5 * MINUTE), market)
    assert {what for cycle in cycles for what in cycle.failed} == {"binance BTC/USDT 1m"}
    assert len(asked) <= 4 * 6  # at once, and after half a minute, one, two, four
    assert newest(warehouse, "ETH/USDT") == START + 8 * MINUTE
    lateness = [(cycle.at - START) % MINUTE for cycle in cycles if cycle.inserted == 1]
    assert len(lateness) >= 7


def test_an_exchange_that_asks_to_wait_is_not_asked_before(warehouse: Warehouse, market: LocalExchange) -> None:
    subscribe(warehouse, "ETH/USDT")
    clock = FastClock(START, START + 12.5 * MINUTE)
    limited = Fault(429, b'{"code": -1003, "msg": "Too many requests"}', {"Retry-After": "300"})
    clock.at = [
        (START + 2 * MINUTE, lambda: setattr(market, "trouble", lambda answer: limited)),
        (START + 3 * MINUTE, lambda: setattr(market, "trouble", None)),
    ]
    requests: list[datetime] = []
    answer = market.answer
    market.answer = lambda path, query: (requests.append(clock.now()), answer(path, query))[1]  # type: ignore[method-assign]
    cycles = run(clock, market)
    (failed,) = (cycle for cycle in cycles if cycle.failed)
    assert len(failed.failed) == 2
    assert [at for at in requests if failed.at < at < failed.at + timedelta(seconds=300)] == []
    assert newest(warehouse) == newest(warehouse, "ETH/USDT") == START + 12 * MINUTE


def test_a_series_that_is_refused_does_not_stop_the_others(warehouse: Warehouse, market: LocalExchange) -> None:
    subscribe(warehouse, "AAA/USDT", "ETH/USDT")
    clock = FastClock(START, START + 4.5 * MINUTE)
    cycles = run(clock, market)
    failed = [cycle for cycle in cycles if cycle.failed]
    assert {what for cycle in failed for what in cycle.failed} == {"binance AAA/USDT 1m"}
    assert 2 <= len(failed) <= 4  # half a minute, one, two
    assert newest(warehouse) == newest(warehouse, "ETH/USDT") == START + 4 * MINUTE


def test_what_the_gate_found_long_ago_is_forgotten_if_nothing_was_wrong(warehouse: Warehouse, market: LocalExchange) -> None:
    run(FastClock(START, START + 0.5 * MINUTE), market)
    warehouse.query("update ops.gate_result set judged_at = judged_at - interval '31 days'")
    (old,) = warehouse.query("select batch_id from ops.gate_result")
    run(FastClock(START + 61 * MINUTE, START + 62.5 * MINUTE), market)  # an hour later
    kept = warehouse.query("select batch_id from ops.gate_result")
    assert kept
    assert old not in kept


def test_a_candle_that_was_asked_for_long_after_its_close_says_nothing_of_the_exchange() -> None:
    series = Series("binance", "BTC/USDT", "1m", SINCE, reached=START)
    delays = Delays()
    delays.learn([_Answer(series, START, START, attempts=0, lateness=45.0, is_there=True)])
    assert delays.of(series) == watch.FIRST_DELAY
    delays.learn([_Answer(series, START, START, attempts=0, lateness=2.1, is_there=True)])
    assert delays.of(series) < watch.FIRST_DELAY


def test_a_market_that_is_listed_while_it_runs_is_met(warehouse: Warehouse, market: LocalExchange) -> None:
    subscribe(warehouse, "AAA/USDT")
    clock = FastClock(START, START + 6.5 * MINUTE)
    clock.at = [(START + 2 * MINUTE, lambda: market.add("AAAUSDT", START + 2 * MINUTE, "1m", [1.0] * 60))]
    cycles = run(clock, market)
    assert cycles[0].failed.keys() == {"binance AAA/USDT 1m"}
    assert newest(warehouse, "AAA/USDT") == newest(warehouse) == START + 6 * MINUTE


def test_a_batch_that_the_gate_stops_is_taken_apart(warehouse: Warehouse, market: LocalExchange) -> None:
    subscribe(warehouse, "ETH/USDT")
    for at in range(3):  # high below low, three in a row: more than a share of the batch may be
        market.candles["ETHUSDT"][ms(START + at * MINUTE)][2] = "1"
    warehouse.query("update config.expectation set threshold = 0 where expectation = 'bad_row_share'")
    cycles = run(FastClock(START, START + 3.5 * MINUTE), market)
    assert newest(warehouse) == START + 3 * MINUTE
    assert {what for cycle in cycles for what in cycle.failed} == {"binance ETH/USDT 1m"}
    assert newest(warehouse, "ETH/USDT") == START


def test_a_lost_server_is_waited_for(warehouse: Warehouse, market: LocalExchange) -> None:
    def end_connections() -> None:
        with connect(autocommit=True) as other:
            other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
            )

    clock = FastClock(START, START + 6.5 * MINUTE)
    clock.at = [(START + at * MINUTE, end_connections) for at in (2, 4)]
    cycles = run(clock, market)
    assert [[*cycle.failed] for cycle in cycles if cycle.failed] in ([], [["database"]], [["database"]] * 2)
    # Each loss is the first since it worked.
    assert all(cycle.next_at - cycle.at <= timedelta(seconds=1.2) for cycle in cycles if cycle.failed)
    warehouse.close()
    assert newest(warehouse) == START + 6 * MINUTE
    assert warehouse.query("select command, outcome from ops.run") == [("watch", "done")]
    warehouse.assert_incremental_equals_full()


def test_one_watches_and_runs_go_on_beside_it(warehouse: Warehouse, market: LocalExchange) -> None:
    found: list[object] = []

    def try_others() -> None:
        try:
            Watch(FastClock(START, START)).run(found.append)
        except BusyError as error:
            found.append(str(error))
        with correlation.run(warehouse.value("select gen_random_uuid()")), held("run"):
            found.append("run")

    clock = FastClock(START, START + 2.5 * MINUTE)
    clock.at = [(START + MINUTE, try_others)]
    run(clock, market)
    told, ran = found
    assert ran == "run"
    assert str(told).startswith("another watch is under way: watch ")


def test_what_others_load_and_configure_is_refreshed_within_a_tick(warehouse: Warehouse, market: LocalExchange) -> None:
    clock = FastClock(START, START + 3.5 * MINUTE)
    clock.at = [
        (START + MINUTE, lambda: titan("load", "synthetic", "--symbols", "1", "--bars", "50")),
        (START + 2 * MINUTE, lambda: warehouse.query("update config.signal set is_enabled = not is_enabled")),
    ]
    cycles = run(clock, market)
    assert warehouse.query("select count(*) from marts.ohlcv where exchange = 'synthetic' and timeframe = '1D'") == [(50,)]
    assert max(cycle.at for cycle in cycles if cycle.refreshed and cycle.refreshed.owed) <= START + 2.5 * MINUTE


def test_what_dbt_cannot_build_is_not_asked_of_it_again_at_once(warehouse: Warehouse, market: LocalExchange) -> None:
    asked: list[datetime] = []
    clock = FastClock(START, START + 10.5 * MINUTE)

    def refuse(names: object) -> None:
        asked.append(clock.now())
        raise BuildError("no such macro")

    clock.at = [(START + MINUTE, lambda: warehouse.query("truncate ops.project"))]
    cycles = run(clock, market, build=refuse)
    assert [str(cycle.failed["dbt"]) for cycle in cycles if "dbt" in cycle.failed] == ["no such macro"] * len(asked)
    assert 3 <= len(asked) <= 6
    assert newest(warehouse) == START + 10 * MINUTE  # what is declared goes on


def test_a_model_that_fails_is_tried_again_later_and_the_rest_goes_on(warehouse: Warehouse, market: LocalExchange) -> None:
    clock = FastClock(START, START + 3.5 * MINUTE)
    trap = "alter table bars.gap add constraint trap check (false) not valid"
    market.candles["BTCUSDT"].pop(ms(START + MINUTE))
    clock.at = [(START + MINUTE / 2, lambda: warehouse.query(trap))]
    cycles = run(clock, market)
    failed = [cycle for cycle in cycles if cycle.failed]
    assert [[*cycle.failed] for cycle in failed] == [["bars.gap"]] * len(failed)
    assert failed
    assert newest(warehouse) == START + 3 * MINUTE
    assert warehouse.value("select failures from ops.pending where node = 'bars.gap'") == len(failed)


def test_without_subscriptions_it_says_so_once_and_waits(warehouse: Warehouse, market: LocalExchange) -> None:
    warehouse.query("delete from config.subscription")
    clock = FastClock(START, START + 2 * MINUTE)
    clock.at = [(START + MINUTE, lambda: subscribe(warehouse, "BTC/USDT"))]
    cycles = run(clock, market)
    assert [(cycle.remark is not None, cycle.asked) for cycle in cycles][:2] == [(True, 0), (False, 1)]
    assert sum(cycle.remark is not None for cycle in cycles) == 1


def present(warehouse: Warehouse, market: LocalExchange) -> datetime:
    """Move the market to the machine's clock: half an hour of minutes until now, whose end this is, and as many to come."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    market.candles.clear()
    market.add("BTCUSDT", now - 30 * MINUTE, "1m", [100 + at % 7 for at in range(60)])
    market.now = lambda: datetime.now(UTC)
    warehouse.query("update config.subscription set since = %s", (now - 30 * MINUTE).date())
    return now


def test_a_pipe_gets_json_and_sigterm_ends_it(warehouse: Warehouse, market: LocalExchange) -> None:
    now = present(warehouse, market)
    with subprocess.Popen([TITAN, "watch"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        assert (told["asked"], told["failed"]) == (1, {})
        assert told["inserted"] >= 30
        assert datetime.fromisoformat(told["fresh"]["1m"]) >= now
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert time.monotonic() - begun < 30
    assert warehouse.query("select command, outcome from ops.run") == [("watch", "done")]


def test_a_watch_that_is_killed_leaves_its_place(warehouse: Warehouse, market: LocalExchange) -> None:
    present(warehouse, market)
    with subprocess.Popen([TITAN, "watch"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["asked"] == 1
        process.kill()
    left = newest(warehouse)
    cycles = run(FastClock(left + MINUTE / 2, left + 3 * MINUTE), market)
    assert newest(warehouse) >= left + 2 * MINUTE
    assert not any(cycle.failed for cycle in cycles)
    warehouse.assert_incremental_equals_full()


def test_a_line_for_people_says_what_came_and_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    cycle = Cycle(3, START, asked=2, inserted=1200, revised=1, load_seconds=0.31, fresh={"1m": START})
    output.show_cycle(cycle)
    cycle.failed = {"binance ETH/USDT 1m": BuildError("of two\nlines"), "bars.gap": BuildError("x")}
    output.show_cycle(cycle)
    output.show_cycle(Cycle(4, START, refreshed=refresh.Refreshed(), remark="nothing is subscribed to"))
    plain, failed, idle = capsys.readouterr().out.splitlines()
    assert idle == "02:00:00 nothing is subscribed to (0.0 s)"
    assert plain == "02:00:00 2 series asked, 1,200 candles new, 1 revised, 1m to 02:00:00 (0.3 s)"
    assert failed == plain.replace(" (0.3 s)", ", binance ETH/USDT 1m: of two lines; 1 more failed (0.3 s)")


def test_a_backoff_doubles_up_to_its_limit_and_begins_anew() -> None:
    backoff = Backoff(1, 60)
    waits = [backoff.next() for _ in range(10)]
    assert all(0.75 * 2**at <= wait <= 2**at for at, wait in enumerate(waits[:6]))
    assert all(45 <= wait <= 60 for wait in waits[6:])
    backoff.reset()
    assert backoff.next() <= 1


def test_watch_has_a_usage_and_no_subscription_ends_after_a_round(warehouse: Warehouse) -> None:
    done = titan("watch", "--cycles", "1")
    assert done.returncode == ExitCode.OK
    assert "insert series into config.subscription" in json.loads(done.stdout)["remark"]
    assert os.environ["PGDATABASE"]


def test_a_watch_of_so_many_rounds_ends_with_the_last(warehouse: Warehouse, market: LocalExchange) -> None:
    clock = FastClock(START)
    market.now = clock.now
    Watch(clock).run(lambda cycle: None, 1)
    assert clock.now() == START


def test_what_is_learnt_stands_in_nobodys_way(warehouse: Warehouse) -> None:
    warehouse.query("insert into ops.exchange_delay values ('binance', '3m', 1)")
    warehouse.query("delete from config.timeframe where timeframe = '3m'")


def test_only_old_results_of_exchanges_that_met_everything_are_forgotten(
    warehouse: Warehouse, market: LocalExchange
) -> None:
    """Every batch here is of minutes two hours before the clock: fresh, old, old with a warning, old and of no exchange."""
    run(FastClock(START, START + 2.5 * MINUTE), market)
    titan("load", "synthetic", "--symbols", "1", "--bars", "5")
    met = """update ops.gate_result set results = replace(results::text, '"is_met": false', '"is_met": true')::jsonb"""
    warehouse.query(met)
    batches = [number for (number,) in warehouse.query("select batch_id from ops.gate_result order by batch_id")]
    assert len(batches) == 4
    warehouse.query("update ops.gate_result set judged_at = now() - interval '31 days' where batch_id <> %s", batches[0])
    warned = """update ops.gate_result set results = jsonb_set(results, '{0,is_met}', 'false') where batch_id = %s"""
    warehouse.query(warned, batches[1])
    assert warehouse.value("select ops.prune_gate_results()") == 1
    left = [number for (number,) in warehouse.query("select batch_id from ops.gate_result order by batch_id")]
    assert left == [batches[0], batches[1], batches[3]]
    assert warehouse.value("select count(*) from raw.load_batch") == 4
