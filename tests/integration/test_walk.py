"""Walk-forward: chosen by what came before, judged by what came after, and what is approved on that ground."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy
import pytest

from ingest.deletion import delete
from tests.commands import titan
from tests.integration.test_evidence import BARS, START, SYMBOLS, days, market, revise, rows_of, run, verify  # noqa: F401
from tests.warehouse import Row, Warehouse, make_batch
from titan.core.errors import BusyError, UsageError
from titan.lab import approval, backtest
from titan.lab import walk_forward as walk
from titan.lab.pool import pool
from titan.lab.spec import RunSpec
from titan.lab.walk_forward import Fold, WalkPlan
from titan.ops import dbt

GRID = {"slow": [10, 20], "fast": [3, 6]}  # in an order that is not that of jsonb
PLAN = WalkPlan(folds=3, train=100, embargo=5)


def spec_of(wanted: dict[str, Any]) -> RunSpec:
    return RunSpec(**{"type": "sma_crossover", "timeframe": "1D", "grid": GRID, **wanted})


def begin(warehouse: Warehouse, plan: WalkPlan = PLAN, **wanted: Any) -> int:
    return walk.begin(warehouse.connection, spec_of(wanted), plan).walk_id


def walked(warehouse: Warehouse, plan: WalkPlan = PLAN, **wanted: Any) -> int:
    begun = walk.begin(warehouse.connection, spec_of(wanted), plan)
    return walk.go_on(warehouse.connection, begun.walk_id, programs=begun.programs).walk_id


def day(at: int) -> Any:
    return START + timedelta(days=at)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (WalkPlan(folds=3, train=100, embargo=5), [(None, 95, 100, 166), (None, 161, 166, 232), (None, 227, 232, 300)]),
        (
            WalkPlan("rolling", folds=2, train=100, test=50, embargo=0),
            [(None, 100, 100, 150), (50, 150, 150, 300)],
        ),
        (WalkPlan(folds=2), [(None, 97, 100, 200), (None, 197, 200, 300)]),
        (WalkPlan("rolling", folds=2, test=60), [(None, 177, 180, 240), (60, 237, 240, 300)]),
    ],
)
def test_folds_lie_one_after_the_other(plan: WalkPlan, expected: list[tuple[int | None, int, int, int]]) -> None:
    times = [day(at) for at in range(1, BARS + 1)]
    plan = walk.fitted(plan, BARS)
    row = {
        "folds": plan.folds, "scheme": plan.scheme, "train_bars": plan.train, "test_bars": plan.test,
        "embargo_bars": plan.embargo, "since": None,
    }  # fmt: skip
    assert walk.folds_of(row, times) == [
        Fold(number, None if begins is None else day(begins), day(chosen), day(tested), day(ends))
        for number, (begins, chosen, tested, ends) in enumerate(expected, start=1)
    ]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (WalkPlan(folds=4, train=100, test=60), "4 folds of 60 bars after 100 to choose by do not fit: there are 300 bars"),
        (WalkPlan(folds=1, train=400), "1 folds of 1 bars after 400 to choose by do not fit"),
        (WalkPlan(folds=400), "400 folds of 1 bars"),
        (WalkPlan(folds=3, train=50, embargo=49), "an embargo of 49 bars swallows the 50 bars that a fold chooses by"),
        (WalkPlan(folds=0), "one fold at least"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(plan: WalkPlan, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        walk.fitted(plan, BARS)


def test_every_fold_is_a_choice_and_a_run(market: Warehouse) -> None:  # noqa: F811
    """Each fold by runs of its own, and the stitched account and its metrics, computed again elsewhere."""
    walk_id = walked(market)
    folds = market.query(
        "select train_until, test_from, test_until, run_id, test_run_id, trial, params, in_sample, out_of_sample "
        "from lab.fold where walk_id = %s order by fold",
        walk_id,
    )
    assert len(folds) == 3
    stitched: list[float] = []
    left_open: list[int] = []  # what purging is there for
    for train_until, test_from, test_until, run_id, test_run_id, trial, params, in_sample, out_of_sample in folds:
        chosen = run(market, until=train_until, ends="purged")
        best = market.query(
            "select trial, sharpe from lab.portfolio_metric where run_id = %s order by sharpe desc, trial limit 1", chosen
        )
        assert best == [(trial, in_sample)]
        assert verify(market, run_id).is_same
        assert verify(market, test_run_id).is_same
        left_open.append(
            market.value("select count(*) from lab.trade where run_id = %s and is_open", run(market, until=train_until))
        )
        judged = run(
            market, grid={name: [value] for name, value in params.items()}, since=test_from, until=test_until, ends="closed"
        )
        assert market.value("select sharpe from lab.portfolio_metric where run_id = %s", judged) == out_of_sample
        equity = [
            value
            for (value,) in market.query(
                "select realistic_equity from lab.portfolio_equity where run_id = %s order by closed_at", judged
            )
        ]
        stitched.extend(numpy.diff([1.0, *equity]) / numpy.array([1.0, *equity[:-1]]))
        # Nothing is chosen by what was not over, and what is open at the end of a test is sold.
        assert market.value("select count(*) from lab.trade where run_id = any (%s) and is_open", [run_id, test_run_id]) == 0
        assert market.value("select max(exit_at) <= %s from lab.trade where run_id = %s", train_until, run_id)
        assert market.query("select distinct run_id from lab.trade where exit_reason = 'end' and run_id = %s", run_id) == []
        ends = market.query("select exit_at from lab.trade where exit_reason = 'end' and run_id = %s", test_run_id)
        assert {row[0] for row in ends} <= {test_until}
    tests = [fold[4] for fold in folds]
    assert min(left_open) > 0
    assert market.value("select count(*) from lab.trade where exit_reason = 'end' and run_id = any (%s)", tests) > 0
    returns = numpy.array(stitched)
    equity = numpy.cumprod(1 + returns)
    peaks = numpy.maximum(1, numpy.maximum.accumulate(equity))
    (metric,) = market.query(
        "select bars, total_return, sharpe, maximum_drawdown, trades from lab.walk_metric where walk_id = %s", walk_id
    )
    assert metric[0] == len(returns) == BARS - 100
    assert metric[1] == pytest.approx(equity[-1] - 1, rel=1e-9)
    assert metric[2] == pytest.approx(returns.mean() / returns.std(ddof=1) * numpy.sqrt(365), rel=1e-9)
    assert metric[3] == pytest.approx((equity / peaks - 1).min(), rel=1e-9)
    assert metric[4] == market.value("select count(*) from lab.trade where run_id = any (%s)", tests)
    assert {row["param"]: row["folds"] for row in walk.report(market.connection, walk_id)["stability"]} == {
        "fast": 3,
        "slow": 3,
    }


def test_a_walk_is_the_same_twice_and_after_an_interruption(
    market: Warehouse,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def bytes_of(walk_id: int) -> list[Any]:
        return [
            market.value("select result_hash from lab.walk_metric where walk_id = %s", walk_id),
            market.query("select to_jsonb(one) - 'walk_id' from lab.walk_metric as one where walk_id = %s", walk_id),
            market.query(
                "select to_jsonb(one) - 'walk_id' from lab.walk_equity as one where walk_id = %s order by closed_at", walk_id
            ),
            market.query(
                "select to_jsonb(one) - array['walk_id', 'run_id', 'test_run_id', 'finished_at'] from lab.fold as one "
                "where walk_id = %s order by fold",
                walk_id,
            ),
        ]

    plan = WalkPlan("rolling", folds=3, train=100, embargo=5, metric="total_return")
    first, second = walked(market, plan), walked(market, plan)
    assert bytes_of(first) == bytes_of(second)

    def interrupted(step: str) -> None:
        if step.startswith("fold 2 of 3: judging"):
            raise KeyboardInterrupt

    third = begin(market, plan)
    runs = market.value("select count(*) from lab.run")
    with pytest.raises(KeyboardInterrupt):
        walk.go_on(market.connection, third, interrupted)
    market.close()  # as a killed process would
    assert market.value("select count(*) from lab.fold where walk_id = %s", third) == 1
    assert market.value("select count(*) from lab.run") == runs + 2
    assert market.query("select tablename from pg_tables where tablename like 'work\\_%'") == []
    with closing(Warehouse()) as other:
        other.query("begin")
        other.query("select from lab.walk where walk_id = %s for no key update", third)
        with pytest.raises(BusyError, match="is being walked by another process"):
            walk.go_on(market.connection, third)
        other.query("rollback")  # the server may take a moment to notice that a session ended
    assert walk.go_on(market.connection, third).computed == 2
    assert bytes_of(third) == bytes_of(first)
    assert walk.go_on(market.connection, third).computed == 0

    # So would code that changed, also where it only judges.
    changed = dbt.parse()
    fills = changed.macros["macro.titan.fill_rules"]
    assert "select max(bar.closed_at) into ends_at" in fills.macro_sql
    fills.macro_sql = fills.macro_sql.replace("max(bar.closed_at) into ends_at", "min(bar.closed_at) into ends_at")
    begun = begin(market, plan)
    with monkeypatch.context() as patch:
        patch.setattr(dbt, "manifest", lambda project: changed)
        with pytest.raises(UsageError, match="is not what it was when it began"):
            walk.go_on(market.connection, begun)

    # Bars that changed meanwhile would make folds that do not belong together.
    fourth = begin(market, plan)
    revise(market, "AAA/USD", 10, 55)
    with pytest.raises(UsageError, match="have changed since it began"):
        walk.go_on(market.connection, fourth)


def assert_no_choice_sees_its_test(market: Warehouse) -> None:  # noqa: F811
    """Whatever the bars after the first choice are, the choice and what it was made by stay."""
    chosen = "select trial, in_sample from lab.fold where walk_id = %s and fold = 1"
    before = market.query(chosen, walked(market))
    changed = [(day_of, symbol, factor) for day_of, factor in ((97, 3), (130, 0.25)) for symbol in SYMBOLS]
    rows = [Row(day(at), rows_of(symbol)[at].close * factor, symbol) for at, symbol, factor in changed]
    market.load(make_batch(rows, timeframe="1D"))
    market.refresh()
    assert market.query(chosen, walked(market)) == before


def test_no_choice_sees_its_test(market: Warehouse) -> None:  # noqa: F811
    assert_no_choice_sees_its_test(market)


def test_a_planted_leak_in_choosing_is_caught(market: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    cut = walk.folds_of

    def leaking(row: Any, times: Any) -> list[Fold]:
        return [
            Fold(fold.fold, fold.train_from, fold.test_until, fold.test_from, fold.test_until) for fold in cut(row, times)
        ]

    monkeypatch.setattr(walk, "folds_of", leaking)
    with pytest.raises(AssertionError):
        assert_no_choice_sees_its_test(market)


def assert_no_mixture_is_pooled(market: Warehouse) -> None:  # noqa: F811
    """AAA/USD of two sources, coins that do not exist, a stock, and a series of one bar: each has to be meant."""
    for wanted, message in (
        ({}, r"synthetic spot BTC/USD is not real, other spot AAA/USD, test spot AAA/USD, test spot BBB/USD,"),
        ({"exchange": "test"}, r"different hours \(CRYPTO, EQUITY\)"),
        ({"symbols": SYMBOLS}, "AAA/USD is 2 instruments: other spot AAA/USD, test spot AAA/USD"),
        ({"symbols": ["AAA/USD", "NEW/USD"], "exchange": "test"}, "one bar of 1D lies in that range of test spot NEW/USD"),
        ({"market": "perpetual"}, "there are no bars of 1D of perpetual"),
    ):
        for attempt in (backtest.run, pool):
            with pytest.raises(UsageError, match=message):
                attempt(market.connection, spec_of(wanted))
    assert pool(market.connection, spec_of({"symbols": ["AAA/USD"], "exchange": "Other"}))[1] == []


def test_what_cannot_be_walked_is_said(market: Warehouse) -> None:  # noqa: F811
    for wanted, plan, message in (
        ({"grid": {}}, PLAN, "the grid is empty"),
        ({"grid": {"fast": [20], "slow": [10]}}, PLAN, "no combination of the grid makes sense"),
        ({"symbols": ["ZZZ/USD"]}, PLAN, "no bars of 1D of ZZZ/USD"),
        ({}, WalkPlan(folds=3, train=290, embargo=5, test=40), "do not fit: there are 300 bars"),
        ({}, WalkPlan(metric="volatility"), "'volatility' is nothing to choose by"),
        ({}, WalkPlan(scheme="random"), "there is no scheme 'random'"),
    ):
        with pytest.raises(UsageError, match=message):
            begin(market, plan, **wanted)
    assert market.value("select count(*) from lab.walk") == 0
    with pytest.raises(UsageError, match="there is no walk 7"):
        walk.go_on(market.connection, 7)
    stock = [Row(day(at) + timedelta(hours=5), 50, "STOCK") for at in range(3, 60) if day(at).weekday() < 5]
    market.load(make_batch(stock, timeframe="1D", session="EQUITY"))
    for exchange, symbol, last in (("other", "AAA/USD", 60), ("synthetic", "BTC/USD", 60), ("test", "NEW/USD", 1)):
        market.load(make_batch([Row(day(at), 50, symbol) for at in range(last)], timeframe="1D", exchange=exchange))
    market.refresh()
    assert_no_mixture_is_pooled(market)
    with pytest.raises(UsageError, match=r"keep different hours \(CRYPTO, EQUITY\)"):
        begin(market, symbols=[*SYMBOLS, "STOCK"])
    delete(market.connection, exchange="test", symbol="STOCK")
    market.refresh()
    plan = WalkPlan(folds=5, train=20, embargo=2)
    begun = walk.begin(market.connection, spec_of({"grid": {"fast": [50], "slow": [90]}, "exchange": "test"}), plan)
    assert begun.left_out == ["test spot NEW/USD"]
    idle = begun.walk_id
    with pytest.raises(UsageError, match="no trial has a sharpe to be chosen by"):
        walk.go_on(market.connection, idle)


def test_a_strategy_goes_from_draft_to_archive(market: Warehouse) -> None:  # noqa: F811
    """Decided by what it did out of sample, each step with who and why; the marts say what is live."""
    market.left_alone = []
    walk_id = walked(market)
    told = {"by": "me", "reason": "because"}
    with pytest.raises(UsageError, match="there is no walk 99"):
        approval.propose(market.connection, 99, "ours", **told)
    with pytest.raises(UsageError, match="is not over"):
        approval.propose(market.connection, begin(market), "ours", **told)
    with pytest.raises(UsageError, match="is no name for a strategy"):
        approval.propose(market.connection, walk_id, "Our's", **told)
    with pytest.raises(UsageError, match="needs a reason"):
        approval.propose(market.connection, walk_id, "ours", by="me", reason=" ")
    approval.propose(market.connection, walk_id, "ours", **told)
    with pytest.raises(UsageError, match="there is a strategy ours already"):
        approval.propose(market.connection, walk_id, "ours", **told)
    with pytest.raises(UsageError, match=r"ours is draft since .*, by me: it cannot become active"):
        approval.activate(market.connection, "ours", **told)

    market.query("update config.approval_threshold set least = 1000 where metric = 'sharpe'")
    market.query("update config.approval_threshold set least = -1000 where metric <> 'sharpe'")
    with pytest.raises(approval.NotApprovedError, match=r"ours is not approved: sharpe is .*, below 1000"):
        approval.approve(market.connection, "ours", **told)
    market.query("insert into config.approval_threshold values ('luck', 1)")
    with pytest.raises(UsageError, match="asks for luck, which is no metric"):
        approval.approve(market.connection, "ours", **told)
    market.query("delete from config.approval_threshold where metric = 'luck'")
    market.query("update config.approval_threshold set least = -1000")
    approval.approve(market.connection, "ours", **told)
    with pytest.raises(UsageError, match=r"ours is approved since .*, by me: it cannot become approved"):
        approval.approve(market.connection, "ours", **told)

    with pytest.raises(UsageError, match="it reads the feature sma_"):
        approval.activate(market.connection, "ours", **told)
    (params,) = market.query("select params from lab.strategy")[0]
    for period in params.values():
        market.query(
            "insert into config.indicator values (%s, 'sma', %s) on conflict do nothing",
            f"sma_{period}",
            json.dumps({"period": period}),
        )

    market.refresh()
    market.query("insert into config.signal values ('ours', 'rsi_mean_revert', '1D', '{\"period\": 14}')")
    with pytest.raises(UsageError, match="has a row ours with other parameters"):
        approval.activate(market.connection, "ours", **told)
    market.query("delete from config.signal where signal = 'ours'")
    assert approval.activate(market.connection, "ours", **told)
    # What was approved is live under whatever name, and nothing else is under its name.
    market.query("insert into config.signal select 'twin', type, timeframe, params from config.signal where signal = 'ours'")
    market.refresh()
    live = "select distinct signal from marts.{} where is_live order by 1"
    for mart in ("signal_feed", "strategy_leaderboard"):
        assert market.query(live.format(mart)) == [("ours",), ("twin",)], mart
    market.query("update config.signal set direction = 'both' where signal = 'ours'")
    market.build("--select", "dim_signal+")
    for mart in ("signal_feed", "strategy_leaderboard"):
        assert market.query(live.format(mart)) == [("twin",)], mart
    approval.archive(market.connection, "ours", by="you", reason="over")
    assert market.query("select 1 from marts.signal_feed where is_live") == []
    with pytest.raises(UsageError, match="ours is archived"):
        approval.activate(market.connection, "ours", **told)
    assert [
        (row["from_status"], row["to_status"], row["decided_by"], row["reason"])
        for row in approval.history(market.connection, "ours")
    ] == [
        (None, "draft", "me", "because"), ("draft", "approved", "me", "because"), ("approved", "active", "me", "because"),
        ("active", "archived", "you", "over"),
    ]  # fmt: skip


def test_the_commands_walk_and_approve(market: Warehouse, tmp_path: Path) -> None:  # noqa: F811
    done = titan(
        "backtest", "walk", "--type", "sma_crossover", "fast=3,6", "slow=10", "--folds", "2", "--train", "100", "--json"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (len(told["folds"]), told["out_of_sample"][0]["bars"]) == (2, 200)
    walk_id = str(told["walk_id"])
    picture = tmp_path / "walk.png"
    shown = titan("backtest", "walks", walk_id, "--plot", str(picture))
    assert shown.returncode == 0, shown.stderr
    folds, _, out_of_sample = (part.splitlines() for part in shown.stdout.split("\n\n"))
    assert folds[0].startswith("fold\ttest_from\t")
    assert out_of_sample[1].split("\t")[-1] == told["out_of_sample"][0]["result_hash"]  # whole
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert titan("backtest", "walks").stdout.splitlines()[1].startswith(f"{walk_id}\t")
    proposed = titan("strategy", "propose", walk_id, "--name", "ours", "--reason", "a try", "--by", "me")
    assert proposed.returncode == 0, proposed.stderr
    assert titan("strategy", "list").stdout.splitlines()[1].startswith("ours\tdraft")
    market.query("update config.approval_threshold set least = 1000")
    below = titan("strategy", "approve", "ours", "--reason", "x")
    assert below.returncode == 1
    assert "below 1000" in below.stderr
    for wrong in (
        ["backtest", "walk"],
        ["backtest", "walk", "--resume", walk_id, "fast=3"],
        ["backtest", "walk", "--resume", walk_id, "--folds", "4"],
        ["backtest", "run", "--type", "sma_crossover", "fast=3", "slow=10", "--execution", "stop_loss=0.1,0.2"],
        ["backtest", "run", "--type", "sma_crossover", "fast=3", "slow=10", "--symbols", ","],
        ["backtest", "walks", "--plot", "x.png"],
        ["strategy", "activate", "ours", "--reason", "x"],
        ["strategy", "archive", "nobody", "--reason", "x"],
        ["strategy", "approve", "ours"],
    ):
        refused = titan(*wrong)
        assert refused.returncode == 2, (wrong, refused.stderr)
        assert "Traceback" not in refused.stderr
