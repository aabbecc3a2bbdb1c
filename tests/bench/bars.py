"""Bars of every timeframe: read against computed, one more minute over a long history, all of the day-or-longer ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter
from typing import Any

from tests.bench.history import History, Rounds, print_ratio
from titan.core.database import connect

READS = 15
MINUTES = 15
MIDNIGHTS = 3
REBUILDS = 3
DAYS = 15
END = datetime(2026, 1, 1, tzinfo=UTC)
EVENING = datetime(2026, 1, 5, 22, 52, tzinfo=UTC)  # the minutes that follow close bars of 5m to 1h

READ = """
select closed_at, open, high, low, close, volume from marts.ohlcv
where symbol = 'BTC/USD' and timeframe = '1D' and closed_at > %(since)s and closed_at <= %(until)s
order by closed_at
"""
COMPUTE = """
select
    date_bin('1 day', opened_at, 'epoch') + interval '1 day',
    (array_agg(open order by closed_at))[1],
    max(high),
    min(low),
    (array_agg(close order by closed_at))[count(*)],
    sum(volume order by closed_at)
from bars.candle inner join bars.dim_instrument using (instrument_id)
where symbol = 'BTC/USD' and timeframe = '1m' and closed_at > %(since)s and closed_at <= %(until)s
group by 1
order by 1
"""


def main() -> None:
    """Print the figures one after the other."""
    _read_a_year()
    _add_a_minute()
    _build_multi_day()


def _read_a_year() -> None:
    """The two queries take turns; both are warm, and give the same rows to the last bit."""
    days = 365
    History(days * 1440, END, symbols=1, timeframe="1m")
    bounds = {"since": END - timedelta(days=days), "until": END}
    times: dict[str, list[float]] = {READ: [], COMPUTE: []}
    with connect(autocommit=True) as connection:
        rows = [connection.execute(query.encode(), bounds).fetchall() for query in times]
        assert rows[0] == rows[1]
        assert len(rows[0]) == days
        for _ in range(READS):
            for query, taken in times.items():
                begun = perf_counter()
                connection.execute(query.encode(), bounds).fetchall()
                taken.append(perf_counter() - begun)
    ratio = median(computed / read for read, computed in zip(*times.values(), strict=True))
    print(f"a year of daily bars of one symbol, medians of {READS} rounds")
    print(f"  read from marts.ohlcv        {median(times[READ]) * 1000:8.2f} ms")
    print(f"  computed from {days * 1440:,} 1m  {median(times[COMPUTE]) * 1000:8.2f} ms, {ratio:.0f} times as long")


def _add_a_minute() -> None:
    """Minute by minute, the histories taking turns; then the minute that ends a day, whose others are loaded unmeasured."""
    histories = [(History(bars, EVENING, timeframe="1m"), Rounds(), Rounds()) for bars in (50_000, 500_000)]
    for _ in range(MINUTES):
        for history, minutes, _ in histories:
            history.append(minutes)
    for day in range(1, MIDNIGHTS + 1):
        for history, _, midnights in histories:
            history.load(EVENING.replace(hour=0, minute=0) + timedelta(days=day) - history.step)
            history.refresh()
            history.append(midnights)
    print(
        f"one new 1m candle for 20 symbols, loaded and refreshed, beyond a refresh of nothing; medians of {MINUTES} rounds"
    )
    for history, minutes, _ in histories:
        print(f"  {history.candles:>10,} candles of history  {minutes}")
    print_ratio(*(minutes for _, minutes, _ in histories))
    print(f"the one that ends a day; medians of {MIDNIGHTS} rounds")
    for history, _, midnights in histories:
        print(f"  {history.candles:>10,} candles of history  {midnights}")
    print_ratio(*(midnights for *_, midnights in histories))
    print("the first load and build of them")
    for history, *_ in histories:
        print(f"  {history.candles:>10,} candles  {history.load_seconds:6.1f} s and {history.build_seconds:6.1f} s")


def _build_multi_day() -> None:
    """Ten years of ten assets: everything, the one table of all bars longer than a day, and a day more."""
    history = History(3_652, END, symbols=10)
    with connect(autocommit=True) as connection:
        row: Any = connection.execute(
            "select count(*), count(distinct timeframe) from marts.ohlcv inner join bars.dim_timeframe using (timeframe)"
        ).fetchone()
    commands, models = [], []
    for _ in range(REBUILDS):
        begun = perf_counter()
        history.build("--full-refresh", "--select", "multi_day")
        commands.append(perf_counter() - begun)
        models.append(history.refresh_model("bars.multi_day", is_full=True).seconds)
    history.refresh()
    history.vacuum()
    days = Rounds()
    for _ in range(DAYS):
        history.append(days)
    print(f"10 years of daily bars of 10 assets: {row[0]:,} bars of {row[1]} timeframes")
    print(f"  first build of everything            {history.build_seconds:6.1f} s")
    print(f"  multi_day built in full              {median(models):6.1f} s, medians of {REBUILDS} rounds")
    print(f"  the command that builds it           {median(commands):6.1f} s")
    print(f"  a day more, loaded, refreshed        {median(days.busy):6.2f} s, medians of {DAYS} rounds")
    print(f"  beyond a refresh with nothing to do  {days}")
