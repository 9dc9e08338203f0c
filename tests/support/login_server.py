"""Shared helpers of the server's tests: a server on either database, and browsers that use its HTTP interface.

server = make_server(tmp_path / "clef.db")
site = server.add_site()
ann = server.add_person("Ann")
browser = server.browser(signed_in=ann)
code = browser.approve(site.ask(state="xyz"))["code"]
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import webtest
from flask import Flask
from jinja2.bccache import Bucket, BytecodeCache
from markupsafe import escape
from sqlalchemy import Table, delete, func, select, text

from clef_wsgi.server import create_app
from clef_wsgi.server.database.append_only import APPEND_ONLY
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.database.migrations import open_database
from clef_wsgi.server.database.schema import deliveries, metadata
from clef_wsgi.server.records import apps, people, sessions
from clef_wsgi.server.records.people import Person
from clef_wsgi.server.web.support.context import KEY
from clef_wsgi.server.web.support.rate_limit import Limiter
from support.services import require

ORIGIN = "https://login.example.com"
NOON = 1_800_000_000_000_000
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
CALLBACK = "https://photos.example.com/clef/callback"
WEBHOOK = "https://photos.example.com/clef/webhook"


class FakeClock:
    """Microseconds since 1970, as a test says."""

    def __init__(self, now: int = NOON) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1_000_000)


@dataclass
class Site:
    """A relying party, as it knows itself."""

    app_id: str
    secret: str = field(repr=False)
    callback: str = CALLBACK

    def ask(self, **more: str) -> str:
        """The query with which it sends a browser."""
        return urlencode({"app_id": self.app_id, "redirect_url": self.callback, **more})

    @property
    def credentials(self) -> dict[str, str]:
        return {"app_id": self.app_id, "app_secret": self.secret}


def token_of(page: webtest.TestResponse) -> str:
    """Return the CSRF token of the page's forms."""
    token = re.search(r'name="token" value="([^"]*)"', page.text)
    assert token is not None, page.text
    return token[1]


def sent_back_to(answer: webtest.TestResponse) -> str:
    """Check the page that follows an approval and return the address it leads to, by refresh and by link."""
    assert answer.status_int == 200, answer.text
    seconds, _, url = answer.headers["Refresh"].partition("; url=")
    assert seconds == "0"
    assert f'href="{escape(url)}"' in answer.text
    return str(url)


class Browser:
    """A browser at the server. Every answer passes webtest's check of PEP 3333."""

    def __init__(self, app: Flask, origin: str = ORIGIN) -> None:
        parts = urlsplit(origin)
        self.web = webtest.TestApp(
            app, extra_environ={"HTTP_HOST": parts.netloc, "wsgi.url_scheme": parts.scheme, "REMOTE_ADDR": "192.0.2.7"}
        )

    def get(self, path: str, **options: Any) -> webtest.TestResponse:
        return self.web.get(path, expect_errors=True, **options)

    def post(
        self, path: str, form: dict[str, str] | None = None, *, headers: dict[str, str] | None = None
    ) -> webtest.TestResponse:
        return self.web.post(path, form or {}, headers=headers, expect_errors=True)

    def submit(self, page: webtest.TestResponse, **fields: str) -> webtest.TestResponse:
        """Send the page's one form, as the page's own origin."""
        action = re.search(r'<form method="post" action="([^"]*)"', page.text)
        assert action is not None, page.text
        return self.post(unescape(action[1]), {"token": token_of(page), **fields}, headers=SAME_ORIGIN)

    def form_token(self, path: str = "/") -> str:
        """Return the CSRF token for this browser's forms, as a page gives it out."""
        return token_of(self.get(path))

    def location_of_approval(self, query: str) -> str:
        """Approve the login and return the redirect URL."""
        return sent_back_to(self.submit(self.get(f"/iframes/qr?{query}")))

    def approve(self, query: str) -> dict[str, str]:
        """Approve the login and return the query fields that the site gets back."""
        fields = parse_qs(urlsplit(self.location_of_approval(query)).query, keep_blank_values=True)
        return {name: value for name, (value,) in fields.items()}


