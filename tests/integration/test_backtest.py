"""Accounts and metrics of stored signals and of runs: against other backtesters, published cases, and each other."""

from __future__ import annotations

import json
import math
import statistics
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pandas
import pytest

from tests.commands import titan
from tests.warehouse import DATABASE, Row, Warehouse, instant, make_batch, separate_warehouse, use_database
from titan.core.database import connect
from titan.core.errors import BuildError, UsageError
from titan.lab import backtest, evidence, queries
from titan.lab.spec import RunSpec, parse_grid
from titan.ops.loads import load_files

CROSSOVERS = ["ema_crossover_9_21", "sma_crossover_50_200"]
SYMBOLS = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]


@pytest.fixture(scope="module")
def years(manifest: Any) -> Iterator[Warehouse]:
    """Years of real daily bars of three instruments, built."""
    shared = Path(__file__).resolve().parents[3] / "shared"
    if not shared.is_dir():
        pytest.skip("no ../shared with real market data here")
    warehouse = separate_warehouse("years")
    files = [shared / "data" / "daily" / f"binance_spot_{symbol.replace('/', '')}_1d.csv.gz" for symbol in SYMBOLS]
    from ingest.sources.files import FileOptions

    load_files(warehouse.connection, files, FileOptions())
    warehouse.query("update config.signal set direction = 'both' where signal = 'atr_breakout_20_14'")
    warehouse.query("update config.timeframe set compute_features = false where timeframe <> '1D'")
    warehouse.refresh()
    yield warehouse
    warehouse.close()


@pytest.fixture
def real(years: Warehouse) -> Iterator[Warehouse]:
    """The same, with the command line and dbt pointed at it."""
    use_database(f"{DATABASE}_years")
    yield years
    use_database(DATABASE)


def frame(warehouse: Warehouse, query: str, *parameters: Any) -> pandas.DataFrame:
    cursor = warehouse.connection.execute(query.encode(), parameters or None)
    return pandas.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description or ()])


def series_of(warehouse: Warehouse, signal: str, symbol: str) -> tuple[pandas.DataFrame, pandas.DataFrame, pandas.DataFrame]:
    """Bars with whether a signal to enter or leave is known before their open, trades, and equity."""
    where = "inner join bars.dim_instrument using (instrument_id) where symbol = %s and timeframe = '1D'"
    bars = frame(
        warehouse,
        f"select opened_at, closed_at, open, high, low, close, volume from bars.fct_bars {where} order by 1",
        symbol,
    ).set_index("opened_at")
    events = frame(warehouse, f"select known_at, action from signals.fct_signals {where} and signal = %s", symbol, signal)
    for action in ("entry", "exit"):
        bars[action] = bars.index.isin(events.loc[events.action == action, "known_at"])
    trades = frame(
        warehouse,
        f"select trade.* from backtest.fct_strategy_trade as trade {where} and signal = %s order by 1",
        symbol,
        signal,
    ).sort_values("trade_number")
    equity = frame(
        warehouse, f"select equity.* from backtest.fct_strategy_equity as equity {where} and signal = %s", symbol, signal
    ).sort_values("closed_at")
    return bars, trades, equity


