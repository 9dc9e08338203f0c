"""Migration steps of the schema: each turns the version before it into its own, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection

from clef_wsgi.server.database.append_only import APPEND_ONLY

Step = Callable[[Connection], object]


def _widen_ids(connection: Connection) -> None:
    """Widen pairwise ids to 64 bits (SQLite's integers are), and give each app a column for how it gets them."""
    if connection.dialect.name == "postgresql":
        for table in ("clef_ids", "deliveries"):
            connection.exec_driver_sql(f"ALTER TABLE {table} ALTER COLUMN clef_id TYPE BIGINT")
    connection.exec_driver_sql("ALTER TABLE apps ADD COLUMN ids_as_text BOOLEAN DEFAULT false NOT NULL")


def _count_calls(connection: Connection) -> None:
    """Number the calls of a delivery, by which the site's exchange confirms it.

    A redirect counts as an answer from here on. A row that was confirmed by its status alone stays confirmed.
    """
    for column in (
        "calls INTEGER NOT NULL DEFAULT 0",
        "asked_call INTEGER",
        "answered_call INTEGER",
        "waits_until BIGINT",
        "hurried_at BIGINT",
    ):
        connection.exec_driver_sql(f"ALTER TABLE deliveries ADD COLUMN {column}")
    connection.exec_driver_sql("UPDATE deliveries SET calls = attempts")
    connection.exec_driver_sql(
        "UPDATE deliveries SET answered_call = attempts, failure = 'not_asked' WHERE failure = 'redirect'"
    )


def _mark_people(connection: Connection) -> None:
    """Add the mark of a logout everywhere, which nobody has yet, and let the audit drop what is no longer kept."""
    for table, column in (
        ("people", "logouts INTEGER NOT NULL DEFAULT 0"),
        ("people", "telling_since BIGINT"),
        ("sessions", "logouts INTEGER NOT NULL DEFAULT 0"),
        ("receipts", "logouts INTEGER"),
    ):
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column}")
    connection.exec_driver_sql("CREATE INDEX people_by_telling ON people (telling_since)")
    statements = APPEND_ONLY[connection.dialect.name]
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(statements[0])
    else:
        connection.exec_driver_sql("DROP TRIGGER audit_no_delete")
        connection.exec_driver_sql(statements[1])


_MADE = (
    *("people", "apps", "app_secrets", "passkeys", "challenges", "enrolments"),
    *("sessions", "site_logins", "codes", "access_tokens", "deliveries", "receipts"),
)
"""Tables that say when a row was made."""

_RENAMED = (
    ("people", "stay_us", "session_lifetime_us"),
    ("people", "telling_since", "notifying_since"),
    ("site_logins", "logout_hook", "webhook_url"),
    ("deliveries", "hook_url", "webhook_url"),
    ("deliveries", "hurried_at", "expedited_at"),
    *((table, "made_at", "created_at") for table in _MADE),
)


_INDEXES = (
    "people_by_notifying ON people (notifying_since)",
    "deliveries_by_turn ON deliveries (app_id, state, coalesce(expedited_at, next_at), id)",
    "deliveries_under_way ON deliveries (app_id, state, claimed_until)",
    "deliveries_by_wait ON deliveries (state, waits_until)",
)


def _rename_columns(connection: Connection) -> None:
    """Rename columns, a table and an index to the words that the code uses; index deliveries. No value changes."""
    for table, old, new in _RENAMED:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    connection.exec_driver_sql("ALTER TABLE app_hooks RENAME TO app_webhooks")
    connection.exec_driver_sql("DROP INDEX people_by_telling")
    for index in _INDEXES:
        connection.exec_driver_sql(f"CREATE INDEX {index}")


STEPS: Mapping[int, Step] = {2: _widen_ids, 3: _count_calls, 4: _mark_people, 5: _rename_columns}
"""Number -> what turns the version before it into it. A new database is made whole, and runs none."""
