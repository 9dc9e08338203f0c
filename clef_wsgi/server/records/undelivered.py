"""List unconfirmed notifications row by row, for the administrator. The figures over all of it are in backlog.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from clef_wsgi.server.database.schema import apps, deliveries, people
from clef_wsgi.server.records.outbox import GIVEN_UP, PENDING


@dataclass(frozen=True)
class Row:
    """One notification. Times are in microseconds; ``failure`` is a code of ``delivery.failures``, ``status`` HTTP."""

    id: int
    state: str
    app_id: str
    site: str
    person_id: int
    person: str
    attempts: int
    created_at: int
    next_at: int
    first_tried_at: int | None
    tried_at: int | None
    waits_until: int | None
    status: int | None
    failure: str | None
    done_at: int | None


def read(connection: Connection) -> list[Row]:
    """Return all notifications that no site has confirmed, oldest first."""
    own = [deliveries.c[name] for name in Row.__dataclass_fields__ if name in deliveries.c]
    names = (people.c.first_name, people.c.last_name, people.c.email)
    query = select(*own, apps.c.name.label("site"), *names).select_from(deliveries).join(apps).join(people)
    unheard = deliveries.c.state.in_((PENDING, GIVEN_UP))
    found = connection.execute(query.where(unheard).order_by(deliveries.c.id)).mappings()
    return [_row(dict(row)) for row in found]


def _row(row: dict[str, Any]) -> Row:
    first, last, email = (row.pop(name) for name in ("first_name", "last_name", "email"))
    person = " ".join(filter(None, (first, last))) or email or f"#{row['person_id']}"  # removed: a number is left
    return Row(**row, person=person)
