"""Relying parties (sites): redirect URLs, webhooks, secrets, and who may use them."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, bindparam, delete, exists, insert, select, update

from clef_wsgi.base import redirect_rules
from clef_wsgi.server import tokens
from clef_wsgi.server.database.schema import app_members, app_redirects, app_secrets, app_webhooks, apps
from clef_wsgi.server.errors import InvalidApp, InvalidHook, InvalidRedirect, InvalidSecret, Refused
from clef_wsgi.server.records import app_rows

_APP_ID = re.compile(r"[0-9a-f]{32}")
LIVE_SECRETS = 2
"""Secrets that work during a rotation: the new one, and the one before."""


@dataclass(frozen=True)
class App:
    """A relying party.

    ``open_to_all``: everybody may use it, not its members alone; ``allow_private``: its webhooks may be in a private
    network (else refused, SSRF); ``ids_as_text``: the API gives it pairwise ids as text.
    """

    id: str
    name: str
    created_at: int
    allow_private: bool
    open_to_all: bool
    ids_as_text: bool
    redirects: tuple[str, ...]
    webhooks: tuple[str, ...]

    def check_redirect(self, url: str) -> None:
        """Check that a browser may be sent to a URL: no open redirect.

        :raises InvalidRedirect: it is not registered.
        """
        if not redirect_rules.is_allowed(url, self.redirects):
            raise InvalidRedirect

    def check_webhook(self, url: str) -> None:
        """Check a webhook for one login: it must have scheme, host and port of a registered address.

        :raises InvalidHook: it has not.
        """
        if not redirect_rules.is_on_domain(url, self.redirects + self.webhooks):
            raise InvalidHook


def add(
    connection: Connection,
    *,
    name: str,
    redirect_urls: Iterable[str],
    now: int,
    webhooks: Iterable[str] = (),
    allow_private: bool = False,
    open_to_all: bool = True,
    ids_as_text: bool = False,
    app_id: str | None = None,
    secret: str | None = None,
) -> tuple[App, str]:
    """Add a relying party, and return it with its secret, which can't be read again.

    :param app_id: 32 lowercase hex digits, to keep an old one; ``secret`` likewise.
    :raises Refused: the name or the id is taken, the id has not that form, or an address can't be used.
    """
    app_id, secret = app_id or tokens.new_app_id(), secret or tokens.new_token()
    if not _APP_ID.fullmatch(app_id):
        raise Refused("An app id is 32 lowercase hex digits.")
    if connection.execute(select(exists().where((apps.c.id == app_id) | (apps.c.name == name)))).scalar():
        raise Refused("There is an app of that name or id already.")
    row = {"id": app_id, "name": name, "created_at": now, "allow_private": allow_private, "open_to_all": open_to_all}
    connection.execute(insert(apps).values(**row, ids_as_text=ids_as_text))
    _add_secret(connection, app_id, secret, now)
    for url in redirect_urls:
        add_redirect(connection, app_id, url)
    for url in webhooks:
        add_webhook(connection, app_id, url)
    return get(connection, app_id), secret


def get(connection: Connection, app_id: str) -> App:
    """Return an app with its addresses.

    :raises InvalidApp: there is no such app.
    """
    return _app(_rows(connection, app_rows.FOUND, app_id))


def proven(connection: Connection, app_id: str, secret: str) -> App:
    """Authenticate an app by its secret, and return it.

    :raises InvalidApp: there is no such app.
    :raises InvalidSecret: the secret is not one of its own.
    """
    rows = _rows(connection, app_rows.FOUND_WITH_SECRETS, app_id)
    app, given = _app(rows), tokens.digest(secret)
    if not any([hmac.compare_digest(given, row.secret_hash) for row in rows if row.kind == app_rows.SECRET]):
        raise InvalidSecret
    return app


def secret_hashes(connection: Connection, app_id: str) -> list[bytes]:
    """Return the digests of the secrets that work, the newest first."""
    return list(connection.execute(_SECRETS, {"app_id": app_id}).scalars())


def all_apps(connection: Connection) -> list[App]:
    """Return every app, by name."""
    return [get(connection, app_id) for app_id in connection.execute(select(apps.c.id).order_by(apps.c.name)).scalars()]


def remove(connection: Connection, app_id: str) -> None:
    """Delete an app with everything that belongs to it, the pairwise ids of its people included.

    :raises InvalidApp: there is no such app.
    """
    connection.execute(delete(apps).where(apps.c.id == get(connection, app_id).id))


def add_redirect(connection: Connection, app_id: str, url: str) -> None:
    """Register a redirect URL.

    :raises InvalidRedirect: no browser could be sent there.
    """
    if not redirect_rules.is_redirect_url(url):
        raise InvalidRedirect
    _add_url(connection, app_redirects, app_id, url)


def add_webhook(connection: Connection, app_id: str, url: str) -> None:
    """Register a webhook.

    :raises InvalidHook: it is no plain address of the web.
    """
    if not redirect_rules.is_web_url(url):
        raise InvalidHook
    _add_url(connection, app_webhooks, app_id, url)


def remove_address(connection: Connection, app_id: str, url: str) -> None:
    """Delete a redirect URL or a webhook from the app's lists."""
    for table in (app_redirects, app_webhooks):
        connection.execute(delete(table).where(table.c.app_id == app_id, table.c.url == url))


