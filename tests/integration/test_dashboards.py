"""Every panel of every dashboard: its statement runs as the reader, where there is something of all that it shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from ingest.deletion import delete
from tests.commands import titan
from tests.local_gateway import FIRST, HOURLY, rows
from tests.warehouse import DATABASE, Row, Warehouse, make_batch, separate_warehouse, use_database
from titan.core.database import arguments
from titan.core.errors import GateError
from titan.core.settings import REPOSITORY, Settings
from titan.gateway.database import READER

FOLDER = REPOSITORY / "dbt_project" / "dashboards"
NAMES = ["market", "signals", "data_quality", "operations"]
HOURS = 1500


def dashboard(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


@pytest.fixture(scope="module")
def busy(manifest: Any) -> Iterator[Warehouse]:
    """Two instruments with signals that trade, and something of every fault, slowness and growth that a panel tells of."""
    warehouse = separate_warehouse("dashboards")
    use_database(f"{DATABASE}_dashboards")
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    first = now - timedelta(hours=HOURS)
    hole = range(30, 40)
    some = [
        Row(first + (row.opened_at - FIRST), row.close, row.symbol)
        for row in rows({"BTC/USDT": 100, "ETH/USDT": 10}, HOURS)
        if row.symbol == "BTC/USDT" or (row.opened_at - FIRST) // timedelta(hours=1) not in hole
    ]
    warehouse.query(HOURLY)
    warehouse.load(make_batch(some, exchange="one", observed=(first, now)))
    warehouse.load(make_batch([Row(first + timedelta(hours=5), 101, "BTC/USDT")], exchange="one"))
    delete(warehouse.connection, exchange="one", symbol="BTC/USDT", until_at=first + timedelta(hours=2))
    warehouse.load(make_batch([Row(now - timedelta(hours=1), 100_000, "BTC/USDT")], exchange="one"))  # an outlier
    with pytest.raises(GateError):
        warehouse.load(make_batch([Row(now - timedelta(hours=1), -1, "XRP/USDT")], exchange="one"))
    warehouse.refresh()
    for statement in (
        "insert into config.subscription (exchange, symbol, timeframe) values ('one', 'BTC/USDT', '1h')",
        "insert into ops.circuit_breaker values ('kraken', 1, 'away', false, now(), now())",
        "insert into ops.run values (gen_random_uuid(), 'poll', clock_timestamp(), clock_timestamp(), 'failed')",
        "select ops.make_month('ops.trace', now() - interval '10 hours')",
        "insert into ops.trace (trace_id, span_id, name, subject, started_at, seconds) select gen_random_uuid(), "
        "substr(md5(at::text), 1, 16), 'model', 'a', now() - (10 - at) * interval '1 hour', "
        "case when at = 9 then 3 else 1 end from generate_series(1, 9) as at",
        "select ops.judge()",
        "select ops.measure()",
        "update config.kept set rule = rule || '!' where relation = 'ops.head'",
    ):
        warehouse.query(statement)
    titan("reconcile")
    yield warehouse
    warehouse.close()


def as_asked(text: str, values: dict[str, str]) -> str:
    """A panel's statement as Grafana sends it: its macros and variables filled in."""
    text = re.sub(
        r"\$__timeFilter\(([\w.]+)\)", r"\1 between now() - interval '10 years' and now() + interval '1 day'", text
    )
    for name, value in values.items():
        quoted = value.replace("'", "''")
        text = text.replace(f"${{{name}:sqlstring}}", f"'{quoted}'")
    assert "$" not in text, text
    return text


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_has_something_to_show(busy: Warehouse, name: str) -> None:
    use_database(f"{DATABASE}_dashboards")
    found = dashboard(name)
    faults, values = [], {}
    with psycopg.connect(**arguments(Settings.from_environment()), options=READER, autocommit=True) as reader:
        for variable in found["templating"]["list"]:
            (value, *_), *_ = reader.execute(as_asked(variable["query"], values)).fetchall()
            values[variable["name"]] = value
        for panel in found["panels"]:
            (target,) = panel["targets"]
            cursor = reader.execute(as_asked(target["rawSql"], values))
            columns, told = [column.name for column in cursor.description or ()], cursor.fetchall()
            if not any(value is not None for row in told for value in row[1 if columns[0] == "time" else 0 :]):
                faults.append(f"{panel['title']}: {len(told)} rows of nothing")
            if panel["type"] in ("timeseries", "candlestick") and columns[0] != "time":
                faults.append(f"{panel['title']}: {columns[0]} is no time")
            if panel["type"] == "stat" and (len(told), len(columns)) != (1, 1):
                faults.append(f"{panel['title']}: {len(told)} rows, not a number")
            named = {one["matcher"]["options"] for one in panel["fieldConfig"]["overrides"]}
            if missing := named - set(columns):
                faults.append(f"{panel['title']}: a unit for {missing}, which it does not have")
    assert faults == []


@pytest.mark.parametrize("name", NAMES)
def test_panels_stand_beside_each_other_and_say_what_they_show(name: str) -> None:
    found = dashboard(name)
    assert found["uid"].startswith("titan-")
    assert found["title"].startswith("Titan: ")
    declared = [variable["name"] for variable in found["templating"]["list"]]
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        place = panel["gridPos"]
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        assert panel["description"], panel["title"]
        used = re.findall(r"\$\{(\w+)(:\w+)?\}", panel["targets"][0]["rawSql"])
        assert {variable for variable, _ in used} <= set(declared)
        assert {form for _, form in used} <= {":sqlstring"}, panel["title"]  # or a name with a quote would be SQL
        assert panel["datasource"]["uid"] == "titan"
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])


def test_what_is_provisioned_fits_together() -> None:
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    sources = yaml.safe_load((FOLDER / "provisioning/datasources/titan.yml").read_text())["datasources"]
    assert {one["uid"] for one in sources} == {"titan", "prometheus"}
    (titan_source,) = (one for one in sources if one["uid"] == "titan")
    secret = re.fullmatch(r"\$__file\{(.+)\}", titan_source["secureJsonData"]["password"])
    assert secret
    assert f"> {secret[1]}" in compose["gateway"]["command"]
    mounted = [volume.split(":")[1] for volume in compose["grafana"]["volumes"]]
    (provider,) = yaml.safe_load((FOLDER / "provisioning/dashboards/titan.yml").read_text())["providers"]
    assert provider["options"]["path"] in mounted
    assert str(Path(secret[1]).parent) in mounted
    for name in re.findall(r"\$\{(\w+)\}", json.dumps(sources)):
        assert name in compose["grafana"]["environment"]
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    assert f"> {job['authorization']['credentials_file']}" in compose["gateway"]["command"]
    assert job["static_configs"][0]["targets"] == ["gateway:8000"]
    assert scraped["rule_files"] == ["alert_rules.yml"]


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here: apt-get install prometheus")
    for name in ("prometheus.yml", "alert_rules.yml"):
        text = (FOLDER / name).read_text()
        (tmp_path / name).write_text(text.replace("/run/titan/prometheus", str(tmp_path / "key")))
    (tmp_path / "key").write_text("titan_x")
    result = subprocess.run([promtool, "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "5 rules found" in result.stdout
