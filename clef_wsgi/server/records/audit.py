"""The audit: who did what to whom, when and from where. It only grows; the database refuses the rest.

What is older than the administrator wants it kept goes line by line: the database lets nothing else go.

No secret, token or text of a visitor's choosing goes in. Knows nothing of what the entries mean.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from clef_wsgi.server.database import settings
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.database.schema import AUDIT_KEPT_FROM, audit

AT_ONCE = 500
"""How many lines :func:`prune` drops."""


@dataclass(frozen=True)
class AuditEntry:
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


def read(connection: Connection, *, limit: int = 100) -> list[AuditEntry]:
    """The last lines, newest first."""
    rows = connection.execute(select(audit).order_by(audit.c.id.desc()).limit(limit)).mappings()
    return [AuditEntry(**{**row, "details": json.loads(row["details"])}) for row in rows]


def prune(database: Database, *, kept_from: int) -> bool:
    """Drops some lines of before that moment; whether there may be more. Who finds none holds up nobody.

    The moment stands in the settings while the lines go, and in no other transaction's eyes: see ``APPEND_ONLY``.
    """
    old = select(audit.c.id).where(audit.c.at < kept_from)
    with database.reading() as connection:
        ids = connection.execute(old.order_by(audit.c.at).limit(AT_ONCE)).scalars().all()
    if ids:
        with database.writing() as connection:
            settings.write(connection, AUDIT_KEPT_FROM, str(kept_from))
            connection.execute(delete(audit).where(audit.c.id.in_(ids), audit.c.at < kept_from))
            settings.forget(connection, AUDIT_KEPT_FROM)
    return len(ids) == AT_ONCE
