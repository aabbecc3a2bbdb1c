"""Rows that were turned away: listed, corrected and released, dropped. Nothing is lost, nothing bad is let in."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from ingest import quarantine
from ingest.quarantine import Selection
from ingest.release import release
from tests.clocks import stay_within_the_hour, this_hour
from tests.commands import titan
from tests.warehouse import BARS_ALONE, Row, Warehouse, instant, make_batch
from titan.core.errors import UsageError
from titan.ops.loads import FileOptions, load_files

LEFT_ALONE = BARS_ALONE

HEADER = "timestamp,open,high,low,close,volume,quote_volume"
ROWS = [f"2024-01-01T{hour:02}:00:00Z,10,12,9,11,5,50" for hour in range(24)]


def candles_file(tmp_path: Path, **faults: str) -> Path:
    """A day of hourly candles; `h03="…"` replaces that hour's line."""
    path = tmp_path / "binance_BTCUSDT_1h.csv"
    path.write_text("\n".join([HEADER, *(faults.get(f"h{hour:02}", row) for hour, row in enumerate(ROWS))]) + "\n")
    return path


def load(warehouse: Warehouse, path: Path) -> None:
    assert load_files(warehouse.connection, [path], FileOptions()).failed == []


HIGH_BELOW = "2024-01-01T03:00:00Z,10,8,9,9,5,50"
NO_PRICE = "2024-01-01T04:00:00Z,10,12,9,,5,n/a"
NOT_FINITE = "2024-01-01T05:00:00Z,10,12,9,11,5,nan"


@pytest.fixture
def loaded(warehouse: Warehouse, tmp_path: Path) -> Path:
    path = candles_file(tmp_path, h03=HIGH_BELOW, h04=NO_PRICE)
    load(warehouse, path)
    return path


def ids(warehouse: Warehouse) -> dict[str, int]:
    return dict(warehouse.query("select reason, quarantine_id from raw.quarantine where resolution is null"))


def test_what_could_be_read_is_kept_beside_the_text(warehouse: Warehouse, loaded: Path) -> None:
    rows = {row["reason"]: row for row in quarantine.find(warehouse.connection, Selection())}
    assert rows["high_is_not_below_low"]["record"] == HIGH_BELOW
    assert rows["high_is_not_below_low"]["candle"]["high"] == 8
    candle = rows["price_is_a_number"]["candle"]
    assert (candle["close"], candle["quote_volume"], candle["open"]) == (None, None, 10)
    assert rows["price_is_a_number"]["session_id"] == "CRYPTO"


def test_a_row_that_is_still_bad_is_not_released(warehouse: Warehouse, loaded: Path) -> None:
    row = ids(warehouse)["high_is_not_below_low"]
    done = release(warehouse.connection, Selection([row]), {})
    assert (done.released, done.still_bad) == ([], [(row, "high_is_not_below_low")])
    done = release(warehouse.connection, Selection([row]), {"high": "9.5"})
    assert done.still_bad == [(row, "open_is_within_range")]
    assert warehouse.value("select count(*) from raw.quarantine where resolution is null") == 2
    assert warehouse.value("select count(*) from raw.ohlcv") == 22


def test_a_corrected_row_becomes_a_candle_and_the_models_learn_of_it(warehouse: Warehouse, loaded: Path) -> None:
    warehouse.refresh()
    row = ids(warehouse)["high_is_not_below_low"]
    done = release(warehouse.connection, Selection([row]), {"high": "12.5"})
    assert (done.released, done.still_bad) == ([row], [])
    assert warehouse.value("select high from raw.ohlcv where opened_at = '2024-01-01 03:00+00'") == 12.5
    found = warehouse.query(
        "select resolution, resolved_by = session_user, resolved_batch from raw.quarantine where quarantine_id = %s", row
    )
    assert found == [("released", True, done.batches[0])]
    details = warehouse.value("select details from raw.load_batch where batch_id = %s", done.batches[0])
    assert details == {"quarantine_ids": [row], "corrections": {"high": "12.5"}}
    warehouse.refresh()
    warehouse.assert_incremental_equals_full()


