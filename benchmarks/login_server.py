"""Count and time a whole login at the self-hosted server: page, approval, ``authorize`` and ``info``.

    python benchmarks/login_server.py [--postgresql URL] [--before CHECKOUT] [--rounds 5] [--logins 200]

The person has been at that site before; the server runs within the process, without HTTP and without a worker. Counted
are statements (SELECT, INSERT, UPDATE and DELETE), transactions (BEGIN), statements that stand outside of one, and on
PostgreSQL the round trips, as libpq's own trace shows them: pings, BEGIN and COMMIT included. Measured is the processor
time of the process. ``--before`` names another checkout of this package, which then takes turns with this one, each in
a process of its own. The table of docs/performance.md is this output.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool
from werkzeug.test import Client

ROOT = Path(__file__).parent.parent
ORIGIN = "http://localhost:8400"
SITE = "https://www.example.com/clef/callback"
APP_ID, SECRET = "0" * 32, "a secret of a benchmark"
WARM_UP = 30
STATEMENT = re.compile(r"\s*(?:WITH\b.*)?(SELECT|INSERT|UPDATE|DELETE)\b", re.DOTALL)
PING = ";"


class Counts:
    """Count the statements and transactions that reach the database, of all Engines of this process."""

    def __init__(self, folder: Path) -> None:
        self.seen: Counter[str] = Counter()
        self._trace = (folder / "trace").open("w+b", buffering=0)
        event.listen(Engine, "before_cursor_execute", self._statement)
        event.listen(Engine, "begin", self._begin)
        event.listen(Pool, "connect", self._connect)

    def _statement(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("BEGIN"):
            self.seen["transactions"] += connection.dialect.name == "postgresql" and self._begins_itself(connection)
        elif STATEMENT.match(statement):
            self.seen["statements"] += 1

    def _begin(self, connection: Any) -> None:
        """On PostgreSQL psycopg begins by itself, but for connections in autocommit."""
        if connection.dialect.name == "sqlite":
            self.seen["transactions"] += "clef_begin" in connection.get_execution_options()
        elif not self._begins_itself(connection):
            self.seen["transactions"] += 1

    def _begins_itself(self, connection: Any) -> bool:
        return bool(getattr(connection.connection.driver_connection, "autocommit", False))

    def _connect(self, connection: Any, _record: Any) -> None:
        if hasattr(connection, "pgconn"):
            connection.pgconn.trace(self._trace.fileno())

    def round_trips(self) -> int:
        self._trace.seek(0)
        return self._trace.read().count(b"\tReadyForQuery\t")


class World:
    """A server with one site and one person. Rows are written as text, for every version with these tables."""

    def __init__(self, where: str) -> None:
        from clef_wsgi.server import create_app
        from clef_wsgi.server.options import Limits

        app = create_app(origin=ORIGIN, database=where, deliver="elsewhere", limits=Limits(sign_in=10**9))
        self.database = app.extensions["clef"].database
        self.session, now = secrets.token_urlsafe(32), time.time_ns() // 1000
        with self.database.writing() as connection:
            for statement in ROWS:
                values = {"now": now, "later": now + 10**12, "handle": secrets.token_bytes(64)}
                values |= {"secret": digest(SECRET), "session": digest(self.session), "url": SITE, "app": APP_ID}
                connection.execute(text(statement), values)
        self.browser, self.site = Client(app), Client(app)
        self.browser.set_cookie("clef-session-8400", self.session, domain="localhost")

    def log_in(self) -> None:
        query = urlencode({"app_id": APP_ID, "redirect_url": SITE, "state": "some state"})
        page = self.browser.get(f"/iframes/qr?{query}", base_url=ORIGIN).text
        action, token = (
            unescape(re.search(found, page)[1]) for found in (r'action="([^"]*)"', r'token" value="([^"]*)"')
        )
        same_origin = {"Sec-Fetch-Site": "same-origin"}
        answer = self.browser.post(action, base_url=ORIGIN, data={"token": token}, headers=same_origin)
        code = parse_qs(urlsplit(answer.headers["Refresh"].partition("url=")[2]).query)["code"][0]
        form = {"app_id": APP_ID, "app_secret": SECRET, "code": code}
        access = self.site.post("/api/v1/authorize", base_url=ORIGIN, data=form).json["access_token"]
        assert self.site.get(f"/api/v1/info?access_token={access}", base_url=ORIGIN).json["success"]


ROWS = (
    "INSERT INTO people (id, handle, first_name, email, created_at, logouts)"
    " VALUES (1, :handle, 'Ann', 'ann@example.com', :now, 0)",
    "INSERT INTO sessions (person_id, token_hash, created_at, seen_at, expires_at, logouts, address, user_agent)"
    " VALUES (1, :session, :now, :now, :later, 0, '', '')",
    "INSERT INTO apps (id, name, created_at, allow_private, open_to_all) VALUES (:app, 'Site', :now, false, true)",
    "INSERT INTO app_secrets (app_id, hash, created_at) VALUES (:app, :secret, :now)",
    "INSERT INTO app_redirects (app_id, url) VALUES (:app, :url)",
    "INSERT INTO app_webhooks (app_id, url) VALUES (:app, :url)",
)


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def measure(where: str, logins: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        counts = Counts(Path(folder))
        world = World(where)
        for _ in range(WARM_UP):
            world.log_in()
        counts.seen.clear()
        before = counts.round_trips()
        world.log_in()
        seen, trips = dict(counts.seen), counts.round_trips() - before
        began = time.process_time()
        for _ in range(logins):
            world.log_in()
        used = (time.process_time() - began) / logins * 1000
        world.database.close()
        return {**seen, "round trips": trips, "ms": used}


@contextmanager
def databases(postgresql: str | None) -> Iterator[dict[str, str]]:
    """An empty database of each kind, for one measurement."""
    with tempfile.TemporaryDirectory() as folder:
        found = {"SQLite": str(Path(folder, "clef.db"))}
        if postgresql is None:
            yield found
            return
        import psycopg

        name = f"clef_{secrets.token_hex(6)}"
        with psycopg.connect(postgresql, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
            try:
                yield {**found, "PostgreSQL": f"{postgresql}?options=-csearch_path%3D{name}"}
            finally:
                connection.execute(f"DROP SCHEMA {name} CASCADE".encode())


def in_process(checkout: Path, where: str, logins: int) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", __file__, "--measure", where, "--logins", str(logins)]
    environ = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--postgresql", metavar="URL", help="such as postgresql://postgres@127.0.0.1:5432/test")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another version, measured beside this one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--logins", type=int, default=200, help="in each round")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure is not None:
        print(json.dumps(measure(chosen.measure, chosen.logins)))
        return
    checkouts = {"before": chosen.before, "now": ROOT} if chosen.before else {"now": ROOT}
    load, found = os.getloadavg()[0], {}
    for _ in range(chosen.rounds):
        for name, checkout in checkouts.items():
            with databases(chosen.postgresql) as places:
                for database, where in places.items():
                    found.setdefault((database, name), []).append(in_process(checkout, where, chosen.logins))
    print("| database | version | statements | transactions | round trips | CPU ms a login | ratio |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for (database, name), rounds in found.items():
        ms, first = statistics.median(each["ms"] for each in rounds), rounds[0]
        beside = found[database, next(iter(checkouts))]
        ratio = statistics.median(one["ms"] / other["ms"] for one, other in zip(rounds, beside, strict=True))
        print(
            f"| {database} | {name} | {first['statements']:.0f} | {first['transactions']:.0f} "
            f"| {first['round trips'] or '-'} | {ms:.1f} | {ratio:.2f} |"
        )
    print(
        f"\nCPython {platform.python_version()}; {chosen.rounds} rounds of {chosen.logins} logins; "
        f"load average {load:.1f} before, {os.getloadavg()[0]:.1f} after."
    )


if __name__ == "__main__":
    main()
