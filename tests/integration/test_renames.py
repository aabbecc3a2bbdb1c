"""Instruments through their names: told before, between and after the loads, back again, and beside others of the name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import renames
from ingest.renames import Rename
from ingest.sources import exchange as source
from tests.clocks import FastClock
from tests.commands import titan
from tests.local_exchange import SINCE, LocalExchange
from tests.warehouse import FEATURES_ALONE, Row, Warehouse, as_commands_connect, instant, make_batch
from titan.core.errors import GateError, UsageError
from titan.ops import backfill
from titan.ops.backfill import Wanted
from titan.ops.exchanges import Exchanges
from titan.ops.subscriptions import subscribed

LEFT_ALONE = FEATURES_ALONE
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # requests keeps its connections until it is collected

HOUR = timedelta(hours=1)
BEGIN = instant("2024-01-01")
THEN = instant("2024-01-02T10:00")
BACK = Rename("test", "spot", "MATIC/USDT", "POL/USDT", THEN)


def rows(symbol: str, first: datetime, until: datetime, price: float = 100, step: timedelta = HOUR) -> list[Row]:
    return [Row(first + at * step, price + at % 7, symbol) for at in range((until - first) // step)]


OLD = rows("MATIC/USDT", BEGIN, THEN - 3 * HOUR)  # halted before the rename
NEW = rows("POL/USDT", THEN, THEN + 30 * HOUR, 50)
TOKEN = rows("MATIC/USDT", THEN + 5 * HOUR, THEN + 9 * HOUR, 7)  # the name goes to another coin


def tell(warehouse: Warehouse, wanted: Rename = BACK) -> renames.Renamed:
    assert warehouse.connection.autocommit
    with as_commands_connect() as connection:
        return renames.rename(connection, wanted)


def candles(warehouse: Warehouse) -> dict[str, list[tuple[datetime, float]]]:
    """The candles of every symbol."""
    found: dict[str, list[tuple[datetime, float]]] = {}
    for symbol, opened_at, close in warehouse.query(
        "select symbol, opened_at, close from raw.ohlcv inner join raw.instrument using (instrument_id) order by 1, 2"
    ):
        found.setdefault(symbol, []).append((opened_at, close))
    return found


def told(*parts: Sequence[Row]) -> list[tuple[datetime, float]]:
    return [(row.opened_at, row.close) for part in parts for row in part]


WHOLE = {"POL/USDT": told(OLD, NEW), "MATIC/USDT": told(TOKEN)}


@pytest.mark.parametrize("turn", range(4))
def test_it_is_one_instrument_whenever_the_rename_is_told(warehouse: Warehouse, turn: int) -> None:
    """As the last of four, it moves what was loaded; as the first, what comes goes where it belongs."""
    warehouse.load(make_batch(rows("MATIC/USDT", BEGIN, BEGIN + HOUR)))
    for number, part in enumerate((OLD, NEW, TOKEN)):
        if number == turn:
            tell(warehouse)
        warehouse.load(make_batch(part))
    if turn == 3:
        assert tell(warehouse).went == len(TOKEN)
    assert candles(warehouse) == WHOLE
    assert warehouse.query("select symbol, base_timeframe from raw.instrument order by 1") == [
        ("MATIC/USDT", "1h"), ("POL/USDT", "1h"),
    ]  # fmt: skip
    assert warehouse.query("select symbol, from_at, until_at from raw.instrument_name order by instrument_id, from_at") == [
        ("POL/USDT", THEN, None), ("MATIC/USDT", None, THEN), ("MATIC/USDT", THEN, None),
    ]  # fmt: skip


def test_a_batch_of_both_names_and_a_stray_goes_where_each_belongs(warehouse: Warehouse) -> None:
    """A candle under a symbol that was nobody's then is kept in quarantine, with the name that it came by."""
    warehouse.load(make_batch(OLD[:5]))
    tell(warehouse)
    early = [Row(THEN - 20 * HOUR, 3.0, "POL/USDT")]
    done = warehouse.load(make_batch([*TOKEN, *early, *NEW, *OLD], observed=(BEGIN, THEN + 40 * HOUR)))
    assert dict(done.quarantined) == {"is_after_its_rename": 1}
    assert warehouse.query("select symbol, record from raw.quarantine") == [("POL/USDT", repr(early[0]))]
    assert candles(warehouse) == WHOLE
    assert warehouse.query(
        "select symbol, lower(observed), upper(observed) from raw.observed inner join raw.instrument using (instrument_id) "
        "order by 1"
    ) == [("MATIC/USDT", THEN, THEN + 40 * HOUR), ("POL/USDT", BEGIN, THEN + 40 * HOUR)]  # fmt: skip


