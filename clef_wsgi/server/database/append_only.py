"""Triggers that keep the audit append-only: the database itself refuses to change or delete an entry."""

from __future__ import annotations

AUDIT_KEPT_FROM = "audit_kept_from"
"""The setting that lets audit entries of before a moment be dropped, within that transaction alone: see audit.py."""

_MAY_GO = "EXISTS (SELECT 1 FROM settings WHERE name = 'audit_kept_from' AND OLD.at < CAST(value AS BIGINT))"

APPEND_ONLY = {
    "sqlite": [
        "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
        f"CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit WHEN NOT {_MAY_GO}"
        " BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF TG_OP = 'DELETE' AND {_MAY_GO} THEN RETURN OLD; END IF;"
        " RAISE EXCEPTION 'audit is append-only'; END $$",
        "CREATE TRIGGER audit_refuse BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    ],
}
"""Statements that make the audit append-only, for each dialect."""
