"""Settings that a database keeps of its server. Some are chosen at the first start, and fixed ever after."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from clef_wsgi.server.database import schema
from clef_wsgi.server.errors import ConfigurationError

_settings = schema.settings

ORIGIN = "origin"
"""The server's public address at its last start, for the links of invitations."""


def read(connection: Connection, name: str) -> str | None:
    """Return the value of a setting, ``None`` where there is none."""
    return connection.execute(select(_settings.c.value).where(_settings.c.name == name)).scalar()


def write(connection: Connection, name: str, value: str) -> None:
    """Set a setting, whatever it was. Of processes that start at once, the last one is right."""
    row = _row(connection, name, value)
    connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


def forget(connection: Connection, name: str) -> None:
    """Delete a setting."""
    connection.execute(delete(_settings).where(_settings.c.name == name))


def fix_rp_id(connection: Connection, rp_id: str, *, host: str) -> None:
    """Store the RP id of the passkeys at the first start.

    :param host: that of the server's origin.
    :raises ConfigurationError: another one is stored: no passkey would work any more.
    """
    # of processes that start at once, the first one is right
    connection.execute(_row(connection, "rp_id", rp_id).on_conflict_do_nothing())
    stored = read(connection, "rp_id")
    if stored != rp_id:
        raise ConfigurationError(
            f"rp_id: this database's passkeys were made for {stored} and work nowhere else. "
            f"{_remedy(stored or '', host)}, or with a new database."
        )


def _remedy(stored: str, host: str) -> str:
    """Return what makes a start possible: from a host outside of the RP id's domain nothing does."""
    if host == stored or host.endswith(f".{stored}"):
        return f"Start with --rp-id {stored}"
    return f"Start with --origin https://{stored} or a name under it, and --rp-id {stored}"


def _row(connection: Connection, name: str, value: str) -> sqlite.Insert | postgresql.Insert:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(_settings).values(name=name, value=value)
