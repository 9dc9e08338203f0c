"""``server deliver`` and ``server deliveries ...``: run the delivery worker, list and retry unconfirmed logouts."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sqlalchemy import Connection

from clef_wsgi.server.clock import DAY, HOUR, MINUTE, SECOND, system_clock
from clef_wsgi.server.commands import words
from clef_wsgi.server.commands.arguments import Commands, add_command, add_group, add_json
from clef_wsgi.server.commands.output import iso, say, say_json, say_table
from clef_wsgi.server.commands.serving import handling, log_to_stderr, refusing_place, say_ready
from clef_wsgi.server.commands.support import find_app, note, opened
from clef_wsgi.server.database import settings
from clef_wsgi.server.database.schema import deliveries
from clef_wsgi.server.delivery.worker import Worker, user_agent
from clef_wsgi.server.errors import Unknown
from clef_wsgi.server.metrics import Metrics
from clef_wsgi.server.records import backlog, outbox
from clef_wsgi.server.texts import failure_text

_log = logging.getLogger(__name__)
_HEADINGS = ("#", "SITE", "PERSON", "STATE", "SINCE", "TRIES", "NEXT TRY", "REASON")
_UNITS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"))
_TIMES = ("created_at", "next_at", "first_tried_at", "tried_at", "waits_until", "done_at")
_JSON_NAMES = {"created_at": "made_at"}


def add_to(commands: Commands) -> None:
    parser = add_command(commands, "deliver", deliver, 'Tells sites of logouts, for a "server run --no-deliver".')
    parser.add_argument(
        "--keep-audit",
        type=words.in_days,
        metavar="DAYS",
        help="how long a line of the audit is kept, such as 400d (default: for ever)",
    )
    parser.add_argument(
        "--metrics",
        type=words.host_and_port,
        metavar="HOST:PORT",
        help="serve metrics to Prometheus there, to whoever can reach it, such as 127.0.0.1:9100 (default: nowhere)",
    )
    group = add_group(commands, "deliveries", "The logouts that sites have to hear of.")
    add_json(add_command(group, "list", list_unheard, "Shows what no site has confirmed, and why."))
    parser = add_command(group, "retry", retry, "Has sites told now, also of what was given up.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", type=words.count, metavar="ID", help='a number of "deliveries list"')
    which.add_argument("--site", metavar="APP", help="everything for one site: its name or id")
    which.add_argument("--all", action="store_true", help="everything")


def deliver(arguments: argparse.Namespace) -> None:
    """Deliver until SIGINT or SIGTERM. Calls in flight by then are finished."""
    log_to_stderr()
    over = threading.Event()
    with opened(arguments) as database, handling(lambda *_: over.set(), signal.SIGTERM, signal.SIGINT):
        with database.reading() as connection:
            origin = settings.read(connection, settings.ORIGIN) or ""
        metrics = Metrics(database, system_clock)
        with _served(metrics, arguments.metrics):
            _log.info("start: telling the sites of %s", origin or "this server")
            say_ready("Telling sites of logouts.")
            Worker(
                database,
                system_clock,
                user_agent=user_agent(origin),
                observe=metrics.delivered,
                keep_audit_us=arguments.keep_audit,
            ).work(over)
        _log.info("stop")


def list_unheard(arguments: argparse.Namespace) -> None:
    now = system_clock()
    with opened(arguments) as database, database.reading() as connection:
        figures, rows = backlog.read(connection, now=now), backlog.rows(connection)
    if arguments.json:
        say_json({**vars(figures), "deliveries": [_for_programs(row) for row in rows]})
        return
    if rows:
        say_table(_HEADINGS, [_cells(row, now) for row in rows])
        say()
    say(_summary(figures))


def retry(arguments: argparse.Namespace) -> None:
    with opened(arguments) as database, database.writing() as connection:
        number = _retry(connection, arguments)
        what = {"id": arguments.id, "site": arguments.site}
        note(connection, "deliveries.retry", "deliveries", number=number, **{k: v for k, v in what.items() if v})
    say(f"{number} to be sent now." if number else "There is nothing to send.")


def _retry(connection: Connection, arguments: argparse.Namespace) -> int:
    now = system_clock()
    if arguments.all:
        return outbox.retry(connection, now=now)
    if arguments.site is not None:
        app = find_app(connection, arguments.site)
        return outbox.retry(connection, deliveries.c.app_id == app.id, now=now)
    number = outbox.retry(connection, deliveries.c.id == arguments.id, now=now)
    if not number:
        raise Unknown(f'Number {arguments.id} does not wait for anything: see "clef-wsgi server deliveries list".')
    return number


def _for_programs(row: dict[str, Any]) -> dict[str, Any]:
    found = {_JSON_NAMES.get(name, name): iso(row[name]) if name in _TIMES else row[name] for name in row}
    return found | ({"next_at": None} if row["state"] == outbox.GIVEN_UP else {})


def _cells(row: dict[str, Any], now: int) -> list[str]:
    is_over = row["state"] == outbox.GIVEN_UP
    state = "given up" if is_over else "pending"
    waits = row["waits_until"] is not None
    next_try = "-" if is_over or waits else f"in {_span(row['next_at'] - now)}" if row["next_at"] > now else "now"
    reason = failure_text("en", row["failure"]) if row["failure"] else "-"
    reason = "It answered; waiting for the site to ask." if waits else reason
    since = f"{_span(now - row['created_at'])} ago"
    return [str(row["id"]), row["site"], row["person"], state, since, str(row["attempts"]), next_try, reason]


def _summary(figures: backlog.Backlog) -> str:
    if not (figures.pending or figures.given_up):
        return "Every site has heard of every logout."
    oldest = f", the oldest for {_span(int(figures.oldest_seconds * SECOND))}" if figures.pending else ""
    given_up = f" {figures.given_up} given up: see retry." if figures.given_up else ""
    return f"{figures.pending} pending{oldest}.{given_up}"


def _span(length: int) -> str:
    for unit, name in _UNITS:
        if length >= unit:
            return f"{length // unit} {name}"
    return f"{max(length, 0) // SECOND} s"


@contextmanager
def _served(metrics: Metrics, place: tuple[str, int] | None) -> Iterator[None]:
    """Serve metrics meanwhile, if there is a place."""
    with ExitStack() as serving:
        if place:
            with refusing_place(place):
                serving.enter_context(metrics.served(*place))
        yield
