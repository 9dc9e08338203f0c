"""Queries of apps: one by name, as pages show it, and one with all that belongs to it.

The latter is one statement with a row for each address, and for each secret where they are asked for. Each row has
the app's own columns, and its ``kind``; an app without any address is one row of no kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import LargeBinary, Select, Table, Text, bindparam, cast, literal, null, select, true, union_all

from clef_wsgi.base import redirect_rules
from clef_wsgi.server.database.schema import app_redirects, app_secrets, app_webhooks, apps


@dataclass(frozen=True)
class NamedApp:
    """An app as people see it on a page: its name, and its first redirect URL if there is one."""

    app_id: str
    name: str
    url: str | None

    @property
    def host(self) -> str:
        """Return what people know the site by, beside its name."""
        return redirect_rules.host_of(self.url) if self.url else ""


_first_redirect = select(app_redirects.c.url).where(app_redirects.c.app_id == apps.c.id).order_by(app_redirects.c.id)
NAMED = (
    apps.c.id.label("app_id"),
    apps.c.name,
    _first_redirect.limit(1).correlate(apps).scalar_subquery().label("url"),
)
"""The columns of a :class:`NamedApp`, in a query over ``apps``."""

REDIRECT, WEBHOOK, SECRET = range(3)
_NO_URL = cast(null(), Text)
_NO_SECRET = cast(null(), LargeBinary)


def _part(kind: int, table: Table, *, url: Any = _NO_URL, secret: Any = _NO_SECRET) -> Select[Any]:
    columns = (literal(kind).label("kind"), table.c.id, url.label("url"), secret.label("secret_hash"))
    return select(*columns).where(table.c.app_id == bindparam("app_id"))


def _with(*parts: Select[Any]) -> Select[Any]:
    """Return a query for an app with a row for each row of ``parts``, or one row where there are none."""
    found = union_all(*parts).subquery()
    query = select(apps, found.c.kind, found.c.url, found.c.secret_hash).select_from(apps.outerjoin(found, true()))
    return query.where(apps.c.id == bindparam("app_id")).order_by(found.c.kind, found.c.id)


_REDIRECTS = _part(REDIRECT, app_redirects, url=app_redirects.c.url)
_WEBHOOKS = _part(WEBHOOK, app_webhooks, url=app_webhooks.c.url)
FOUND = _with(_REDIRECTS, _WEBHOOKS)
FOUND_WITH_SECRETS = _with(_REDIRECTS, _WEBHOOKS, _part(SECRET, app_secrets, secret=app_secrets.c.hash))
