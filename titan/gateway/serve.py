"""Runs the gateway: where it may listen, and until when."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from types import FrameType

import psycopg

from titan.core.database import arguments, connect
from titan.core.errors import UsageError
from titan.core.settings import Settings
from titan.gateway.database import READER


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket to serve on. Raises UsageError where there can be none."""
    try:
        kind = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=kind, backlog=512)
    except OSError as error:
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror}", hint="--port chooses another") from error


def _may_read(settings: Settings) -> None:
    """Raises UsageError where the login may not work as the reader. A server that is away is waited for by each request."""
    try:
        psycopg.connect(**arguments(settings), options=READER).close()
    except psycopg.OperationalError as error:
        if "role" in str(error) and "titan_reader" in str(error):
            raise UsageError(
                f"{settings.user} may not work as titan_reader: {str(error).strip().splitlines()[-1]}",
                hint=f"grant titan_reader to {settings.user}; titan db start makes the role",
            ) from error


def serve(
    host: str,
    port: int,
    *,
    needs_key: bool,
    names: list[str],
    connections: int,
    started: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT. `started` is told the address.

    Beyond this machine it serves only whoever has a key. Raises UsageError where there is none yet.
    """
    settings = Settings.from_environment()
    _may_read(settings)
    is_local = is_loopback(host)
    if not is_local:
        needs_key = True
        with connect(settings) as connection:
            row = connection.execute(
                "select count(*) from config.api_key where revoked_at is null and coalesce(expires_at > now(), true)"
            ).fetchone()
        if row == (0,):
            raise UsageError(
                f"{host} is reached from elsewhere, and there is no key yet",
                hint="titan key create NAME --scope market makes one; --host 127.0.0.1 needs none",
            )
    import uvicorn

    from titan.gateway.app import create_app
    from titan.gateway.service import Options

    # A page of somebody else's, whose name was made to lead here, is not to read for its visitor what needs no key.
    hosts = names or (["localhost", "127.0.0.1", "[::1]", host] if is_local else ["*"])
    app = create_app(Options(settings, needs_key=needs_key, hosts=hosts, connections=connections))

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.gateway.stream.end()  # or it would wait for who listens
            super().handle_exit(sig, frame)

    with listen(host, port) as listening:
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=3,
        )  # fmt: skip
        at = f"[{host}]" if ":" in host else host
        started(f"http://{at}:{listening.getsockname()[1]}")
        Server(config).run(sockets=[listening])
