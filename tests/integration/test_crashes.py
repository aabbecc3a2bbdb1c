"""Whatever befalls a program or its server, once it has got through what is there is what it leaves undisturbed.

Here are those that are quick; `make bench ARGS=crashes` has a day of all of them, until there were two hundred kills.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.crashes import ROOM, Day, differences, may_mount
from tests.local_exchange import local_exchange
from tests.servers import temporary_server

QUICK = ("migrate", "load")


@pytest.mark.skipif(
    "TITAN_TEST_URL" in os.environ, reason="it has a server of its own, which is the embedded one in any lane"
)
def test_quick_programs_struck_at_random_leave_what_they_leave_undisturbed(great_expectations: None, tmp_path: Path) -> None:
    has_disk = may_mount()
    blows = ["kill", "server", "connections", *(["disk"] if has_disk else [])]
    room = ROOM if has_disk else None
    with local_exchange() as exchange, temporary_server(is_durable=True, room=room) as embedded:
        day = Day(embedded, exchange, tmp_path, "titan_crashes")
        wanted = day.undisturbed(QUICK)
        assert (len(wanted["raw.ohlcv"]), len(wanted["raw.quarantine"])) == (1480, 6)
        assert differences(wanted, day.disturbed(random.Random(3), blows, QUICK, often=(1,))) == {}
        assert sum(day.tally.struck.values()) >= 1