def test_the_marts_are_those_of_one_instrument_and_of_its_names(warehouse: Warehouse) -> None:
    """The other side is an instrument of another exchange that had one symbol all the time."""
    for part in (OLD, NEW, TOKEN):
        warehouse.load(make_batch(part, observed=(part[0].opened_at, part[-1].opened_at + 2 * HOUR)))
    warehouse.refresh()
    tell(warehouse)
    straight = [Row(row.opened_at, row.close, "POL/USDT") for row in (*OLD, *NEW)]
    for part in (
        [row for row in straight if row.opened_at < THEN],
        [row for row in straight if row.opened_at >= THEN],
        TOKEN,
    ):
        asked = (part[0].opened_at, part[-1].opened_at + 2 * HOUR)
        warehouse.load(make_batch(part, exchange="other", observed=asked))
    warehouse.refresh()
    columns = "symbol, timeframe, opened_at, closed_at, open, high, low, close, volume, bar_count, missing_count, has_gap"
    ours, others = (
        warehouse.query(f"select {columns} from marts.ohlcv where exchange = %s order by 1, 2, 4", exchange)
        for exchange in ("test", "other")
    )
    assert ours == others
    assert len(ours) > 100
    assert warehouse.query(
        "select symbol, symbol_then, valid_after, valid_until from marts.symbol where exchange = 'test' "
        "order by 1, 3 nulls first"
    ) == [
        ("MATIC/USDT", "MATIC/USDT", THEN, None),
        ("POL/USDT", "MATIC/USDT", None, THEN),
        ("POL/USDT", "POL/USDT", THEN, None),
    ]
    then = warehouse.query(
        """
        select symbol_then, count(*) from marts.ohlcv as bar
        inner join marts.symbol as name
            on
                bar.instrument_id = name.instrument_id
                and bar.closed_at > coalesce(name.valid_after, '-infinity')
                and bar.closed_at <= coalesce(name.valid_until, 'infinity')
        where bar.exchange = 'test' and bar.symbol = 'POL/USDT' and timeframe = '1h' group by 1 order by 1
        """
    )
    assert then == [("MATIC/USDT", len(OLD)), ("POL/USDT", len(NEW))]
    warehouse.assert_incremental_equals_full()


def test_a_rename_that_is_taken_back_leaves_everything_as_it_was(warehouse: Warehouse) -> None:
    for part in (OLD, NEW, TOKEN):
        warehouse.load(make_batch(part, observed=(part[0].opened_at, part[-1].opened_at + 2 * HOUR)))
    state = """
        select symbol, timeframe, opened_at, close, observed from raw.ohlcv inner join raw.instrument using (instrument_id)
        inner join raw.observed using (instrument_id, timeframe) order by 1, 3
    """
    before = warehouse.query(state)
    with pytest.raises(UsageError, match="was not renamed to POL/USDT here"):
        renames.undo(warehouse.connection, "test", "spot", "MATIC/USDT", "POL/USDT")
    tell(warehouse, Rename("test", "spot", "MATIC/USDT", "POL/USDT", instant("2024-01-02"), 0.01))
    assert warehouse.query(state) != before
    assert warehouse.query("select symbol, ex_date, ratio from raw.adjustment "
                           "inner join raw.instrument using (instrument_id)") == [
        ("POL/USDT", instant("2024-01-02").date(), 0.01)
    ]  # fmt: skip
    renames.undo(warehouse.connection, "test", "spot", "MATIC/USDT", "POL/USDT")
    assert warehouse.query(state) == before
    assert (
        warehouse.value("select count(*) from raw.adjustment") == warehouse.value("select count(*) from config.rename") == 0
    )


