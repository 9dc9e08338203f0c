"""The append-only audit log: who did what to whom, when and from where. The database refuses to change an entry.

Entries older than ``--keep-audit`` are dropped, and no others. No secret, token or text of a visitor's choosing
goes in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from clef_wsgi.server.database import settings
from clef_wsgi.server.database.append_only import AUDIT_KEPT_FROM
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.database.schema import audit

AT_ONCE = 500
"""Largest number of entries that :func:`prune` drops at once."""


@dataclass(frozen=True)
class AuditEntry:
    """An entry. ``at`` is in microseconds; ``actor`` and ``subject`` read like ``person:3`` or ``admin``."""

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
    """Write an entry, in the transaction of what it records."""
    row = {"at": now, "actor": actor, "action": action, "subject": subject, "address": address}
    connection.execute(_NEW, {**row, "details": json.dumps(details, sort_keys=True)})


def read(connection: Connection, *, limit: int = 100) -> list[AuditEntry]:
    """Return the last entries, newest first."""
    rows = connection.execute(select(audit).order_by(audit.c.id.desc()).limit(limit)).mappings()
    return [AuditEntry(**{**row, "details": json.loads(row["details"])}) for row in rows]


def prune(database: Database, *, kept_from: int) -> bool:
    """Drop some entries of before ``kept_from``, and return whether there may be more. Takes no lock if there are none.

    The moment stands in the settings while entries are dropped, visible to this transaction alone: see ``APPEND_ONLY``.
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


_NEW = insert(audit)
