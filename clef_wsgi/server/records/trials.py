"""Send a true notification of somebody who does not exist, with which an administrator tries a webhook.

Its row is sent by whoever wrote it and by nobody else; it counts nowhere, and is deleted afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, insert, select, update

from clef_wsgi.server.database import settings
from clef_wsgi.server.database.schema import deliveries
from clef_wsgi.server.database.schema import people as people_table
from clef_wsgi.server.records import clef_ids, outbox, people

_NOBODY = "nobody"
"""The setting that holds the id of the person whom nobody is."""


@dataclass(frozen=True)
class Trial:
    """The row, and the token to send."""

    id: int
    token: str = field(repr=False)


def begin(connection: Connection, app_id: str, webhook_url: str, *, now: int) -> Trial:
    """Make a token that the app can exchange for a number that no person has, ever."""
    person_id = _nobody(connection, now)
    columns = outbox.new_token(connection, app_id)
    row = {"person_id": person_id, "app_id": app_id, "webhook_url": webhook_url, "state": outbox.TEST}
    number = clef_ids.clef_id(connection, app_id, person_id)
    moments = {"created_at": now, "next_at": now, "tried_at": now}
    new = insert(deliveries).values(**row, **columns, **moments, clef_id=number, attempts=1, calls=1)
    return Trial(connection.execute(new.returning(deliveries.c.id)).scalar_one(), str(columns["token"]))


def is_exchanged(connection: Connection, trial: Trial) -> bool:
    """Return whether the app has asked who it was."""
    return connection.execute(select(deliveries.c.asked_call).where(deliveries.c.id == trial.id)).scalar() is not None


def end(connection: Connection, trial: Trial) -> None:
    """Delete the trial. Nothing is left of it but the number."""
    connection.execute(delete(deliveries).where(deliveries.c.id == trial.id, deliveries.c.state == outbox.TEST))


def _nobody(connection: Connection, now: int) -> int:
    known = settings.read(connection, _NOBODY)
    if known is not None:
        return int(known)
    person = people.add(connection, now=now)
    connection.execute(update(people_table).where(people_table.c.id == person.id).values(removed_at=now))
    settings.write(connection, _NOBODY, str(person.id))
    return person.id
