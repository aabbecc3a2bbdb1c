"""Which server Titan talks to, by libpq's own rules.

`PGHOST` names a server of yours; without it Titan runs the embedded one. `PGPORT`, `PGUSER`, `PGPASSWORD` and
`PGDATABASE` mean what they mean to psql; profiles.yml has the same defaults.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_PORT = 54320
EMBEDDED_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Settings:
    """The server, the role and the database in use."""

    host: str
    port: int
    user: str
    database: str
    is_embedded: bool

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the `PG*` variables; what they leave open is the embedded server's default."""
        is_embedded = not os.environ.get("PGHOST")
        return cls(
            host=os.environ.get("PGHOST") or EMBEDDED_HOST,
            port=int(os.environ.get("PGPORT") or (DEFAULT_PORT if is_embedded else 5432)),
            user=os.environ.get("PGUSER") or "titan",
            database=os.environ.get("PGDATABASE") or "titan",
            is_embedded=is_embedded,
        )

    @property
    def url(self) -> str:
        """A libpq URL, without the password: that stays in the passfile or in PGPASSWORD."""
        return (
            f"postgresql://{quote(self.user, safe='')}@{quote(self.host, safe='')}:{self.port}"
            f"/{quote(self.database, safe='')}"
        )


def home() -> Path:
    """Where the embedded server keeps its data: `TITAN_HOME`, or the usual place for the user's data."""
    if chosen := os.environ.get("TITAN_HOME"):
        return Path(chosen).expanduser().resolve()
    if os.geteuid() == 0:
        return Path("/var/lib/titan")
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "titan"


def passfile() -> Path:
    """The user's libpq password file."""
    return Path(os.environ.get("PGPASSFILE") or Path.home() / ".pgpass")