@pytest.mark.parametrize("signal", CROSSOVERS)
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_vectorbt(real: Warehouse, signal: str, symbol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same trades, and equity to 1e-9, without and with costs of 10 and 5 hundredths of a per cent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # It takes ten times longer to be compiled than to be interpreted over some thousand bars.
        monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
        import vectorbt

    bars, trades, equity = series_of(real, signal, symbol)
    for account, fees, slippage in (("clean", 0.0, 0.0), ("realistic", 0.001, 0.0005)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            portfolio = vectorbt.Portfolio.from_signals(
                bars.close, bars.entry, bars.exit, price=bars.open, init_cash=100, fees=fees, slippage=slippage, freq="1D"
            )
            theirs = portfolio.trades.records_readable
            value = portfolio.value()
        assert len(theirs) == len(trades) > 2
        assert list(theirs["Entry Timestamp"]) == list(trades.entry_at)
        closed = ~trades.is_open.to_numpy()
        assert list(theirs["Exit Timestamp"][closed]) == list(trades.exit_at[closed])
        prefix = "" if account == "clean" else "realistic_"
        assert theirs["Avg Entry Price"].to_numpy() == pytest.approx(trades[f"{prefix}entry_price"].to_numpy(), rel=1e-12)
        assert theirs["Avg Exit Price"][closed].to_numpy() == pytest.approx(
            trades[f"{prefix}exit_price"][closed].to_numpy(), rel=1e-12
        )
        assert value.to_numpy() / 100 == pytest.approx(equity[f"{account}_equity"].to_numpy(), rel=1e-9)


@pytest.mark.parametrize("signal", CROSSOVERS)
def test_backtesting_py(real: Warehouse, signal: str) -> None:
    """The same trades, and equity to 1e-9. It trades whole units, so its account is so large that one does not matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from backtesting import Backtest, Strategy

    bars, trades, equity = series_of(real, signal, "ETH/USDT")
    data = bars.rename(columns=str.capitalize)
    data.index = data.index.tz_localize(None)
    # It acts on the close of a bar and fills at the next open; signals are placed by when they can be filled.
    data["Entry"], data["Exit"] = data.Entry.shift(-1, fill_value=False), data.Exit.shift(-1, fill_value=False)

    class Crossover(Strategy):  # type: ignore[misc]
        def init(self) -> None:
            pass

        def next(self) -> None:
            if self.data.Exit[-1] and self.position:
                self.position.close()
            if self.data.Entry[-1] and not self.position:
                self.buy()

    cash = 1e15
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Backtest(data, Crossover, cash=cash, commission=0, spread=0).run()
    theirs = found["_trades"]
    closed = trades[~trades.is_open]
    assert list(theirs.EntryTime)[: len(closed)] == [moment.replace(tzinfo=None) for moment in closed.entry_at]
    assert list(theirs.ExitTime)[: len(closed)] == [moment.replace(tzinfo=None) for moment in closed.exit_at]
    assert theirs.EntryPrice.to_numpy()[: len(closed)] == pytest.approx(closed.entry_price.to_numpy(), rel=1e-12)
    assert (found["_equity_curve"].Equity.to_numpy() / cash) == pytest.approx(equity.clean_equity.to_numpy(), rel=1e-9)


def test_metrics_are_the_published_ones(warehouse: Warehouse, shared: Path) -> None:
    """Sharpe, Sortino, drawdown, growth, volatility and Calmar of empyrical's own test cases, from returns alone."""
    published = json.loads((shared / "oracles" / "performance" / "empyrical_cases.json").read_text("utf-8"))
    warehouse.load(
        make_batch([Row(instant("2024-01-02T05:00"), 10, "STOCK")], timeframe="1D", exchange="test", session="EQUITY")
    )
    warehouse.refresh()
    timeframes = {"daily": "1D", "weekly": "1W_ISO", "monthly": "1MO"}
    names = {}
    for name, pair in published["series"].items():
        if name.startswith("df_"):
            continue
        values = pair["series"]
        for timeframe in timeframes.values():
            for at, value in enumerate(values):
                returned = None if value is None else float(value)
                warehouse.query(
                    "insert into backtest.portfolio_return values (%s, %s, %s, 1, %s, %s, %s, %s, 1)",
                    timeframe, instant("2024-01-01") + timedelta(days=at), name, *[returned] * 4,
                )  # fmt: skip
        names[name] = len(values)
    for at in (1, 2):  # two hours that would be a year of more than a number can hold
        warehouse.query(
            "insert into backtest.portfolio_return values ('1h', %s, 'steep', 1, 3, 3, 3, 3, 1)",
            instant("2024-01-01") + timedelta(hours=at),
        )
    assert warehouse.query(
        "select cagr, total_return from backtest.portfolio_metric where signal = 'steep' and account = 'clean'"
    ) == [(None, 15)]
    for at, returned in enumerate((0.5, -1.72, -1.72, 4), start=1):  # two debts are no gain
        warehouse.query(
            "insert into backtest.portfolio_return values ('1D', %s, 'ruined', 2, %s, %s, %s, %s, 1)",
            instant("2024-01-01") + timedelta(days=at), *[returned] * 4,
        )  # fmt: skip
    ((returns, equities),) = warehouse.query(
        "select array_agg(clean_return order by closed_at), array_agg(clean_equity order by closed_at) "
        "from backtest.fct_portfolio_equity where signal = 'ruined'"
    )
    assert returns == [0.5, -1.72, 0, 0]
    assert equities == [1.5, *[pytest.approx(-1.08)] * 3]
    assert warehouse.query(
        "select bars, total_return, cagr, maximum_drawdown, is_ruined from backtest.portfolio_metric "
        "where signal = 'ruined' and account = 'clean'"
    ) == [(4, pytest.approx(-2.08), -1, pytest.approx(-1.72), True)]
    metrics = {
        (row["signal"], row["timeframe"]): row
        for row in frame(warehouse, "select * from backtest.portfolio_metric where account = 'clean'").to_dict("records")
    }
    columns = {
        "test_sharpe_ratio": "sharpe",
        "test_sortino": "sortino",
        "test_max_drawdown": "maximum_drawdown",
        "test_cagr": "cagr",
        "test_annual_ret": "cagr",
        "test_annual_volatility": "volatility",
        "test_calmar": "calmar",
        "test_cum_returns_final": "total_return",
    }
    compared = dict.fromkeys(columns, 0)
    for case in published["cases"]:
        arguments = case["args"]
        series = arguments.get("returns")
        if case["test"] not in columns or not isinstance(series, dict) or not names.get(series.get("ref")):
            continue
        if any(arguments.get(name, 0) != 0 for name in ("risk_free", "required_return", "starting_value")):
            continue  # rates other than zero, and accounts that begin with something else, are not ours
        row = metrics[series["ref"], timeframes[arguments.get("period", "daily")]]
        value, expected = row[columns[case["test"]]], arguments["expected"]
        if expected in ("inf", "-inf") or expected is None:
            assert value is None or math.isnan(value), (case, value)
        else:
            # Cumulated returns are published to four or five places.
            places = 1e-5 if case["test"] == "test_cum_returns_final" else 1e-12
            assert value == pytest.approx(expected, rel=1e-9, abs=places), case
        compared[case["test"]] += 1
    assert min(compared.values()) > 0, compared
    assert sum(compared.values()) > 20, compared


def test_the_shape_of_returns_tells_how_sure_a_sharpe_ratio_is(real: Warehouse) -> None:
    """Skewness, kurtosis and the probabilistic Sharpe ratio by their formulas, on real accounts."""
    for signal in ("ema_crossover_9_21", "macd_bollinger_20_2"):
        _, _, equity = series_of(real, signal, "BTC/USDT")
        row = frame(
            real,
            "select metric.* from backtest.instrument_metric as metric inner join bars.dim_instrument using (instrument_id) "
            "where symbol = 'BTC/USDT' and signal = %s and account = 'realistic'",
            signal,
        ).iloc[0]
        returns = equity.realistic_return.astype(float).tolist()
        mean, deviation = statistics.fmean(returns), statistics.pstdev(returns)
        skewness = statistics.fmean(((value - mean) / deviation) ** 3 for value in returns)
        kurtosis = statistics.fmean(((value - mean) / deviation) ** 4 for value in returns)
        sharpe = mean / statistics.stdev(returns)
        score = sharpe * math.sqrt(len(returns) - 1) / math.sqrt(1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2)
        assert row["skewness"] == pytest.approx(skewness, rel=1e-9)
        assert row["kurtosis"] == pytest.approx(kurtosis, rel=1e-9)
        assert row["probabilistic_sharpe"] == pytest.approx(statistics.NormalDist().cdf(score), rel=1e-9)
        assert row["sharpe"] == pytest.approx(sharpe * math.sqrt(365), rel=1e-9)


def test_the_normal_distribution(untouched: Warehouse) -> None:
    for at in (-9, -5, -1.644853626951, 0, 0.5, 1.3617, 3, 7.5):
        value = untouched.value("select backtest.normal_cdf(%s::float8)", at)
        assert value == pytest.approx(statistics.NormalDist().cdf(at), rel=1e-9, abs=1e-15)


def test_stored_signals_and_runs_agree_to_the_bit(real: Warehouse) -> None:
    """A run computes its features itself and sums up without storing equity: the metrics are those of the models."""
    assert_runs_are_what_is_stored(
        real, "ema_crossover_9_21", "macd_bollinger_20_2", "rsi_mean_revert_14", "atr_breakout_20_14", "ema_rsi_9_21_14"
    )


def assert_runs_are_what_is_stored(real: Warehouse, *signals: str) -> None:
    instruments = real.value("select count(distinct instrument_id) from backtest.fct_strategy_equity")
    for signal in signals:
        stored = queries.stored_signal(real.connection, signal)
        ran = backtest.run(
            real.connection,
            RunSpec(
                stored["type"], stored["timeframe"], {name: [value] for name, value in stored["params"].items()},
                stored["direction"], stored["execution"],
            )
        )  # fmt: skip
        columns = (
            "instrument_id, account, bars, exposure, total_return, cagr, volatility, sharpe, sortino, calmar, "
            "maximum_drawdown, skewness, kurtosis, probabilistic_sharpe, trades, win_rate, profit_factor"
        )
        found = real.query(f"select {columns} from lab.metric where run_id = %s order by 1, 2", ran.run_id)
        expected = real.query(
            f"select {columns} from backtest.fct_strategy_metric where signal = %s and scope = 'instrument' "
            "and account in ('clean', 'realistic') order by 1, 2",
            signal,
        )
        assert len(found) == 2 * instruments
        assert [tuple(map(repr, row)) for row in found] == [tuple(map(repr, row)) for row in expected]
        trades = "instrument_id, trade_number, entry_at, exit_at, exit_reason, clean_profit, realistic_profit"
        assert real.query(f"select {trades} from lab.trade where run_id = %s order by 1, 2", ran.run_id) == real.query(
            f"select {trades} from backtest.fct_strategy_trade where signal = %s order by 1, 2", signal
        )
        assert real.value("select params_hash from lab.trial where run_id = %s", ran.run_id) == real.value(
            "select params_hash from signals.dim_signal where signal = %s", signal
        )
        together = ", ".join(
            name for name in evidence.METRICS if name not in ("deflated_sharpe", "trades", "win_rate", "profit_factor")
        )
        assert real.query(f"select bars, {together} from lab.portfolio_metric where run_id = %s", ran.run_id) == real.query(
            f"select bars, {together} from backtest.portfolio_metric where signal = %s and account = 'realistic'", signal
        )
        equity = "select count(*), sum(realistic_equity order by instrument_id, closed_at) from"
        assert real.query(f"{equity} lab.equity where run_id = %s", ran.run_id) == real.query(
            f"{equity} backtest.fct_strategy_equity where signal = %s", signal
        )


@pytest.fixture(scope="module")
def ruin(manifest: Any) -> Iterator[Warehouse]:
    """Days on which shorts are ruined by a gap, a long by a close of zero, and means of whole ticks meet; built."""
    warehouse = separate_warehouse("ruin")
    start = instant("2024-01-01")

    def days(symbol: str, closes: list[float]) -> list[Row]:
        return [Row(start + timedelta(days=at), close, symbol) for at, close in enumerate(closes)]

    up = [*(9 - at / 20 for at in range(25)), *(7.8 + at / 20 for at in range(40))]
    down = [9.7 - at / 20 for at in range(1, 26)]
    after = [9 + math.sin(at / 4) for at in range(60)]
    crashed = [*up, 9.8, 0, *after]
    warehouse.load(
        make_batch(
            [
                *days("GAP/USD", [*up, *down, 40, *after]),
                *days("LATE/USD", [*up, *down, 8.4, 8.3, 40, *after]),
                *days("NIL/USD", crashed),
                *days("CALM/USD", [10 + math.sin(at / 9) for at in range(len(crashed))]),
                *days("TIES/USD", [price / 1000 for price in tied_prices()]),
            ],
            timeframe="1D",
        )
    )
    warehouse.query(
        "insert into config.signal values ('both', 'ema_crossover', '1D', '{\"fast\": 9, \"slow\": 21}', 'both'), "
        "('ties', 'sma_crossover', '1D', '{\"fast\": 5, \"slow\": 60}', 'both')"
    )
    for period in (5, 60):
        warehouse.query(
            "insert into config.indicator values (%s, 'sma', %s)", f"sma_{period}", json.dumps({"period": period})
        )
    warehouse.refresh()
    yield warehouse
    warehouse.close()


@pytest.fixture
def ruined(ruin: Warehouse) -> Iterator[Warehouse]:
    """The same, with the command line and dbt pointed at it."""
    use_database(f"{DATABASE}_ruin")
    yield ruin
    use_database(DATABASE)


def test_a_close_of_zero_costs_everything_once(ruined: Warehouse) -> None:
    """-100 % on the bar, nothing after; in the portfolio the part that was in it."""
    accounts = ("clean", "realistic", "hold", "realistic_hold")
    for account in accounts:
        returns = f"select min({account}_return), max({account}_return), count(*) filter (where {account}_return = -1) from"
        (found,) = ruined.query(
            f"{returns} backtest.fct_strategy_equity inner join bars.dim_instrument using (instrument_id) "
            "where symbol = 'NIL/USD' and signal = 'both'"
        )
        assert found[0] == -1
        assert found[1] < 0.1
        assert found[2] == 1
    rows = ruined.query(
        "select symbol, reason, price from backtest.fill inner join bars.dim_instrument using (instrument_id) "
        "where reason in ('worthless', 'liquidation') and signal = 'both' order by symbol"
    )
    assert rows == [("GAP/USD", "liquidation", 40), ("LATE/USD", "liquidation", 40), ("NIL/USD", "worthless", 0)]
    assert (
        ruined.value("select max(trades) from marts.strategy_leaderboard where symbol = 'NIL/USD' and signal = 'both'") == 1
    )


def test_a_run_is_what_is_stored_where_accounts_are_ruined(ruined: Warehouse) -> None:
    assert_runs_are_what_is_stored(ruined, "both", "ties")


def tied_prices() -> list[int]:
    """Closes in thousandths that wander about 1.767; on day 769 the means of 5 and of 60 of them are both that."""
    random = Random(60)
    prices, level = [], 1767
    for _ in range(1_000):
        level += random.choice((-2, -1, 0, 1, 2)) + (level < 1750) - (level > 1784)
        prices.append(level)
    prices[765:770] = [1765, 1767, 1766, 1768, 1769]
    surplus = sum(prices[710:765]) - 55 * 1767
    for at in range(abs(surplus)):
        prices[710 + at % 55] -= 1 if surplus > 0 else -1
    return prices


def crossings(prices: list[int], fast: int, slow: int) -> tuple[list[int], list[int], list[int]]:
    """On which days the fast mean comes to stand above the slow one, below it, and level with it, in whole numbers."""
    sides = {}
    for at in range(slow - 1, len(prices)):
        lead = sum(prices[at - fast + 1 : at + 1]) * slow - sum(prices[at - slow + 1 : at + 1]) * fast
        sides[at] = (lead > 0) - (lead < 0)
    above, below = ([at for at in sides if at - 1 in sides and sides[at] == side != sides[at - 1]] for side in (1, -1))
    return above, below, [at for at, side in sides.items() if side == 0]


def exact_trades(prices: list[int], fast: int, slow: int) -> list[tuple[int, int | None]]:
    """Long from one crossing to the next, filled a day later: days of entry and of exit, None while it is open."""
    above, below, _ = crossings(prices, fast, slow)
    trades: list[tuple[int, int | None]] = []
    for at in sorted(above + below):
        is_in = bool(trades) and trades[-1][1] is None
        if at + 1 < len(prices) and is_in == (at in below):
            if is_in:
                trades[-1] = (trades[-1][0], at + 1)
            else:
                trades.append((at + 1, None))
    return trades


def test_means_that_are_equal_stand_level(ruined: Warehouse) -> None:
    """Every crossing of a grid, and of the stored signal, is that of whole numbers: rounding decides none."""
    prices, start = tied_prices(), instant("2024-01-01")
    assert sum(prices[765:770]) * 12 == sum(prices[710:770]) == 60 * 1767
    grid = {"fast": [2, 3, 5, 8, 10, 15, 20, 25], "slow": [30, 40, 50, 60, 100]}
    ran = backtest.run(
        ruined.connection,
        RunSpec("sma_crossover", "1D", grid, symbols=["TIES/USD"]),  # type: ignore[arg-type]
    )
    found: dict[tuple[int, int], list[tuple[int, int | None]]] = {}
    for fast, slow, entry_at, exit_at in ruined.query(
        "select (params ->> 'fast')::integer, (params ->> 'slow')::integer, entry_at, exit_at "
        "from lab.trade inner join lab.trial using (run_id, trial) where run_id = %s order by trial, entry_at",
        ran.run_id,
    ):
        days = (entry_at - start).days, (exit_at - start).days if exit_at else None
        found.setdefault((fast, slow), []).append(days)
    ties = 0
    for fast in grid["fast"]:
        for slow in grid["slow"]:
            assert found[fast, slow] == exact_trades(prices, fast, slow), (fast, slow)
            ties += len(crossings(prices, fast, slow)[2])
    assert ties > 50
    stored = ruined.query(
        "select closed_at, direction from signals.fct_signals inner join bars.dim_instrument using (instrument_id) "
        "where signal = 'ties' and symbol = 'TIES/USD' and action = 'entry' order by 1"
    )
    above, below, level = crossings(prices, 5, 60)
    assert 769 in level
    assert [((moment - start).days - 1, way) for moment, way in stored] == sorted(
        [*((at, "long") for at in above), *((at, "short") for at in below)]
    )


def test_two_debts_are_no_gain(ruined: Warehouse) -> None:
    """A portfolio of two shorts that gaps ruin has ended with the first, in a run as in the view of it, and says so."""
    ran = backtest.run(
        ruined.connection,
        RunSpec(
            "ema_crossover", "1D", {"fast": [9], "slow": [21]}, "both", symbols=["GAP/USD", "LATE/USD"],
            since=instant("2024-03-01"),
        )
    )  # fmt: skip
    (portfolio,) = ruined.query(
        "select total_return, maximum_drawdown, is_ruined from lab.portfolio_metric where run_id = %s", ran.run_id
    )
    equity = [
        value
        for (value,) in ruined.query(
            "select realistic_equity from lab.portfolio_equity where run_id = %s order by closed_at", ran.run_id
        )
    ]
    ended = next(at for at, value in enumerate(equity) if value <= 0)
    assert equity[ended:] == [equity[ended]] * (len(equity) - ended)
    assert equity[ended] < -0.5
    assert ended < len(equity) - 50
    assert portfolio == (equity[-1] - 1, pytest.approx(equity[-1] / max(equity) - 1), True)
    flagged = ruined.query(
        "select distinct symbol, is_ruined from marts.strategy_leaderboard "
        "where signal = 'both' and scope = 'instrument' and symbol <> 'TIES/USD' order by symbol"
    )
    assert flagged == [("CALM/USD", False), ("GAP/USD", True), ("LATE/USD", True), ("NIL/USD", True)]


def test_folds_after_a_ruin_do_not_compound_it(untouched: Warehouse) -> None:
    """A walk that is ruined in one fold has ended, whatever its next fold begins with."""
    connection = untouched.connection
    with connection.transaction(force_rollback=True):
        references = connection.execute(
            "select conrelid::regclass::text, conname from pg_constraint "
            "where contype = 'f' and conrelid in ('lab.fold'::regclass, 'lab.equity'::regclass)"
        ).fetchall()
        for table, name in references:  # without the runs that rows of lab refer to
            connection.execute(f"alter table {table} drop constraint {name}".encode())
        for fold, values in ((1, [1.5, -0.5]), (2, [-2, -2])):
            connection.execute(
                """
                insert into lab.fold (
                    walk_id, fold, train_from, train_until, test_from, test_until, run_id, test_run_id, trial, params,
                    params_hash, in_sample, out_of_sample
                )
                select 1, %s, null, now(), now(), now(), %s, %s, 1, '{}', '', 1, 1
                """,
                (fold, fold, fold),
            )
            for at, value in enumerate(values):
                connection.execute(
                    """
                    insert into lab.equity (
                        run_id, trial, instrument_id, closed_at, clean_equity, realistic_equity, realistic_hold_equity
                    )
                    values (%s, 1, 1, %s, %s, %s, 1)
                    """,
                    (fold, instant("2024-01-01") + timedelta(days=2 * fold + at), value, value),
                )
        rows = connection.execute(
            "select realistic_return, realistic_equity, realistic_drawdown from lab.walk_equity order by closed_at"
        ).fetchall()
    assert [row[0] for row in rows] == [0.5, pytest.approx(-4 / 3), 0, 0]
    assert [row[1] for row in rows] == [1.5, *[pytest.approx(-0.5)] * 3]
    assert rows[-1][2] == pytest.approx(-4 / 3)


def test_no_bar_is_compared_with_every_fill(real: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A join of bars to an account's states by a range of time takes with ten times the bars a hundred times as long."""
    monkeypatch.setenv(
        "PGOPTIONS",
        "-c session_preload_libraries=auto_explain -c auto_explain.log_format=json -c auto_explain.log_level=warning "
        "-c auto_explain.log_min_duration=0 -c auto_explain.log_nested_statements=on -c auto_explain.log_analyze=on "
        "-c auto_explain.log_timing=off -c max_parallel_workers_per_gather=0 "
        "-c random_page_cost=100",  # looking up seems dear, as it does in a long history: what may be compared, is
    )
    notices: list[str] = []
    with connect() as connection:
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        ran = backtest.run(connection, RunSpec("sma_crossover", "1D", {"fast": [2], "slow": [3]}))
    plans = [json.loads(notice.partition("plan:")[2], strict=False)["Plan"] for notice in notices]
    nodes = [node for plan in plans for node in nodes_of(plan)]
    compared = sum(node.get("Rows Removed by Join Filter", 0) * node["Actual Loops"] for node in nodes)
    assert sum(node["Node Type"] == "WindowAgg" for node in nodes) > 2 * ran.instruments
    assert real.value("select count(*) from lab.trade where run_id = %s", ran.run_id) > ran.bars / 10
    assert compared < 10 * ran.bars


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of a plan."""
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes_of(part)


def test_a_run_over_a_part_of_the_history_begins_there(real: Warehouse) -> None:
    """With features that have their whole history, an account of its own, and nothing signalled before."""
    since, until = instant("2021-01-01"), instant("2022-01-01")
    ran = backtest.run(
        real.connection,
        RunSpec(
            "ema_crossover",
            "1D",
            {"fast": [9], "slow": [21]},
            symbols=["BTC/USDT"],
            since=since,
            until=until,
            costs={"fee_bps": 25},
        ),
    )
    assert real.value("select costs from lab.run where run_id = %s", ran.run_id) == [
        {"exchange": "*", "market_type": "*", "fee_bps": 25, "slippage_bps": 5, "borrow_bps_per_day": 2}
    ]
    assert (ran.bars, ran.instruments, ran.trials) == (365, 1, 1)
    ours = real.query(
        "select entry_at, exit_at, clean_return from lab.trade where run_id = %s order by entry_at", ran.run_id
    )
    stored = real.query(
        "select entry_at, exit_at, clean_return from backtest.fct_strategy_trade inner join bars.dim_instrument "
        "using (instrument_id) where signal = 'ema_crossover_9_21' and symbol = 'BTC/USDT' and entry_known_at >= %s "
        "and exit_known_at < %s order by entry_at",
        since,
        until,
    )
    assert len(stored) > 3
    assert [row for row in ours if row in stored] == stored


def test_a_grid_leaves_out_what_makes_no_sense(real: Warehouse) -> None:
    ran = backtest.run(real.connection, RunSpec("sma_crossover", "1D", {"fast": [10, 50], "slow": [20, 60]}))
    assert ran.trials == 3
    ((reason, left_out),) = ran.refused.items()
    assert "slow" in reason
    assert left_out == [{"fast": 50, "slow": 20}]
    assert real.query("select trial, params from lab.trial where run_id = %s order by 1", ran.run_id) == [
        (1, {"fast": 10, "slow": 20}),
        (2, {"fast": 10, "slow": 60}),
        (4, {"fast": 50, "slow": 60}),
    ]
    assert len(queries.leaders(real.connection, ran.run_id, 10)) == 3
    # Nothing is left of what it worked with.
    assert real.query("select relname from pg_class where relname like 'work\\_%'") == []
    with pytest.raises(Exception, match="is history"):
        real.query("delete from lab.trial")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"grid": {"fast": [50], "slow": [20]}}, "no combination of the grid makes sense: parameter 'slow' is 20"),
        ({"grid": {"fast": [5]}}, "parameter 'slow' is missing"),
        ({"grid": {"fast": [5], "slow": [9], "fats": [1]}}, "no parameter 'fats'; it takes fast, slow"),
        ({"type": "crossover"}, "there is no type 'crossover'; there are atr_breakout, ema_crossover"),
        ({"since": instant("2030-01-01")}, "no bar lies in that range; there are bars from 2017-08-17"),
        ({"until": instant("2010-01-01")}, "no bar lies in that range"),
        ({"since": instant("2022-01-01"), "until": instant("2021-01-01")}, "--since has to lie before --until"),
        ({"symbols": ["BTC/USDT", "NO/SUCH"]}, "no bars of 1D of NO/SUCH"),
        ({"timeframe": "25h"}, "no bars of 25h of any instrument"),
        ({"costs": {"fee_bps": -1}}, "fee_bps is -1; it has to be at least 0"),
        ({"execution": {"stop_loss": 2}}, "'stop_loss' is 2, outside"),
        ({"execution": {"execution_timeframe": "1MO"}}, "execution_timeframe 1MO is longer than 1D"),
        (
            {"grid": {"fast": ["9"], "slow": [21]}},
            'ema_crossover {"fast": "9", "slow": 21}: parameter \'fast\' is "9", not a number',
        ),
        ({"execution": {"pyramiding": 0}}, "no combination of the grid makes sense: parameter 'pyramiding' is 0, outside 1"),
        ({"execution": {"pyramiding": "two"}}, "parameter 'pyramiding' is \"two\", not a number"),
        ({"execution": {"stop": 0.1}}, "execution has no 'stop'; it takes pyramiding"),
        ({"execution": {"pyramiding": 2, "fraction": 0.8}}, "is more than the account"),
        ({"grid": {"fast": list(range(2, 202)), "slow": list(range(2, 202))}}, "40,000 combinations; a run has 10,000"),
    ],
)
def test_what_cannot_be_run_is_said(real: Warehouse, wanted: dict[str, Any], message: str) -> None:
    whole: dict[str, Any] = {"type": "ema_crossover", "timeframe": "1D", "grid": {"fast": [9], "slow": [21]}, **wanted}
    with pytest.raises((UsageError, BuildError)) as refused:
        backtest.run(real.connection, RunSpec(**whole))
    assert message in str(refused.value)
    assert isinstance(refused.value, UsageError)
    assert real.query("select relname from pg_class where relname like 'work\\_%'") == []


def test_grids_are_read() -> None:
    assert parse_grid(["fast=5..20:5", "slow=50", "k=1,1.5,2..3:0.5"]) == {
        "fast": [5, 10, 15, 20],
        "slow": [50],
        "k": [1, 1.5, 2, 2.5, 3],
    }
    for wrong in ("fast", "fast=", "=5", "fast=x", "fast=5..1", "fast=1..5:0", "fast=nan", "fast=1..1000000", "Fast=1"):
        with pytest.raises(UsageError, match=r"fast|=5|Fast"):
            parse_grid([wrong])


def test_the_command_runs_shows_and_draws(real: Warehouse, tmp_path: Path) -> None:
    done = titan("backtest", "run", "--type", "sma_crossover", "fast=10,20", "slow=50", "--symbols", "BTC/USDT", "--json")
    assert done.returncode == 0, done.stderr
    ran = json.loads(done.stdout)
    assert (ran["trials"], ran["instruments"], len(ran["best"])) == (2, 1, 2)
    assert 1 <= ran["effective_trials"] <= ran["trials"] <= ran["trials_in_all"]
    picture = tmp_path / "equity.png"
    shown = titan("backtest", "show", str(ran["run_id"]), "--plot", str(picture))
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("trial\tparams\tsharpe")
    assert f"run {ran['run_id']}: 2 trials over binance spot BTC/USDT, worth" in shown.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert titan("backtest", "show").stdout.splitlines()[1].split("\t")[0] == str(ran["run_id"])
    assert (
        titan("backtest", "show", str(ran["run_id"]), "--trial", "1")
        .stdout.splitlines()[1]
        .startswith("binance\tspot\tBTC/USDT\t")
    )
    for wrong in (
        ["backtest", "run", "fast=1"],
        ["backtest", "run", "--signal", "none"],
        ["backtest", "show", "99999"],
        ["backtest", "show", "--plot", "x.png"],
        ["backtest", "show", str(ran["run_id"]), "--plot", str(tmp_path / "no" / "x.png")],
    ):
        refused = titan(*wrong)
        assert refused.returncode == 2, (wrong, refused.stderr)
        assert "Traceback" not in refused.stderr


WRONG = {
    "a type that there is not": (
        "rows", {}, {},
        "there is no type 'rows'; "
        "there are atr_breakout, ema_crossover, ema_rsi, macd_bollinger, rsi_mean_revert, sma_crossover.",
    ),
    "fast not below slow": ("ema_crossover", {"fast": 21, "slow": 9}, {}, "parameter 'slow' is 9, outside 22"),
    "an indicator that is not there": (
        "ema_crossover", {"fast": 9, "slow": 22}, {},
        "reads the feature ema_22, which no enabled row of config.indicator makes; "
        "it would be ('ema_22', 'ema', '{\"period\": 22}')",
    ),
    "text for a number": ("ema_crossover", {"fast": "9", "slow": 21}, {}, "parameter 'fast' is \"9\", not a number"),
    "a stop beyond the price": ("ema_crossover", {"fast": 9, "slow": 21}, {"stop_loss": 1.5}, "'stop_loss' is 1.5, outside"),
    "bars that are longer": (
        "ema_crossover", {"fast": 9, "slow": 21}, {"execution_timeframe": "1W_ISO"},
        "execution_timeframe 1W_ISO is longer than 1D",
    ),
    "bars that there are not": (
        "ema_crossover", {"fast": 9, "slow": 21}, {"execution_timeframe": "9m"}, "there is no execution_timeframe '9m'",
    ),
    "a rule that there is not": ("ema_crossover", {"fast": 9, "slow": 21}, {"leverage": 3}, "execution has no 'leverage'"),
}  # fmt: skip


def test_a_wrong_row_of_configuration_is_named(warehouse: Warehouse) -> None:
    """The row and the reason; what stands is left as it is, and a correction goes on."""
    for signal_type, params, execution, message in WRONG.values():
        warehouse.query(
            "insert into config.signal (signal, type, timeframe, params, execution) values ('wrong', %s, '1D', %s, %s)",
            signal_type,
            json.dumps(params),
            json.dumps(execution),
        )
        result = warehouse.run("--select", "dim_signal", "fct_signals")
        (failed,) = result.failed
        assert "config.signal, row 'wrong'" in failed.message
        assert message in failed.message
        warehouse.query("delete from config.signal where signal = 'wrong'")
    warehouse.query("insert into config.signal values ('wrong', 'ema_crossover', '2D', '{\"fast\": 9, \"slow\": 21}')")
    (failed,) = warehouse.run("--select", "dim_signal", "fct_signals").failed
    assert "no features are computed of timeframe '2D'" in failed.message
    warehouse.query("delete from config.signal where signal = 'wrong'")
    assert not warehouse.run("--select", "dim_signal", "fct_signals").failed
    for statement in (
        "insert into config.cost values ('x', 'spot', -1, 0, 0)",
        "insert into config.signal values ('x', 'ema_crossover', '1D', '[]')",
        "insert into config.signal values ('x', 'ema_crossover', '1D', '{}', 'up')",
    ):
        with pytest.raises(Exception, match="violates check constraint"):
            warehouse.query(statement)


def test_a_new_signal_is_there_after_the_next_build(real: Warehouse) -> None:
    """One row: events, a view of its type, fills, equity and metrics; and one disabled is gone."""
    real.query(
        "insert into config.signal (signal, type, timeframe, params) "
        "values ('golden_cross_20_50', 'sma_crossover', '1D', '{\"fast\": 20, \"slow\": 50}')"
    )
    real.refresh()
    assert real.value("select count(*) from signals.fct_signals_sma_crossover where signal = 'golden_cross_20_50'") > 20
    snapshot = real.query(
        "select sma_20, sma_50, feature_hash from signals.fct_signals_sma_crossover "
        "where signal = 'golden_cross_20_50' limit 1"
    )[0]
    assert snapshot[0] is not None
    assert snapshot[1] is not None
    assert len(snapshot[2]) == 64
    found = real.query("select sharpe from marts.strategy_leaderboard where signal = 'golden_cross_20_50'")
    assert len(found) == 4  # three instruments and the signal in all of them
    real.query("delete from config.signal where signal = 'golden_cross_20_50'")
    real.refresh()
    assert real.value("select count(*) from marts.strategy_leaderboard where signal = 'golden_cross_20_50'") == 0
    assert real.value("select count(*) from marts.signal_feed where signal = 'golden_cross_20_50'") == 0


def test_positions_that_are_open_across_a_change(warehouse: Warehouse) -> None:
    """While a position is open, bars come, come late, change and go: every table is what a full refresh makes."""
    warehouse.query("delete from config.signal")
    for period in (2, 3):
        warehouse.query(
            "insert into config.indicator values (%s, 'ema', %s)", f"ema_{period}", json.dumps({"period": period})
        )
    rules = [
        ("plain", "both", {}),
        ("stopped", "both", {"stop_loss": 0.02, "take_profit": 0.05}),
        ("trailed", "long", {"trailing_stop": 0.03}),
        ("stacked", "long", {"pyramiding": 3, "exit_units": 1}),
        ("finer", "long", {"execution_timeframe": "1h", "stop_loss": 0.01}),
    ]
    for name, direction, execution in rules:
        warehouse.query(
            "insert into config.signal values (%s, 'ema_crossover', %s, '{\"fast\": 2, \"slow\": 3}', %s, %s)",
            name,
            "4h" if name == "finer" else "1h",
            direction,
            json.dumps(execution),
        )
    start = instant("2024-01-01")

    def rows(first: int, last: int, version: int = 0) -> list[Row]:
        return [
            Row(start + timedelta(hours=at), 100 + 5 * math.sin(at / 6) + at % 3 + version * 0.5, "X/USD", at % 13)
            for at in range(first, last)
        ]

    warehouse.load(make_batch(rows(24, 200)))
    warehouse.refresh()
    for name, _, _ in rules:
        assert warehouse.value("select count(*) from backtest.fct_strategy_trade where signal = %s", name) > 2, name
    for change in (rows(200, 204), rows(190, 191, 1), rows(100, 102, 1), rows(0, 24), rows(204, 240)):
        before = warehouse.value("select count(*) from backtest.fct_strategy_trade where is_open")
        warehouse.load(make_batch(change))
        warehouse.refresh()
        incremental = warehouse.contents()
        assert before + warehouse.value("select count(*) from backtest.fct_strategy_trade where is_open") > 0
        warehouse.refresh(is_full=True)
        full = warehouse.contents()
        assert [table for table in full if full[table] != incremental[table]] == []


def test_the_hash_of_a_snapshot_can_be_computed_elsewhere(real: Warehouse) -> None:
    import hashlib

    rows = real.query("select features, feature_hash from signals.fct_signals where signal = 'ema_crossover_9_21' limit 20")
    for features, digest in rows:
        text = " ".join(f"{name}={_float8(features[name])}" for name in ["close", "ema_21", "ema_9"])
        assert hashlib.sha256(text.encode()).hexdigest() == digest


def _float8(value: float) -> str:
    text = repr(float(value))
    return text.removesuffix(".0")