def test_versions_and_adjustments_go_with_their_candles(warehouse: Warehouse) -> None:
    """Of either instrument after the rename, and of none before it; and back again."""
    for part in (OLD, NEW, TOKEN):
        warehouse.load(make_batch(part))
    first = warehouse.value("select max(batch_id) from raw.load_batch")
    for part in (OLD[:2], NEW[:2], TOKEN[:2]):
        warehouse.load(make_batch([replace(row, close=row.close + 1) for row in part]))
    split = (
        "insert into raw.adjustment (instrument_id, ex_date, kind, ratio, batch_id) "
        "select instrument_id, %s, 'split', %s, 1 from raw.instrument where symbol = %s"
    )
    warehouse.query(split, "2024-01-01", 2, "MATIC/USDT")
    warehouse.query(split, "2024-01-03", 3, "MATIC/USDT")
    warehouse.query(split, "2024-01-03", 5, "POL/USDT")
    as_of = ("select symbol, opened_at, close from raw.ohlcv_as_of(%s) inner join raw.instrument using (instrument_id) "
             "order by 1, 2")  # fmt: skip
    splits = ("select symbol, ex_date::text, ratio from raw.adjustment inner join raw.instrument using (instrument_id) "
              "order by 1, 2")  # fmt: skip
    before = warehouse.query(as_of, first), warehouse.query(splits)
    tell(warehouse)
    assert warehouse.query(as_of, first) == [(symbol, *row) for symbol in sorted(WHOLE) for row in WHOLE[symbol]]
    assert warehouse.query(splits) == [
        ("MATIC/USDT", "2024-01-03", 3), ("POL/USDT", "2024-01-01", 2), ("POL/USDT", "2024-01-03", 5),
    ]  # fmt: skip
    renames.undo(warehouse.connection, "test", "spot", "MATIC/USDT", "POL/USDT")
    assert (warehouse.query(as_of, first), warehouse.query(splits)) == before


def test_a_ratio_adjusts_bars_like_a_split(warehouse: Warehouse) -> None:
    """LEND became AAVE, a hundred for one."""
    day = instant("2024-01-05")
    warehouse.load(make_batch(rows("LEND/USDT", BEGIN, day, 0.5, timedelta(days=1)), timeframe="1D"))
    warehouse.load(make_batch(rows("AAVE/USDT", day, day + timedelta(days=4), 50, timedelta(days=1)), timeframe="1D"))
    tell(warehouse, Rename("test", "spot", "LEND/USDT", "AAVE/USDT", day, 0.01))
    warehouse.refresh()
    assert warehouse.query(
        "select open, close from marts.ohlcv_back_adjusted where symbol = 'AAVE/USDT' and timeframe = '1D' "
        "and closed_at in (%s, %s) order by closed_at", day, day + timedelta(days=1),
    ) == [(350.0, 350.0), (50.0, 50.0)]  # fmt: skip
    warehouse.assert_incremental_equals_full()


def test_configuration_follows_and_is_not_doubled(warehouse: Warehouse) -> None:
    warehouse.load(make_batch(OLD))
    for symbol, timeframe in (("MATIC/USDT", "1h"), ("MATIC/USDT", "1m"), ("POL/USDT", "1m"), ("BTC/USDT", "1m")):
        warehouse.query("insert into config.subscription values ('test', %s, %s, '2024-01-01')", symbol, timeframe)
    warehouse.query("insert into config.universe values ('all', 'test', 'MATIC/USDT', '2021-01-01', null, 'by hand')")
    warehouse.query("insert into config.delisting values ('test', 'spot', 'MATIC/USDT', %s)", THEN)
    assert tell(warehouse).notices == (
        "2 rows of config.subscription name POL/USDT now",
        "1 rows of config.universe name POL/USDT now",
        "MATIC/USDT counts as delisted no longer (config.delisting)",
    )
    assert warehouse.query("select symbol, timeframe from config.subscription order by 1, 2") == [
        ("BTC/USDT", "1m"), ("POL/USDT", "1h"), ("POL/USDT", "1m"),
    ]  # fmt: skip
    assert warehouse.query("select symbol from config.universe_at('all')") == [("POL/USDT",)]
    series = subscribed(warehouse.connection, THEN + 50 * HOUR)
    assert [one.since for one in series if one.symbol == "POL/USDT"] == [THEN, THEN]  # it had another name before


