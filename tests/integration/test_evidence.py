"""Runs that are frozen and replayed, how many trials they are worth, and strategies from draft to archive."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from statistics import NormalDist
from typing import Any

import numpy
import psycopg
import pytest

from ingest.deletion import delete
from tests.commands import titan
from tests.warehouse import (
    DATABASE,
    FEATURES_ALONE,
    Row,
    Warehouse,
    create_database,
    instant,
    make_batch,
    use_database,
)
from titan.core.errors import UsageError
from titan.lab import backtest, evidence, queries
from titan.lab.spec import RunSpec
from titan.ops import dbt

START = instant("2021-01-01")
SYMBOLS = ["AAA/USD", "BBB/USD", "CCC/USD"]
BARS = 300
GRID = {"fast": [3, 6], "slow": [10, 20]}


def rows_of(symbol: str, first: int = 0, bars: int = BARS) -> list[Row]:
    """A random walk with waves: something to cross."""
    seed = SYMBOLS.index(symbol)
    steps = numpy.random.default_rng(seed).normal(0, 0.02, 2 * BARS) + 0.01 * numpy.sin(numpy.arange(2 * BARS) / 15 + seed)
    prices = 100 * numpy.exp(numpy.cumsum(steps))
    return [Row(START + timedelta(days=at), float(prices[at]), symbol) for at in range(first, first + bars)]


def load_days(warehouse: Warehouse, first: int = 0, bars: int = BARS) -> None:
    rows = [row for symbol in SYMBOLS for row in rows_of(symbol, first, bars)]
    warehouse.load(make_batch(rows, timeframe="1D"))
    warehouse.refresh()


@pytest.fixture(scope="module")
def days(manifest: Any) -> str:
    """The name of a template with days of three instruments."""
    name = f"{DATABASE}_days"
    use_database(DATABASE)
    create_database(DATABASE, f"{DATABASE}_template")
    with closing(Warehouse()) as warehouse:
        warehouse.left_alone = FEATURES_ALONE
        load_days(warehouse)
    create_database(name, DATABASE)
    return name


@pytest.fixture
def market(manifest: Any, days: str) -> Iterator[Warehouse]:
    """A warehouse of its own with those days."""
    use_database(DATABASE)
    create_database(DATABASE, days)
    with closing(Warehouse()) as warehouse:
        warehouse.left_alone = FEATURES_ALONE
        yield warehouse


def run(warehouse: Warehouse, **wanted: Any) -> int:
    asked = RunSpec(**{"type": "sma_crossover", "timeframe": "1D", "grid": GRID, **wanted})
    return backtest.run(warehouse.connection, asked).run_id


def verify(warehouse: Warehouse, run_id: int, mode: str = "strict") -> evidence.Verdict:
    return evidence.verify(warehouse.connection, run_id, mode)


def freeze(warehouse: Warehouse, run_id: int, trial: int | None = None) -> int:
    return evidence.freeze(warehouse.connection, run_id, trial, by="somebody", note="for the paper")


def revise(warehouse: Warehouse, symbol: str, day: int, close: float) -> None:
    warehouse.load(make_batch([Row(START + timedelta(days=day), close, symbol)], timeframe="1D"))
    warehouse.refresh()


# --- how many trials ------------------------------------------------------------------------------------------------------


def test_quantiles_and_sharpe_ratios_are_those_of_the_formulas(untouched: Warehouse) -> None:
    normal = NormalDist()
    for probability in (1e-6, 0.001, 0.02425, 0.3, 0.5, 0.77, 0.99, 1 - 1e-6):
        found = untouched.value("select backtest.normal_quantile(%s::float8)", probability)
        assert found == pytest.approx(normal.inv_cdf(probability), rel=1e-9, abs=1e-12)
    for deviation, trials in ((0.03, 2.0), (0.05, 7.3), (0.01, 100.0), (0.02, 5000.0)):
        expected = deviation * (
            (1 - 0.5772156649015329) * normal.inv_cdf(1 - 1 / trials)
            + 0.5772156649015329 * normal.inv_cdf(1 - 1 / (trials * math.e))
        )
        found = untouched.value("select backtest.expected_maximum_sharpe(%s::float8, %s::float8)", deviation, trials)
        assert found == pytest.approx(max(0, expected), rel=1e-9)
    assert untouched.value("select backtest.expected_maximum_sharpe(0.1, 1)") == 0


def test_deflated_sharpe_is_that_of_the_papers(untouched: Warehouse) -> None:
    """The worked examples of Bailey and López de Prado, to the places that they print."""

    def probability(sharpe: float, threshold: float, n: int, skewness: float, kurtosis: float) -> float:
        found: float = untouched.value(
            "select backtest.probabilistic_sharpe(%s::float8, %s::float8, %s::float8, %s::float8, %s::float8)",
            sharpe, threshold, n, skewness, kurtosis,
        )  # fmt: skip
        written_out = NormalDist().cdf(
            (sharpe - threshold) * math.sqrt(n - 1)
            / math.sqrt(1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2)
        )  # fmt: skip
        assert found == pytest.approx(written_out, rel=1e-9)
        return found

    def maximum(trials: int) -> float:
        found: float = untouched.value(
            "select backtest.expected_maximum_sharpe(%s::float8, %s::float8)", math.sqrt(1 / (2 * 250)), trials
        )
        return found

    # The Deflated Sharpe Ratio (2014): 2.5 a year over five years of days, 100 trials whose ratios have a variance of 1/2.
    assert maximum(100) == pytest.approx(0.1132, abs=5e-5)
    yearly = math.sqrt(250)
    assert probability(2.5 / yearly, maximum(100), 1250, -3, 10) == pytest.approx(0.9004, abs=5e-5)
    assert probability(2.5 / yearly, maximum(46), 1250, -3, 10) == pytest.approx(0.9505, abs=5e-5)
    assert probability(2.5 / yearly, maximum(88), 1250, 0, 3) == pytest.approx(0.9505, abs=5e-5)
    # The Sharpe Ratio Efficient Frontier (2012): a fund of 24 months.
    assert probability(0.458, 0, 24, -2.448, 10.164) == pytest.approx(0.913, abs=5e-4)
    assert probability(0.458, 0, 24, 0, 3) == pytest.approx(0.982, abs=5e-4)


def test_trials_are_counted_by_how_much_they_differ(market: Warehouse) -> None:
    """Every trial is kept, and what all are worth follows from the correlations of their portfolios, computed elsewhere."""
    run_id = run(market)
    assert market.value("select count(*) from lab.trial where run_id = %s", run_id) == 4
    in_all = "select trials_in_all from lab.tried where run_id = %s"
    assert [market.value(in_all, run(market)), market.value(in_all, run_id)] == [4, 4]  # the same again is nothing new
    returns, sharpes = [], []
    for (params,) in market.query("select params from lab.trial where run_id = %s order by trial", run_id):
        alone = run(market, grid={name: [value] for name, value in params.items()})
        equity = [
            value
            for (value,) in market.query(
                "select realistic_equity from lab.portfolio_equity where run_id = %s order by closed_at", alone
            )
        ]
        returns.append(numpy.diff([1.0, *equity]) / numpy.array([1.0, *equity[:-1]]))
        sharpes.append(returns[-1].mean() / returns[-1].std(ddof=1))
        assert market.query(
            "select sharpe, total_return, trades from lab.portfolio_metric where run_id = %s", alone
        ) == market.query(
            "select sharpe, total_return, trades from lab.portfolio_metric where run_id = %s and trial = %s",
            run_id,
            len(returns),
        )
    wider = run(market, grid={"fast": [3, 4], "slow": [10, 20]})
    assert market.value(in_all, wider) == 6
    assert queries.deflation(queries.tried(market.connection, wider)).endswith(
        "; 6 of sma_crossover on 1D were tried so far"
    )
    assert market.value(in_all, run(market, type="ema_crossover")) == 4
    pairs = numpy.corrcoef(returns)[numpy.triu_indices(4, 1)]
    correlation = float(pairs.mean())
    (told,) = market.query(
        "select mean_correlation, effective_trials, sharpe_deviation, expected_maximum_sharpe from lab.run "
        "where run_id = %s",
        run_id,
    )
    assert told[0] == pytest.approx(correlation, rel=1e-9)
    assert told[1] == pytest.approx(correlation + (1 - correlation) * 4, rel=1e-9)
    assert told[2] == pytest.approx(numpy.std(sharpes, ddof=1), rel=1e-9)
    best = int(numpy.argmax(sharpes))
    series = returns[best]
    shape = (series - series.mean()) / series.std()
    expected = NormalDist().cdf(
        (sharpes[best] - told[3]) * math.sqrt(BARS - 1)
        / math.sqrt(1 - (shape**3).mean() * sharpes[best] + ((shape**4).mean() - 1) / 4 * sharpes[best] ** 2)
    )  # fmt: skip
    assert market.value(
        "select deflated_sharpe from lab.portfolio_metric where run_id = %s and trial = %s", run_id, best + 1
    ) == pytest.approx(expected, rel=1e-9)


# --- freeze and verify ----------------------------------------------------------------------------------------------------


def test_a_frozen_run_names_what_a_revised_candle_changed(market: Warehouse) -> None:
    run_id = run(market)
    trial = freeze(market, run_id)
    assert verify(market, run_id).is_same
    runs = market.value("select count(*) from lab.run")

    # Neither later bars nor other costs are the run's.
    load_days(market, BARS, 20)
    market.query("update config.cost set fee_bps = 50")
    assert verify(market, run_id).is_same
    assert market.value("select count(*) from lab.run") == runs

    day = 150
    was = rows_of("BBB/USD")[day].close
    revise(market, "BBB/USD", day, was * 3)
    verdict = verify(market, run_id)
    assert not verdict.is_same
    assert verdict.is_same_code
    assert [(row["symbol"], row["what"]) for row in verdict.data] == [("test spot BBB/USD", "bars")]
    closed_at = START + timedelta(days=day + 1)
    assert {(row["symbol"], row["closed_at"], row["what"], row["was"], row["is"]) for row in verdict.bars} == {
        ("test spot BBB/USD", closed_at, "open", was, was * 3),
        ("test spot BBB/USD", closed_at, "close", was, was * 3),
        ("test spot BBB/USD", closed_at, "high", was * 1.01, was * 3 * 1.01),
        ("test spot BBB/USD", closed_at, "low", was * 0.99, was * 3 * 0.99),
    }
    assert verdict.trades
    assert verdict.events
    assert {row["symbol"] for row in verdict.events + verdict.trades} == {"test spot BBB/USD"}
    assert min(row["closed_at"] for row in verdict.events) >= closed_at
    assert {row["trial"] for row in verdict.events} == {trial}

    # What it did to the result is what a run over the revised bars gives.
    again = run(market, until=START + timedelta(days=BARS), costs={"fee_bps": 10})
    now = market.value("select total_return from lab.portfolio_metric where run_id = %s and trial = %s", again, trial)
    then = market.value("select total_return from lab.portfolio_metric where run_id = %s and trial = %s", run_id, trial)
    told = {(row["trial"], row["symbol"], row["metric"]): (row["was"], row["is"]) for row in verdict.metrics}
    assert told[trial, None, "total_return"] == (then, now)

    trusted = verify(market, run_id, "trust")
    assert (trusted.data, trusted.bars) == (verdict.data, verdict.bars)
    assert trusted.trades == trusted.metrics == []
    with pytest.raises(evidence.DifferenceError, match="does not come out as it did: 1 series with other hashes"):
        freeze(market, run_id, 1 + trial % 4)

    revise(market, "BBB/USD", day, was)
    assert verify(market, run_id).is_same
    assert market.query("select tablename from pg_tables where tablename like 'work\\_%'") == []


@pytest.mark.parametrize(
    ("before", "after", "is_same"),
    [
        (5.0, 5.0 * (1 + 0.9e-10), True),
        (5.0, 5.0 * (1 + 1.1e-10), False),
        (0.0, 0.9e-10, True),
        (-1e-10, 1e-10, False),
        (None, None, True),
        (None, 0.0, False),
    ],
)
def test_results_are_the_same_within_a_relative_tenth_of_a_billionth(
    before: float | None, after: float | None, is_same: bool
) -> None:
    assert evidence.is_close(before, after) == evidence.is_close(after, before) == is_same


def test_what_a_run_stood_on_begins_with_the_history_and_ends_with_its_last_bar(market: Warehouse) -> None:
    """A bar before the range feeds its features; the last one of it is the last that counts. Small changes count as well."""
    run_id = run(market, since=START + timedelta(days=100), until=START + timedelta(days=250))
    freeze(market, run_id)
    for day, is_seen in ((99, True), (200, True), (249, True), (250, False)):
        was = rows_of("CCC/USD")[day].close
        revise(market, "CCC/USD", day, was * (1 + 1e-7))
        verdict = verify(market, run_id)
        assert [(row["symbol"], row["what"]) for row in verdict.data] == [("test spot CCC/USD", "bars")] * is_seen, day
        assert (
            {row["closed_at"] for row in verdict.bars} == {START + timedelta(days=day + 1)} if is_seen else verdict.is_same
        )
        if day == 200:
            assert verdict.metrics
            assert all(row["is"] == pytest.approx(row["was"], rel=1e-4) for row in verdict.metrics)
        revise(market, "CCC/USD", day, was)
    assert verify(market, run_id).is_same


def test_another_code_is_noticed(market: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = run(market)
    changed = dbt.parse()
    macro = changed.macros["macro.titan.is_above"]
    macro.macro_sql = macro.macro_sql.replace("' > 1e-12", "' < 1e-12")
    monkeypatch.setattr(dbt, "manifest", lambda project: changed)
    verdict = verify(market, run_id)
    assert not verdict.is_same_code
    assert verdict.data == []
    assert verdict.trades


def test_shorts_on_finer_bars_are_replayed_and_later_delistings_are_not(market: Warehouse) -> None:
    """A history that ends within a bar of the signal, and a delisting that nobody knew of."""

    def hours(first: int, last: int) -> list[Row]:
        return [
            Row(START + timedelta(hours=at), 100 + 8 * math.sin(at / 9) + at % 3, "HOURS/USD") for at in range(first, last)
        ]

    market.load(make_batch(hours(0, 403)))
    market.refresh()
    finer: dict[str, Any] = {
        "timeframe": "4h",
        "direction": "both",
        "grid": {"fast": [2], "slow": [4]},
        "execution": {"execution_timeframe": "1h", "stop_loss": 0.02},
        "symbols": ["HOURS/USD"],
        "since": START + timedelta(days=2),
    }
    run_id = run(market, **finer)
    # Whoever sells at the end does so with the last bar of the signal: the three hours after it are of a bar to come.
    closed = run(market, **{**finer, "execution": {"execution_timeframe": "1h"}}, ends="closed")
    ends = "select exit_at, exit_reason, is_open from lab.trade where run_id = %s order by trade_number desc limit 1"
    assert market.query(ends, closed) == [(START + timedelta(hours=400), "end", False)]
    assert market.value("select max(closed_at) from lab.equity where run_id = %s", closed) == START + timedelta(hours=400)
    freeze(market, run_id)
    assert market.value("select count(*) from lab.trade where run_id = %s and direction = 'short'", run_id) > 2
    (metric,) = market.query("select total_return from lab.metric where run_id = %s and account = 'realistic'", run_id)
    last = "select realistic_equity - 1 from lab.equity where run_id = %s order by closed_at desc limit 1"
    assert metric == market.query(last, run_id)[0]
    market.load(make_batch(hours(403, 440)))
    market.query("insert into config.delisting values ('test', 'spot', 'HOURS/USD', %s)", START + timedelta(hours=420))
    market.refresh()
    assert verify(market, run_id).is_same
    delisted = run(
        market,
        timeframe="4h",
        direction="both",
        grid={"fast": [2], "slow": [4]},
        symbols=["HOURS/USD"],
    )
    assert market.value("select count(*) from lab.trade where run_id = %s and exit_reason = 'delisted'", delisted) == 1
    market.query("delete from config.delisting")
    assert verify(market, delisted).is_same
    with pytest.raises(UsageError, match="no bar of 1D lies in that range"):
        run(market, since=START + timedelta(days=5, hours=3), until=START + timedelta(days=6, hours=20))
    with pytest.raises(UsageError, match="no bar of 1h lies in that range"):
        run(market, execution={"execution_timeframe": "1h"}, symbols=["AAA/USD"])
    market.query("delete from config.cost")
    with pytest.raises(UsageError, match=r"config\.cost has no row that test spot AAA/USD"):
        run(market)


def test_what_cannot_be_verified_or_frozen_is_said(market: Warehouse) -> None:
    run_id = run(market, grid={"fast": [3], "slow": [10]})
    with pytest.raises(UsageError, match="there is no run 999"):
        verify(market, 999)
    with pytest.raises(UsageError, match="there is no mode 'lax'"):
        verify(market, run_id, "lax")
    with pytest.raises(UsageError, match="has no trial 7"):
        freeze(market, run_id, 7)
    freeze(market, run_id)
    with pytest.raises(UsageError, match="trial 1 of run 1 was frozen by somebody"):
        freeze(market, run_id)
    for table in (
        "data",
        "portfolio_metric",
        "frozen",
        "frozen_bar",
        "frozen_event",
        "walk",
        "fold",
        "strategy",
        "approval",
    ):
        with pytest.raises(psycopg.errors.RaiseException, match="is history"):
            market.query(f"delete from lab.{table}")
    delete(market.connection, exchange="test", symbol="CCC/USD")
    market.refresh()
    with pytest.raises(UsageError, match="went over bars of test spot CCC/USD 1D, and there are none any more"):
        verify(market, run_id)
    market.query(
        "insert into lab.run "
        "(seconds, type, timeframe, direction, grid, execution, costs, instruments, trials, bars, change_seq) "
        "values (1, 'sma_crossover', '1D', 'long', '{}', '{}', '[]', '{}', 1, 1, 0)"
    )
    with pytest.raises(UsageError, match="of before runs said what they stood on"):
        verify(market, market.value("select max(run_id) from lab.run"))


def test_the_commands_freeze_verify_and_compare(market: Warehouse) -> None:
    first, second = run(market), run(market, costs={"fee_bps": 40})
    frozen = titan("backtest", "freeze", str(first), "--trial", "2", "--note", "ours", "--by", "me", "--json")
    assert json.loads(frozen.stdout) == {"run_id": first, "trial": 2}, frozen.stderr
    assert titan("backtest", "verify", str(first)).stdout.splitlines()[0] == f"run {first}, strict: the same"
    board = titan("backtest", "leaderboard")
    assert board.stdout.splitlines()[0].startswith("run_id\ttrial\ttype")
    assert [line.split("\t")[:2] for line in board.stdout.splitlines()[1:]] == [[str(first), "2"]]
    everything = titan("backtest", "leaderboard", "--all").stdout.splitlines()[1:]
    bests = market.query("select run_id, trial from lab.leaderboard where is_best_of_run")
    assert {tuple(line.split("\t")[:2]) for line in everything} == {(str(first), "2")} | {(str(a), str(b)) for a, b in bests}
    compared = json.loads(titan("backtest", "compare", f"{first}:2", f"{second}:2", "--json").stdout)
    told = {row["what"]: row["same"] for row in compared}
    assert (told["params"], told["data_hash"], told["code_hash"], told["costs"], told["sharpe"]) == (
        "yes", "yes", "yes", "no", "no",
    )  # fmt: skip
    revise(market, "AAA/USD", 100, 1000)
    strict, warned = titan("backtest", "verify", str(first)), titan("backtest", "verify", str(first), "--mode", "warn")
    assert (strict.returncode, warned.returncode) == (1, 0)
    assert "bars that differ" in strict.stdout
    assert "2021-04-12 00:00" in strict.stdout
    for wrong in (
        ["verify", "999"],
        ["verify", str(first), "--mode", "x"],
        ["compare", "a", "1"],
        ["freeze", str(first), "--trial", "9"],
    ):
        refused = titan("backtest", *wrong)
        assert refused.returncode == 2, (wrong, refused.stderr)
        assert "Traceback" not in refused.stderr
