"""The step that makes room for old ids: up to 2^53-1, and as text where a site keeps them so."""

from __future__ import annotations

from sqlalchemy import Connection


def widen(connection: Connection) -> None:
    """Widen ids to 64 bits (SQLite's integers are), and give each app a column for how it gets them."""
    if connection.dialect.name == "postgresql":
        for table in ("clef_ids", "deliveries"):
            connection.exec_driver_sql(f"ALTER TABLE {table} ALTER COLUMN clef_id TYPE BIGINT")
    connection.exec_driver_sql("ALTER TABLE apps ADD COLUMN ids_as_text BOOLEAN DEFAULT false NOT NULL")