REFUSED = [
    (Rename("test", "spot", "A/USDT", "B/USDT", THEN), "test has neither A/USDT nor B/USDT here"),
    (replace(BACK, renamed_at=THEN + 5 * HOUR),
     "POL/USDT has candles before MATIC/USDT became it, e.g. its 1h candle closing 2024-01-02 15:00"),
    (replace(BACK, ratio=0.01), "a rename counts from the beginning of a day, 2024-01-02 10:00 UTC is 10:00 in UTC"),
    (Rename("test", "spot", "MATIC/USDT", "DAYS/USDT", BEGIN), "the bars of .* come from its 1(h|D) candles, those of"),
    (Rename("test", "spot", "MATIC/USDT", "NYSE/USD", BEGIN), "trades in session"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "why"), REFUSED)
def test_what_contradicts_what_is_here_is_refused_and_changes_nothing(
    warehouse: Warehouse, wanted: Rename, why: str
) -> None:
    for part in (OLD, NEW):
        warehouse.load(make_batch(part))
    warehouse.load(make_batch(rows("DAYS/USDT", BEGIN, THEN + 90 * HOUR, 1, timedelta(days=1)), timeframe="1D"))
    warehouse.load(make_batch([Row(instant("2024-01-03T15:00"), 1.0, "NYSE/USD")], session="EQUITY"))
    before = candles(warehouse), warehouse.query("table config.rename")
    with pytest.raises(UsageError, match=why):
        tell(warehouse, wanted)
    assert (candles(warehouse), warehouse.query("table config.rename")) == before


def test_renames_of_a_symbol_are_told_in_their_order_and_make_chains(warehouse: Warehouse) -> None:
    warehouse.load(make_batch(rows("A/USDT", BEGIN, BEGIN + HOUR)))
    tell(warehouse, Rename("test", "spot", "A/USDT", "B/USDT", BEGIN + 10 * HOUR))
    tell(warehouse, Rename("test", "spot", "B/USDT", "C/USDT", BEGIN + 20 * HOUR))
    with pytest.raises(UsageError, match="B/USDT is C/USDT since 2024-01-01 20:00"):
        tell(warehouse, Rename("test", "spot", "X/USDT", "B/USDT", BEGIN + 15 * HOUR))
    with pytest.raises(UsageError, match="B/USDT is C/USDT since"):
        renames.undo(warehouse.connection, "test", "spot", "A/USDT", "B/USDT")
    parts = [
        rows("A/USDT", BEGIN, BEGIN + 10 * HOUR), rows("B/USDT", BEGIN + 10 * HOUR, BEGIN + 20 * HOUR, 200),
        rows("C/USDT", BEGIN + 20 * HOUR, BEGIN + 30 * HOUR, 300),
    ]  # fmt: skip
    another = rows("B/USDT", BEGIN + 21 * HOUR, BEGIN + 25 * HOUR, 500)
    warehouse.load(make_batch(another[:1]))
    tell(warehouse, Rename("test", "spot", "B/USDT", "D/USDT", BEGIN + 25 * HOUR))
    again = rows("A/USDT", BEGIN + 10 * HOUR, BEGIN + 30 * HOUR, 400)
    warehouse.load(make_batch([*another, *parts[2], *parts[0], *again, *parts[1]]))
    assert candles(warehouse) == {"C/USDT": told(*parts), "A/USDT": told(again), "D/USDT": told(another)}
    assert warehouse.query("select symbol, until_at from raw.instrument_name where instrument_id = 1 order by 2") == [
        ("A/USDT", BEGIN + 10 * HOUR), ("B/USDT", BEGIN + 20 * HOUR), ("C/USDT", None),
    ]  # fmt: skip


# --- an exchange that renamed one ----------------------------------------------------------------------------------------


