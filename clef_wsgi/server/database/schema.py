"""The tables, one schema for SQLite and PostgreSQL.

Time is whole microseconds, UTC. ``*_hash`` is the SHA-256 of 256 random bits: no secret stands here in the
clear, but for the token of a logout that is not confirmed yet, which every attempt must carry.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

VERSION = 5
"""The schema that this code was written for. A change here needs a step in ``steps.STEPS``."""

metadata = MetaData()

_Id = BigInteger().with_variant(Integer(), "sqlite")  # 64 bits in both; only INTEGER numbers rows by itself in SQLite


def _id() -> Column[Any]:
    return Column("id", _Id, primary_key=True)


def _at(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, BigInteger, nullable=nullable)


def _of(name: str, target: str, *, nullable: bool = False, gone: str = "CASCADE", index: bool = True) -> Column[Any]:
    return Column(name, ForeignKey(target, ondelete=gone), nullable=nullable, index=index)


def _hash(name: str, *, unique: bool = True) -> Column[Any]:
    return Column(name, LargeBinary, nullable=False, unique=unique)


schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

settings = Table(
    "settings",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

people = Table(
    "people",
    metadata,
    _id(),
    Column("handle", LargeBinary, nullable=False, unique=True),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("email", Text),
    Column("phone_number", Text),
    _at("session_lifetime_us", nullable=True),  # how long a session lasts; NULL: until the person logs out
    _at("created_at"),
    _at("disabled_at", nullable=True),
    _at("removed_at", nullable=True),  # the row stays, so that its ids at the sites are never given to another
    Column("logouts", Integer, nullable=False, server_default="0"),  # how often they were logged out everywhere
    _at("notifying_since", nullable=True),  # since then: a logout everywhere whose notifications are not all written
    Index("people_by_notifying", "notifying_since"),
)

apps = Table(
    "apps",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _at("created_at"),
    Column("allow_private", Boolean, nullable=False),
    Column("open_to_all", Boolean, nullable=False),
    Column("ids_as_text", Boolean, nullable=False, server_default=text("false")),  # how the API says a person's id
)

app_secrets = Table(
    "app_secrets",
    metadata,
    _id(),
    _of("app_id", "apps.id", index=False),
    _hash("hash", unique=False),
    _at("created_at"),
    UniqueConstraint("app_id", "hash"),
)

app_redirects, app_webhooks = (
    Table(
        name,
        metadata,
        _id(),
        _of("app_id", "apps.id", index=False),
        Column("url", Text, nullable=False),
        UniqueConstraint("app_id", "url"),
    )
    for name in ("app_redirects", "app_webhooks")
)

app_members = Table(
    "app_members",
    metadata,
    Column("app_id", ForeignKey("apps.id", ondelete="CASCADE"), primary_key=True),
    Column("person_id", ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
)

clef_ids = Table(
    "clef_ids",
    metadata,
    Column("app_id", ForeignKey("apps.id", ondelete="CASCADE"), primary_key=True),
    Column("person_id", ForeignKey("people.id", ondelete="RESTRICT"), primary_key=True),
    Column("clef_id", _Id, nullable=False),
    UniqueConstraint("app_id", "clef_id"),
    CheckConstraint("clef_id > 0"),
)

passkeys = Table(
    "passkeys",
    metadata,
    _id(),
    _of("person_id", "people.id"),
    Column("credential_id", LargeBinary, nullable=False, unique=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("backup_eligible", Boolean, nullable=False),
    Column("backed_up", Boolean, nullable=False),
    Column("transports", Text, nullable=False),  # a JSON list
    Column("aaguid", String(36), nullable=False),
    Column("name", Text, nullable=False),
    _at("created_at"),
    _at("last_used_at", nullable=True),
    _at("count_fell_at", nullable=True),  # the sign count went back: perhaps a copy of the key
)

challenges = Table(
    "challenges",
    metadata,
    _id(),
    Column("challenge", LargeBinary, nullable=False, unique=True),
    Column("purpose", String(32), nullable=False),
    _hash("browser_hash", unique=False),
    _of("person_id", "people.id", nullable=True, index=False),
    _of("enrolment_id", "enrolments.id", nullable=True, index=False),
    _at("created_at"),
    _at("expires_at"),
    Index("challenges_by_browser", "browser_hash"),
)

enrolments = Table(
    "enrolments",
    metadata,
    _id(),
    _of("person_id", "people.id"),
    _hash("token_hash"),
    Column("purpose", String(16), nullable=False),  # invite, recover
    _at("created_at"),
    _at("expires_at"),
    _at("used_at", nullable=True),
    _at("voided_at", nullable=True),
)

sessions = Table(
    "sessions",
    metadata,
    _id(),
    _of("person_id", "people.id"),
    _hash("token_hash"),
    _of("passkey_id", "passkeys.id", nullable=True, gone="SET NULL"),
    _at("created_at"),
    _at("seen_at"),
    _at("expires_at", nullable=True),
    _at("ended_at", nullable=True),
    Column(
        "logouts", Integer, nullable=False, server_default="0"
    ),  # the person's at sign-in; once theirs is higher, the session has ended
    Column("address", Text, nullable=False),
    Column("user_agent", Text, nullable=False),
    Index("sessions_by_expiry", "ended_at", "expires_at"),
)

site_logins = Table(
    "site_logins",
    metadata,
    _id(),
    _of("session_id", "sessions.id"),
    _of("person_id", "people.id"),
    _of("app_id", "apps.id"),
    Column("webhook_url", Text),
    _at("created_at"),
    _at("ended_at", nullable=True),
)

codes = Table(
    "codes",
    metadata,
    _id(),
    _hash("code_hash"),
    _of("app_id", "apps.id"),
    _of("person_id", "people.id"),
    _of("session_id", "sessions.id"),
    Column("code_challenge", Text),
    _at("created_at"),
    _at("expires_at"),
    _at("used_at", nullable=True),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    _id(),
    _hash("token_hash"),
    _of("code_id", "codes.id", nullable=True, gone="SET NULL"),
    _of("site_login_id", "site_logins.id"),
    _of("app_id", "apps.id"),
    _of("person_id", "people.id"),
    _of("session_id", "sessions.id"),
    _at("created_at"),
    _at("expires_at"),
)

deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    _of("person_id", "people.id", gone="RESTRICT"),
    _of("app_id", "apps.id"),
    Column("clef_id", _Id, nullable=False),
    Column("webhook_url", Text, nullable=False),
    Column("token", Text),
    _hash("token_hash"),
    Column("state", String(16), nullable=False),  # pending, confirmed, given_up; test: of "app test", sent by it alone
    Column("attempts", Integer, nullable=False),  # those that count for the back-off
    _at("created_at"),
    _at("next_at"),
    Column("claimed_by", Text),
    _at("claimed_until", nullable=True),
    _at("first_tried_at", nullable=True),
    _at("tried_at", nullable=True),
    Column("status", Integer),
    Column("failure", Text),
    _at("done_at", nullable=True),
    Column("calls", Integer, nullable=False, server_default="0"),  # calls begun; each has a number of its own
    Column("asked_call", Integer),  # the latest call begun when the site last exchanged the token
    Column("answered_call", Integer),  # the latest call that was answered 2xx or 3xx
    _at("waits_until", nullable=True),  # answered: deadline for the exchange; no attempt meanwhile
    _at("expedited_at", nullable=True),  # to be attempted out of turn: somebody waits
    Index("deliveries_due", "state", "next_at"),
)

receipts = Table(
    "receipts",
    metadata,
    _id(),
    _of("person_id", "people.id"),
    _hash("token_hash"),
    Column("scope", String(16), nullable=False),  # everywhere, site, browser
    Column("logouts", Integer),  # everywhere: the mark; logins of sessions with a lower one are listed
    _at("created_at"),
    _at("expires_at"),
)

receipt_sites = Table(
    "receipt_sites",
    metadata,
    _id(),
    _of("receipt_id", "receipts.id"),
    _of("app_id", "apps.id"),
    _of("delivery_id", "deliveries.id", nullable=True),  # NULL: the site has no webhook
)

audit = Table(
    "audit",
    metadata,
    _id(),
    _at("at"),
    Column("actor", Text, nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Text, nullable=False),  # a JSON object
    Column("address", Text, nullable=False),
    Index("audit_by_time", "at"),
)

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