def test_what_was_unreadable_has_to_be_given(warehouse: Warehouse, loaded: Path) -> None:
    row = ids(warehouse)["price_is_a_number"]
    done = release(warehouse.connection, Selection([row]), {"quote_volume": "1"})
    assert done.still_bad == [(row, "no readable close; give --set close=…")]
    release(warehouse.connection, Selection([row]), {"close": "11.5", "quote_volume": "55"})
    query = "select close, quote_volume from raw.ohlcv where opened_at = '2024-01-01 04:00+00'"
    assert warehouse.query(query) == [(11.5, 55)]


def test_a_value_that_is_no_finite_number_stays_one(warehouse: Warehouse, tmp_path: Path) -> None:
    load(warehouse, candles_file(tmp_path, h05=NOT_FINITE))
    row = ids(warehouse)["quote_volume_is_finite"]
    done = release(warehouse.connection, Selection([row]), {})
    assert done.still_bad == [(row, "quote_volume_is_finite")]


@pytest.mark.parametrize(
    ("corrections", "said"),
    [
        ({"price": "1"}, "a candle has no such value"),
        ({"close": "much"}, "close=much: this is not a number"),
        ({"trade_count": "1.5"}, "this is not a number"),
        ({"trade_count": "99999999999999999999"}, "this is not a number"),
        ({"opened_at": "noon"}, "this is not a UTC time"),
    ],
)
def test_corrections_that_cannot_be_meant_are_refused(
    warehouse: Warehouse, loaded: Path, corrections: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        release(warehouse.connection, Selection(is_everything=True), corrections)


def test_a_released_row_observes_its_own_period_and_no_more(warehouse: Warehouse) -> None:
    start = instant("2024-01-01")
    rows = [Row(start + timedelta(hours=at), 10.0, volume=-1.0 if at in (0, 40) else 1.0) for at in (0, *range(10, 30), 40)]
    warehouse.load(make_batch(rows))
    release(warehouse.connection, Selection(is_everything=True), {"volume": "1"})
    assert warehouse.value("select observed::text from raw.observed") == (
        '{["2024-01-01 00:00:00+00","2024-01-01 01:00:00+00"),["2024-01-01 10:00:00+00","2024-01-02 06:00:00+00"),'
        '["2024-01-02 16:00:00+00","2024-01-02 17:00:00+00")}'
    )
    warehouse.refresh()
    warehouse.assert_incremental_equals_full()


def test_a_candle_that_is_not_finished_is_not_released(warehouse: Warehouse) -> None:
    stay_within_the_hour()
    hour = this_hour()
    rows = [Row(hour - timedelta(hours=at), 10.0, volume=1.0 if at else -1.0) for at in range(30)]
    warehouse.load(make_batch(rows))
    row = ids(warehouse)["volume_is_not_negative"]
    done = release(warehouse.connection, Selection([row]), {"volume": "1"})
    assert (done.released, done.still_bad) == ([], [(row, "unfinished")])


def test_rows_of_several_markets_are_released_at_once_or_none_is(warehouse: Warehouse) -> None:
    start = instant("2024-01-01")
    for exchange in ("one", "other"):
        rows = [Row(start + timedelta(hours=at), 10.0, volume=-1.0 if at == 5 else 1.0) for at in range(30)]
        warehouse.load(make_batch(rows, exchange=exchange))
    done = release(warehouse.connection, Selection(reason="volume_is_not_negative"), {"volume": "2"})
    assert len(done.released) == len(done.batches) == 2
    assert warehouse.value("select count(*) from raw.ohlcv where volume = 2") == 2


def test_a_superseded_row_may_be_made_the_current_one(warehouse: Warehouse, tmp_path: Path) -> None:
    path = candles_file(tmp_path)
    path.write_text(path.read_text() + "2024-01-01T06:00:00Z,10,12,9,9.5,5,50\n")
    load(warehouse, path)
    row = ids(warehouse)["is_superseded_in_batch"]
    assert release(warehouse.connection, Selection([row]), {}).released == [row]
    assert warehouse.value("select close from raw.ohlcv where opened_at = '2024-01-01 06:00+00'") == 11
    assert warehouse.query("select close from raw.ohlcv_revision") == [(9.5,)]


def test_a_dropped_superseded_row_is_not_complained_of_again(warehouse: Warehouse, tmp_path: Path) -> None:
    path = candles_file(tmp_path)
    path.write_text(path.read_text() + "2024-01-01T06:00:00Z,10,12,9,9.5,5,50\n")
    load(warehouse, path)
    quarantine.drop(warehouse.connection, Selection(is_everything=True))
    assert titan("load", "file", str(path)).returncode == 0


def test_what_is_settled_elsewhere_does_not_pass_for_released(warehouse: Warehouse, loaded: Path) -> None:
    row = ids(warehouse)["high_is_not_below_low"]
    warehouse.query(
        """
        insert into raw.quarantine (
            batch_id, exchange, market_type, symbol, timeframe, origin, row_number, reason, record, resolution, resolved_at
        )
        select
            batch_id, exchange, market_type, symbol, timeframe, origin, row_number, 'opens_on_grid', record, 'dropped', now()
        from raw.quarantine where quarantine_id = %s
        """,
        row,
    )
    done = release(warehouse.connection, Selection([row]), {"high": "12", "opened_at": "2024-01-01T03:30"})
    assert done.still_bad == [(row, "opens_on_grid")]


def test_a_row_of_which_nothing_could_be_read_does_not_hold_up_the_others(warehouse: Warehouse, tmp_path: Path) -> None:
    load(warehouse, candles_file(tmp_path, h03=HIGH_BELOW, h04="2024-01-01T04:00:00Z,1"))
    done = release(warehouse.connection, Selection(is_everything=True), {"high": "12"})
    assert len(done.released) == 1
    assert [why for _, why in done.still_bad] == ["no symbol is known of it: correct the file and load it again"]


def test_a_dropped_row_is_kept_and_not_complained_of_again(warehouse: Warehouse, loaded: Path) -> None:
    assert titan("load", "file", str(loaded)).returncode == 3
    dropped = quarantine.drop(warehouse.connection, Selection(is_everything=True))
    assert len(dropped) == 2
    assert warehouse.query("select distinct resolution from raw.quarantine") == [("dropped",)]
    again = titan("load", "file", str(loaded))
    assert again.returncode == 0, again.stdout
    assert "2 bad but settled before" in again.stdout
    with pytest.raises(UsageError, match=f"no open row in quarantine has id {dropped[0]}"):
        release(warehouse.connection, Selection([dropped[0]]), {})


def test_a_selection_has_to_be_made(warehouse: Warehouse, loaded: Path) -> None:
    for command in (["release"], ["drop", "--yes"]):
        result = titan("quarantine", *command)
        assert (result.returncode, "which rows?" in result.stderr) == (2, True)


def test_the_commands(warehouse: Warehouse, loaded: Path) -> None:
    rows = json.loads(titan("quarantine", "list", "--json").stdout)
    assert [row["reason"] for row in rows] == ["price_is_a_number", "high_is_not_below_low"]
    lines = titan("quarantine", "list", "--reason", "high_is_not_below_low").stdout.splitlines()
    assert lines[0].split("\t")[0] == "quarantine_id"
    assert lines[1].endswith(HIGH_BELOW)
    row = rows[1]["quarantine_id"]
    assert "the high is below the low" in titan("quarantine", "show", str(row)).stdout
    assert titan("quarantine", "show", "999").returncode == 2
    still_bad = titan("quarantine", "release", str(row))
    assert (still_bad.returncode, f"row {row} is still bad: high_is_not_below_low" in still_bad.stdout) == (1, True)
    released = titan("quarantine", "release", str(row), "--set", "high=12", "--set", "close=9.5")
    assert (released.returncode, released.stdout.startswith("1 released")) == (0, True)
    assert titan("quarantine", "drop", "--all", "--yes").stdout == "1 dropped\n"
    assert "nothing in quarantine" in titan("quarantine", "list").stderr
    assert len(json.loads(titan("quarantine", "list", "--resolved", "--json").stdout)) == 2