@pytest.fixture
def renamed(exchange: LocalExchange, monkeypatch: pytest.MonkeyPatch) -> LocalExchange:
    """MATIC until it was halted, and POL since; POL's empty past is answered, too."""
    exchange.candles.clear()
    exchange.add("MATICUSDT", SINCE, "1h", [100.0 + at for at in range(20)])
    exchange.add("POLUSDT", SINCE + 24 * HOUR, "1h", [200.0 + at for at in range(30)])
    exchange.now = FastClock(SINCE + 54 * HOUR).now
    monkeypatch.setattr(source, "wait", lambda seconds: None)
    return exchange


@pytest.mark.parametrize("has_old_part", [False, True])
def test_a_backfill_asks_for_each_part_under_its_name(
    warehouse: Warehouse, renamed: LocalExchange, has_old_part: bool
) -> None:
    """Prepended and to its end; and then there is nothing to ask for."""
    assert renamed.now
    clock = Exchanges(lambda seconds: None, now=renamed.now)
    rename = Rename("binance", "spot", "MATIC/USDT", "POL/USDT", SINCE + 24 * HOUR)
    first = Wanted("binance", "MATIC/USDT" if has_old_part else "POL/USDT", "1h", SINCE + (0 if has_old_part else 40) * HOUR)
    with as_commands_connect() as connection:
        backfill.backfill(connection, [first], exchanges=clock, sleep=lambda seconds: None)
        assert renames.rename(connection, rename).came == 0
        renamed.asked.clear()
        wanted = [Wanted("binance", "POL/USDT", "1h", SINCE)]
        done = backfill.backfill(connection, wanted, exchanges=clock, sleep=lambda seconds: None)
        assert not done.failed
        assert {name for name, _ in renamed.asked} == {"POLUSDT"} | (set() if has_old_part else {"MATICUSDT"})
        renamed.asked.clear()
        again = backfill.backfill(connection, wanted, exchanges=clock, sleep=lambda seconds: None)
    assert (again.stretches, renamed.asked) == ([], [])
    expected = [float(row[4]) for name in ("MATICUSDT", "POLUSDT") for row in renamed.candles[name].values()]
    assert [close for _, close in candles(warehouse)["POL/USDT"]] == expected
    assert list(candles(warehouse)) == ["POL/USDT"]
    (observed,) = warehouse.query("select lower(observed), upper(observed) from raw.observed "
                                  "where observed <> '{}'")  # fmt: skip
    assert observed == (SINCE, SINCE + 54 * HOUR)


def test_days_across_a_rename_within_a_day_leave_no_hole(warehouse: Warehouse, exchange: LocalExchange) -> None:
    """The day of the rename is the new symbol's; the old one's part of it is nobody's history."""
    day = timedelta(days=1)
    exchange.candles.clear()
    exchange.add("MATICUSDT", SINCE, "1d", [100.0 + at for at in range(6)])
    exchange.add("POLUSDT", SINCE + 5 * day, "1d", [200.0 + at for at in range(6)])
    exchange.now = FastClock(SINCE + 11 * day).now
    clock = Exchanges(lambda seconds: None, now=exchange.now)
    with as_commands_connect() as connection:
        late = [Wanted("binance", "POL/USDT", "1D", SINCE + 8 * day)]
        backfill.backfill(connection, late, exchanges=clock, sleep=lambda seconds: None)
        renames.rename(connection, Rename("binance", "spot", "MATIC/USDT", "POL/USDT", SINCE + 5.5 * day))
        wanted = [Wanted("binance", "POL/USDT", "1D", SINCE)]
        backfill.backfill(connection, wanted, exchanges=clock, sleep=lambda seconds: None)
    assert [close for _, close in candles(warehouse)["POL/USDT"]] == [100, 101, 102, 103, 104, *range(200, 206)]
    assert warehouse.query("select lower(observed), upper(observed), (select count(*) from unnest(observed)) "
                           "from raw.observed") == [(SINCE, SINCE + 11 * day, 1)]  # fmt: skip


