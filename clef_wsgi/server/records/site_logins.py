"""Logins at sites: what the account page shows, and what a logout is about to end."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select

from clef_wsgi.base import redirect_rules
from clef_wsgi.server.database.schema import apps, site_logins
from clef_wsgi.server.records.apps import home_url
from clef_wsgi.server.records.sessions import began_before_the_mark


@dataclass(frozen=True)
class SiteLogin:
    """A site at which a person is logged in, from one browser or several. ``since`` is the oldest login's time."""

    app_id: str
    name: str
    url: str | None
    since: int

    @property
    def host(self) -> str:
        """Return what people know the site by, beside its name."""
        return redirect_rules.host_of(self.url) if self.url else ""


def of_person(
    connection: Connection, person_id: int, *, app_id: str | None = None, session_id: int | None = None
) -> list[SiteLogin]:
    """Return the sites at which a person is logged in, by name.

    :param app_id: this one alone, if any.
    :param session_id: those of one browser alone.
    """
    columns = (apps.c.id.label("app_id"), apps.c.name, home_url().label("url"))
    query = select(*columns, func.min(site_logins.c.created_at).label("since"))
    query = query.select_from(site_logins).join(apps, apps.c.id == site_logins.c.app_id)
    query = query.where(site_logins.c.person_id == person_id, is_active())
    if app_id is not None:
        query = query.where(site_logins.c.app_id == app_id)
    if session_id is not None:
        query = query.where(site_logins.c.session_id == session_id)
    rows = connection.execute(query.group_by(apps.c.id, apps.c.name).order_by(apps.c.name))
    return [SiteLogin(**row._mapping) for row in rows]


def is_active() -> ColumnElement[bool]:
    """Return the condition for a login that no logout has ended."""
    return site_logins.c.ended_at.is_(None) & ~began_before_the_mark(site_logins)


def awaits_notification() -> ColumnElement[bool]:
    """Return the condition for a login that a mark has ended and whose notification is not in the outbox yet."""
    return site_logins.c.ended_at.is_(None) & began_before_the_mark(site_logins)
