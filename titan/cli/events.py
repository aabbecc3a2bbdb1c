"""`titan events`: what became new, told to who listens, and passed on to Redis."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from titan.cli import output
from titan.cli.options import Json, connect
from titan.core.errors import UsageError

Topics = Annotated[list[str] | None, typer.Option("--topic", help="candles, features, signals, alerts; repeat for others.")]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What became new, as it does.")


@app.command("listen")
def listen_command(topic: Topics = None) -> None:
    """Print what becomes new from now on, a JSON object a line, until SIGTERM or Ctrl-C.

    Example: titan events listen --topic candles | jq .symbol
    """
    from titan.ops import events
    from titan.ops.watch import Stopped, WallClock

    clock = WallClock()
    with connect(autocommit=True) as connection, clock.stopped_by_signals():
        try:
            for message in events.listen(connection, events.topics(connection, topic or ()), clock.check):
                print(json.dumps(message), flush=True)
        except Stopped:
            return


@app.command("relay")
def relay_command(
    redis: Annotated[str | None, typer.Option(help="Its address, redis://host:6379/0; TITAN_REDIS_URL by default.")] = None,
    name: Annotated[str, typer.Option(help="Under which it is recorded how far it is.")] = "redis",
    topic: Topics = None,
    length: Annotated[int, typer.Option(min=1, help="Messages that a stream keeps, about.")] = 100_000,
) -> None:
    """Pass what becomes new on to Redis, as messages of stream:candles, stream:features, stream:signals, stream:alerts.

    Each is passed on at least once, in the order of its stream; while Redis or the database is away, they are kept. It ends
    with SIGTERM or Ctrl-C.

    Example: titan events relay --redis redis://127.0.0.1:6379/0
    """
    from titan.core.log import event
    from titan.ops import events
    from titan.ops.watch import Stopped, WallClock

    url = redis or os.environ.get("TITAN_REDIS_URL")
    if not url:
        raise UsageError("no Redis is named", hint="--redis redis://127.0.0.1:6379/0, or TITAN_REDIS_URL")
    with connect(autocommit=True) as connection:
        wanted = events.topics(connection, topic or ())
    sink, clock = events.RedisStreams(url, length), WallClock()
    with clock.stopped_by_signals(), output.progress(f"relaying {', '.join(wanted)}") as progress:

        def tell(topic: str, count: int) -> None:
            progress(f"{count:,} {topic} relayed")
            event(events.log, "relayed", topic=topic, count=count)

        try:
            events.Relay(name, wanted, sink, clock.sleep).run(tell)
        except Stopped:
            return
        finally:
            sink.close()


@app.command("relays")
def relays_command(as_json: Json = False) -> None:
    """List the relays, and how many events wait for each: they are kept until they are passed on, or the relay forgotten.

    Example: titan events relays
    """
    from titan.ops import events

    with connect() as connection:
        output.listing(events.relays(connection), as_json, "no relay has ever run: titan events relay")


@app.command("forget")
def forget_command(name: Annotated[str, typer.Argument(help="Of the relay.")]) -> None:
    """Keep nothing for a relay any longer; run again, it begins with what becomes new then.

    Example: titan events forget redis
    """
    from titan.ops import events

    with connect() as connection:
        events.forget(connection, name)
    output.out.print(f"relay {name} is forgotten", markup=False)