class Server:
    """A server, and short ways to fill it."""

    def __init__(self, app: Flask, clock: FakeClock, origin: str) -> None:
        self.app = app
        self.clock = clock
        self.origin = origin
        self.database: Database = app.extensions[KEY].database
        # A test may leave its server to the garbage collector; its connections are closed first all the same.
        weakref.finalize(app, self.database.close)

    def browser(self, *, signed_in: Person | None = None) -> Browser:
        """A new browser; ``signed_in`` without a ceremony, by a session of its own."""
        browser = Browser(self.app, self.origin)
        if signed_in is not None:
            with self.database.writing() as connection:
                token = sessions.start(connection, person_id=signed_in.id, passkey_id=None, now=self.clock())
            https = self.origin.startswith("https:")
            name = "__Host-clef-session" if https else f"clef-session-{urlsplit(self.origin).port}"
            browser.web.set_cookie(name, token)
        return browser

    def add_person(self, first_name: str = "Ann", **values: str) -> Person:
        with self.database.writing() as connection:
            return people.add(connection, now=self.clock(), first_name=first_name, **values)

    def add_site(
        self, name: str | None = None, *, callback: str = CALLBACK, webhooks: Any = (WEBHOOK,), **more: Any
    ) -> Site:
        with self.database.writing() as connection:
            app, secret = apps.add(
                connection,
                name=name or secrets.token_hex(4),
                redirect_urls=[callback],
                webhooks=webhooks,
                now=self.clock(),
                **more,
            )
        return Site(app.id, secret, callback)

    def log_in(self, site: Site, browser: Browser, **form: str) -> str:
        """The whole way of a login: the access token."""
        code = browser.approve(site.ask())["code"]
        answer = browser.post("/api/v1/authorize", {**site.credentials, "code": code, **form})
        assert answer.status_int == 200, answer.text
        return str(answer.json["access_token"])

    def log_out(self, site: Site, browser: Browser) -> webtest.TestResponse:
        """Log the browser's person out everywhere; return the answer to the site's token exchange."""
        assert browser.submit(browser.get("/")).status_int == 303
        *_, row = self.rows(deliveries, deliveries.c.app_id == site.app_id, deliveries.c.state == "pending")
        return Browser(self.app, self.origin).post("/api/v1/logout", {**site.credentials, "logout_token": row.token})

    def count(self, table: Table, *which: Any) -> int:
        with self.database.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(table).where(*which)).scalar_one())

    def rows(self, table: Table, *which: Any) -> list[Any]:
        with self.database.reading() as connection:
            return list(connection.execute(select(table).where(*which).order_by(table.c[0])))

    def clear(self) -> None:
        """Nobody and nothing was ever here. Quicker than a new server."""
        tables = [
            table for table in reversed(metadata.sorted_tables) if table.name not in ("schema_version", "settings")
        ]
        with self.database.writing() as connection:
            if self.database.dialect == "postgresql":
                connection.execute(text(f"TRUNCATE {', '.join(table.name for table in tables)} RESTART IDENTITY"))
            else:
                connection.execute(text("DROP TRIGGER audit_no_delete"))
                for table in tables:
                    connection.execute(delete(table))
                connection.exec_driver_sql(APPEND_ONLY["sqlite"][1])
        self.clock.now = NOON
        limiter: Limiter = self.app.extensions[KEY].limiter
        limiter._counts.clear()

    def close(self) -> None:
        self.database.close()


class _Templates(BytecodeCache):
    """A cache of compiled templates, keyed by the hash of their text, for all servers of a process."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        code = self._codes.get((bucket.key, bucket.checksum))
        if code is not None:
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key, bucket.checksum] = bucket.bytecode_to_string()


_TEMPLATES = _Templates()


def make_server(
    database: str | Path, *, origin: str = ORIGIN, clock: FakeClock | None = None, copied: bool = True, **options: Any
) -> Server:
    """Return a server on a database, new or not. It delivers no notifications unless ``deliver`` says so.

    :param copied: a file that isn't there is copied from one that has all its tables; otherwise the server makes it.
    """
    clock = clock or FakeClock()
    options = {"deliver": False, **options}
    if copied and "://" not in str(database) and not Path(database).exists():
        write_private(Path(database), _tables())
    app = create_app(origin=origin, database=database, clock=clock, **options)
    app.jinja_env.bytecode_cache = _TEMPLATES
    return Server(app, clock, origin)


@cache
def _tables() -> bytes:
    """A SQLite database with the server's tables: made once, since that takes longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        open_database(Path(folder, "clef.db")).close()
        return Path(folder, "clef.db").read_bytes()


def write_private(path: Path, data: bytes) -> None:
    """A new file that nobody else may read, as the server makes its own."""
    path.touch(mode=0o600)
    path.write_bytes(data)


@contextmanager
def postgresql() -> Iterator[str]:
    """The address of an empty PostgreSQL database of one's own (a schema), gone afterwards."""
    url = os.environ.get("CLEF_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/test")
    require("psycopg", importlib.util.find_spec("psycopg") is not None, 'pip install ".[postgresql]"')
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        require("PostgreSQL", found=False, how="start one, and say where in CLEF_TEST_POSTGRESQL.")
    name = f"clef_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
        try:
            yield f"{url}?options=-csearch_path%3D{name}"
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE".encode())