def rotate_secret(connection: Connection, app_id: str, *, now: int) -> str:
    """Return a new secret. The newest one so far goes on working; older ones do not."""
    _keep_newest_secrets(connection, app_id, LIVE_SECRETS - 1)
    return _add_secret(connection, app_id, tokens.new_token(), now)


def end_rotation(connection: Connection, app_id: str) -> None:
    """Delete all secrets but the newest."""
    _keep_newest_secrets(connection, app_id, 1)


def change(connection: Connection, app_id: str, **values: bool) -> None:
    """Set columns: ``open_to_all``, ``ids_as_text``, ``allow_private``.

    :raises InvalidApp: there is no such app.
    """
    connection.execute(update(apps).where(apps.c.id == get(connection, app_id).id).values(**values))


def allow(connection: Connection, app_id: str, person_id: int) -> None:
    """Make a person a member of an app that is not open to all."""
    if not _is_member(connection, app_id, person_id):
        connection.execute(insert(app_members).values(app_id=app_id, person_id=person_id))


def disallow(connection: Connection, app_id: str, person_id: int) -> None:
    """End a membership. Logins that exist are ended by ``logouts.log_out_of_app``."""
    which = (app_members.c.app_id == app_id, app_members.c.person_id == person_id)
    connection.execute(delete(app_members).where(*which))


def may_use(connection: Connection, app: App, person_id: int) -> bool:
    """Return whether a person may sign in at an app."""
    return app.open_to_all or _is_member(connection, app.id, person_id)


def _add_secret(connection: Connection, app_id: str, secret: str, now: int) -> str:
    connection.execute(insert(app_secrets).values(app_id=app_id, hash=tokens.digest(secret), created_at=now))
    return secret


def _keep_newest_secrets(connection: Connection, app_id: str, number: int) -> None:
    own = app_secrets.c.app_id == get(connection, app_id).id
    newest = select(app_secrets.c.id).where(own).order_by(app_secrets.c.id.desc()).limit(number)
    connection.execute(delete(app_secrets).where(own, app_secrets.c.id.not_in(newest)))


def _rows(connection: Connection, query: Select[Any], app_id: str) -> Sequence[Row[Any]]:
    """Return a row for each address of an app, and at least one.

    :raises InvalidApp: there is no such app.
    """
    rows = connection.execute(query, {"app_id": app_id}).all() if _APP_ID.fullmatch(app_id) else []
    if not rows:
        raise InvalidApp
    return rows


def _app(rows: Sequence[Row[Any]]) -> App:
    own = {column.name: getattr(rows[0], column.name) for column in apps.c}
    redirects, webhooks = (
        tuple(row.url for row in rows if row.kind == kind) for kind in (app_rows.REDIRECT, app_rows.WEBHOOK)
    )
    return App(**own, redirects=redirects, webhooks=webhooks)


def _is_member(connection: Connection, app_id: str, person_id: int) -> bool:
    return connection.execute(_MEMBER, {"app_id": app_id, "person_id": person_id}).first() is not None


def _add_url(connection: Connection, table: Table, app_id: str, url: str) -> None:
    known = select(table.c.id).where(table.c.app_id == app_id, table.c.url == url)
    if connection.execute(known).first() is None:
        connection.execute(insert(table).values(app_id=app_id, url=url))


_MEMBER = select(app_members.c.app_id).where(
    app_members.c.app_id == bindparam("app_id"), app_members.c.person_id == bindparam("person_id")
)
_SECRETS = (
    select(app_secrets.c.hash).where(app_secrets.c.app_id == bindparam("app_id")).order_by(app_secrets.c.id.desc())
)
