"""Logins at sites: what the account page shows, and what a logout is about to end."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select

from clef_wsgi.server.database.schema import apps, site_logins
from clef_wsgi.server.records.app_rows import NAMED, NamedApp
from clef_wsgi.server.records.sessions import began_before_the_mark


@dataclass(frozen=True)
class SiteLogin(NamedApp):
    """A site at which a person is logged in, from one browser or several. ``since`` is the oldest login's time."""

    since: int


def of_person(connection: Connection, person_id: int, **which: int | str) -> list[SiteLogin]:
    """Return the sites at which a person is logged in, by name.

    :param which: ``app_id`` for this one alone, ``session_id`` for those of one browser alone.
    """
    query = select(*NAMED, func.min(site_logins.c.created_at).label("since"))
    query = query.select_from(site_logins).join(apps, apps.c.id == site_logins.c.app_id)
    query = query.where(site_logins.c.person_id == person_id, is_active())
    query = query.where(*(site_logins.c[name] == value for name, value in which.items()))
    rows = connection.execute(query.group_by(apps.c.id, apps.c.name).order_by(apps.c.name))
    return [SiteLogin(**row._mapping) for row in rows]


def is_active() -> ColumnElement[bool]:
    """Return the condition for a login that no logout has ended."""
    return site_logins.c.ended_at.is_(None) & ~began_before_the_mark(site_logins)


def awaits_notification() -> ColumnElement[bool]:
    """Return the condition for a login that a mark has ended and whose notification is not in the outbox yet."""
    return site_logins.c.ended_at.is_(None) & began_before_the_mark(site_logins)
