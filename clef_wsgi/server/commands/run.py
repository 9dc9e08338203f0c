"""``server run``: serve with waitress until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import logging
import signal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clef_wsgi.server.commands import words
from clef_wsgi.server.commands.arguments import Commands, add_command
from clef_wsgi.server.commands.serving import handling, listener, log_to_stderr, say_ready, written
from clef_wsgi.server.commands.support import where
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.records import people

if TYPE_CHECKING:
    from flask import Flask

DEFAULT_PORT = 8400
_log = logging.getLogger(__name__)


def add_to(commands: Commands) -> None:
    parser = add_command(commands, "run", run, "Runs the server until Ctrl-C or SIGTERM.")
    parser.add_argument("--origin", required=True, help="the public address, such as https://login.example.com")
    parser.add_argument("--rp-id", metavar="DOMAIN", help="what passkeys are made for; can't be changed later")
    parser.add_argument("--listen", type=words.place, metavar="PLACE", help="127.0.0.1:8400, or unix:/run/clef/socket")
    networks: dict[str, Any] = {"action": "append", "default": [], "metavar": "NETWORK"}
    parser.add_argument(
        "--trusted-proxy",
        **networks,
        help='whose X-Forwarded-For is believed: an address, a network, or "unix"; may be given several times',
    )
    parser.add_argument(
        "--metrics-from",
        **networks,
        help='who may read /metrics: an address, a network, or "unix"; may be given several times (default: nobody)',
    )
    parser.add_argument("--name", default="Clef", help="what the pages call this server (default: %(default)s)")
    parser.add_argument("--logo", metavar="FILE", help="a picture for the top of the pages")
    parser.add_argument(
        "--keep-audit", metavar="DAYS", help="how long a line of the audit is kept, such as 400d (default: for ever)"
    )
    parser.add_argument("--no-deliver", action="store_true", help='sites are told by "server deliver", elsewhere')
    parser.add_argument("--templates", metavar="FOLDER", help="templates that replace those of the same name")


def run(arguments: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM. Requests that have begun by then are answered."""
    from clef_wsgi.server.app import create_app  # here, since no other command needs Flask

    log_to_stderr()
    app = create_app(
        origin=arguments.origin,
        database=where(arguments),
        rp_id=arguments.rp_id,
        name=arguments.name,
        logo=arguments.logo,
        templates=arguments.templates,
        trusted_proxy=arguments.trusted_proxy,
        metrics_from=arguments.metrics_from,
        keep_audit=arguments.keep_audit,
        deliver="elsewhere" if arguments.no_deliver else True,
    )
    database: Database = app.extensions["clef"].database
    with handling(_end, signal.SIGTERM):
        try:
            origin = app.extensions["clef"].options.origin
            app.extensions["clef"].deliver_soon()
            _log.info("start: %s; sites are told %s", origin, "elsewhere" if arguments.no_deliver else "from here")
            _serve(app, arguments.listen or _own_place(origin), _greeting(database, origin))
        finally:
            app.extensions["clef"].worker.stop()
            database.close()
            _log.info("stop")


def _greeting(database: Database, origin: str) -> str:
    with database.reading() as connection:
        is_new = not people.all_people(connection)
    hint = 'Nobody is invited yet: see "clef-wsgi server invite --help".' if is_new else ""
    return f"This is {origin}. {hint}".strip()


def _serve(app: Flask, place: words.Place, greeting: str) -> None:
    from waitress import create_server  # type: ignore[import-untyped,unused-ignore]

    channels: dict[int, Any] = {}
    with listener(place) as listens:
        server = create_server(app, map=channels, sockets=[listens], **_limits(app))
        try:
            say_ready(f"{greeting}\nListening on {written(place)}.")
            server.run()  # ends at SystemExit and KeyboardInterrupt, after the requests that have begun
        finally:
            for channel in list(channels.values()):
                channel.close()


def _limits(app: Flask) -> dict[str, Any]:
    return {
        "threads": 8,
        "ident": None,
        "max_request_body_size": app.config["MAX_CONTENT_LENGTH"] + 1,  # one more is left to the app's own page
        "max_request_header_size": 64 * 1024,
        "channel_timeout": 30,
        "connection_limit": 500,
        "asyncore_use_poll": True,
        # the app reads X-Forwarded-For itself, by --trusted-proxy: waitress would drop it
        "clear_untrusted_proxy_headers": False,
    }


def _own_place(origin: str) -> words.Place:
    """Return the default place: with no proxy in front, the port is that of the origin itself."""
    parts = urlsplit(origin)
    return "127.0.0.1", (parts.port or 80) if parts.scheme == "http" else DEFAULT_PORT


def _end(*_: Any) -> None:
    raise SystemExit(0)
