"""The audit: who did what to whom, when and from where. It only grows; the database refuses the rest.

No secret, token or text of a visitor's choosing goes in. Knows nothing of what the entries mean.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from clef_wsgi.server.database.schema import audit


@dataclass(frozen=True)
class Entry:
    """One line. ``at`` is in microseconds; ``actor`` and ``subject`` read like ``person:3`` or ``admin``."""

    id: int
    at: int
    actor: str
    action: str
    subject: str
    details: dict[str, Any]
    address: str


def note(
    connection: Connection,
    *,
    actor: str,
    action: str,
    subject: str,
    now: int,
    address: str = "",
    **details: Any,
) -> None:
    """Writes one line, in the transaction of what it tells of."""
    row = {"at": now, "actor": actor, "action": action, "subject": subject, "address": address}
    connection.execute(insert(audit).values(**row, details=json.dumps(details, sort_keys=True)))


def read(connection: Connection, *, limit: int = 100) -> list[Entry]:
    """The last lines, newest first."""
    rows = connection.execute(select(audit).order_by(audit.c.id.desc()).limit(limit)).mappings()
    return [Entry(**{**row, "details": json.loads(row["details"])}) for row in rows]
