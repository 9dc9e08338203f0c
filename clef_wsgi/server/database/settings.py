"""What a database remembers about its server: chosen at the first start, the same ever after."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from clef_wsgi.server.database import schema
from clef_wsgi.server.errors import ConfigurationError

_settings = schema.settings


def read(connection: Connection, name: str) -> str | None:
    """The value of a setting, ``None`` where there is none."""
    return connection.execute(select(_settings.c.value).where(_settings.c.name == name)).scalar()


def write(connection: Connection, name: str, value: str) -> None:
    """Sets a setting, whatever it was."""
    connection.execute(delete(_settings).where(_settings.c.name == name))
    connection.execute(insert(_settings).values(name=name, value=value))


def fix_rp_id(connection: Connection, rp_id: str) -> None:
    """Stores the domain of the passkeys at the first start.

    :raises ConfigurationError: another one is stored: no passkey would work any more.
    """
    stored = read(connection, "rp_id")
    if stored is None:
        write(connection, "rp_id", rp_id)
    elif stored != rp_id:
        raise ConfigurationError(
            f"rp_id: this database's passkeys were made for {stored} and work nowhere else. "
            f"Start with --rp-id {stored}, or with a new database."
        )