def test_days_that_were_loaded_before_leave_no_hole_either(warehouse: Warehouse) -> None:
    day = timedelta(days=1)
    for symbol, first, until in (("MATIC/USDT", 0, 5), ("POL/USDT", 5, 11)):
        part = rows(symbol, BEGIN + first * day, BEGIN + until * day, step=day)
        warehouse.load(make_batch(part, timeframe="1D", observed=(BEGIN + first * day, BEGIN + until * day)))
    tell(warehouse, replace(BACK, renamed_at=BEGIN + 5.5 * day))
    assert len(candles(warehouse)["POL/USDT"]) == 11
    assert warehouse.query("select symbol, base_timeframe from raw.instrument order by 1") == [
        ("MATIC/USDT", None), ("POL/USDT", "1D"),
    ]  # fmt: skip
    assert warehouse.query("select lower(observed), upper(observed), (select count(*) from unnest(observed)) "
                           "from raw.observed") == [(BEGIN, BEGIN + 11 * day, 1)]  # fmt: skip


def test_the_command_says_what_it_did(warehouse: Warehouse) -> None:
    warehouse.load(make_batch(OLD, exchange="binance"))
    ended = titan("rename", "binance", "matic/usdt", "POL/USDT", "--at", "2024-01-02 10:00")
    assert (ended.returncode, ended.stdout) == (
        0,
        "MATIC/USDT of binance is POL/USDT (batch 2): 0 candles came to it, 0 stay with MATIC/USDT; "
        "titan refresh brings the bars up to date\n",
    )
    ended = titan("rename", "binance", "MATIC/USDT", "POL/USDT", "--undo", "--json")
    assert json.loads(ended.stdout)["batch_id"] == 3
    assert list(candles(warehouse)) == ["MATIC/USDT"]
    for arguments in (["--undo", "--at", "2024-01-01"], []):
        assert titan("rename", "binance", "MATIC/USDT", "POL/USDT", *arguments).returncode == 2


# --- whatever is told and loaded -----------------------------------------------------------------------------------------

NAMES = ["A/USDT", "B/USDT", "C/USDT"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(1, 40), st.permutations(NAMES).map(lambda names: tuple(names[:2]))), max_size=3),
    st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=6),
    st.randoms(),
)
def test_what_is_loaded_first_and_what_is_told_first_come_to_the_same(
    warehouse: Warehouse, told_at: list[tuple[int, tuple[str, str]]], loads: list[tuple[str, int, int]], chance: Any
) -> None:
    """Candles by name and hour end with the instrument that an independent walk through the renames finds."""
    warehouse.query("truncate raw.instrument, raw.ohlcv, raw.ohlcv_revision, raw.observed, raw.quarantine, config.rename "
                    "restart identity cascade")  # fmt: skip
    told_at = sorted(dict(told_at).items())
    steps: list[Any] = list(told_at)
    for load in loads:
        steps.insert(chance.randint(0, len(steps)), load)
    made: list[tuple[int, tuple[str, str]]] = []
    given: set[tuple[str, int]] = set()
    warehouse.load(make_batch([Row(BEGIN - 5 * HOUR, 1.0, "A/USDT")]))

    def today(symbol: str, at: int) -> str | None:
        """At the close of a candle, in hours, by going through the renames one after the other."""
        name: str | None = symbol
        if any(new == symbol and when > at for when, (_, new) in made):
            taken = min(when for when, (_, new) in made if new == symbol and when > at)
            if not any(old == symbol and at < when < taken for when, (old, _) in made):
                name = None
        for when, (old, new) in made:
            if name == old and at < when:
                name = new
        return name

    for step in steps:
        if len(step) == 2:
            at, (old, new) = step
            try:
                tell(warehouse, Rename("test", "spot", old, new, BEGIN + at * HOUR))
                made.append(step)
            except UsageError:
                continue
        else:
            symbol, first, count = step
            part = {(symbol, at) for at in range(first, first + count)}
            try:
                warehouse.load(make_batch([Row(BEGIN + at * HOUR, 10.0 + at, symbol) for _, at in sorted(part)]))
            except GateError:
                assert any(today(*one) is None for one in part)
                continue
            given |= part

    expected: dict[str, set[int]] = {"A/USDT": set()}
    for symbol, at in given:
        if name := today(symbol, at):
            expected.setdefault(name, set()).add(at)
    found = {name: {(opened_at - BEGIN) // HOUR for opened_at, _ in of} for name, of in candles(warehouse).items()}
    first_name = today("A/USDT", -5)
    assert first_name
    expected.setdefault(first_name, set()).add(-5)
    assert found == {name: of for name, of in expected.items() if of}
