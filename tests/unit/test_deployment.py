"""docker-compose.yml and flows/prefect.yaml say what the code and the lock say."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from titan.core.settings import REPOSITORY


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    return found


def test_the_prefect_server_is_of_the_locked_version(services: dict[str, Any]) -> None:
    locked = re.search(r"^prefect==(\S+)", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE)
    assert locked is not None
    assert services["prefect-server"]["image"].startswith(f"prefecthq/prefect:{locked[1]}-")


def test_no_password_has_a_default_and_none_is_written_down(services: dict[str, Any]) -> None:
    secrets = [
        value
        for service in services.values()
        for name, value in service["environment"].items()
        if "PASSWORD" in name or "://" in str(value)
    ]
    assert len(secrets) >= 5
    for secret in secrets:
        assert secret.startswith("${PGPASSWORD:?") or re.search(r"://[^/@]*:[^/@]*@", secret) is None


def test_ports_are_open_to_this_machine_alone(services: dict[str, Any]) -> None:
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_worker_copies_what_the_package_needs(services: dict[str, Any]) -> None:
    recipe = services["worker"]["build"]["dockerfile_inline"]
    copied = {name for line in recipe.splitlines() if line.startswith("COPY") for name in line.split()[1:-1]}
    assert {"titan", "ingest", "expectations", "flows", "dbt_project", "dbt_project.yml", "profiles.yml"} <= copied


def test_the_deployments_name_flows_that_exist() -> None:
    text = (REPOSITORY / "flows" / "prefect.yaml").read_text()
    entries = [deployment["entrypoint"] for deployment in yaml.safe_load(text)["deployments"]]
    script = "from flows import pipeline; print(pipeline.pipeline.name, pipeline.poll.name)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert [f"flows/pipeline.py:{name}" for name in found.stdout.split()] == entries


def test_every_image_is_pinned_to_a_release(services: dict[str, Any]) -> None:
    images = [service["image"] for service in services.values() if "image" in service]
    images += re.findall(r"^FROM (\S+)$", services["worker"]["build"]["dockerfile_inline"], re.MULTILINE)
    assert len(images) == len(services) + 1  # the worker's is made from another
    assert services["gateway"]["image"] == services["worker"]["image"]
    for image in images:
        release = re.search(r":v?([\d.]+)", image)
        assert release is not None, image
        assert release[1].count(".") == (1 if image.startswith("postgres:") else 2), image  # PostgreSQL's have two parts


def test_every_service_comes_back_and_databases_are_ready_by_tcp(services: dict[str, Any]) -> None:
    assert {name: service.get("restart") for name, service in services.items()} == dict.fromkeys(services, "unless-stopped")
    databases = [service for service in services.values() if "POSTGRES_USER" in service["environment"]]
    assert len(databases) == 2
    for database in databases:
        # The image starts a server that listens on its socket alone, to initialise itself, and then another.
        assert "pg_isready --host 127.0.0.1 " in database["healthcheck"]["test"][1]
        assert "shm_size" in database
