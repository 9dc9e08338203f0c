"""The tables, one schema for SQLite and PostgreSQL.

Time is whole microseconds, UTC. ``*_hash`` is the SHA-256 of 256 random bits: no secret stands here in the
clear, but for the token of a logout that is not confirmed yet, which every attempt must carry.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import SchemaItem

VERSION = 5
"""The schema that this code was written for. A change here needs a step in ``steps.STEPS``."""

metadata = sa.MetaData()

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64 bits in both; only INTEGER numbers rows by itself in SQLite."""


def _numbered(name: str, *parts: SchemaItem) -> sa.Table:
    """Return a table whose rows have a number, ``id``."""
    return sa.Table(name, metadata, sa.Column("id", _Id, primary_key=True), *parts)


def _at(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def _of(name: str, target: str, *, nullable: bool = False, gone: str = "CASCADE", index: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.ForeignKey(target, ondelete=gone), nullable=nullable, index=index)


def _hash(name: str, *, unique: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary, nullable=False, unique=unique)


schema_version = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, nullable=False))

settings = sa.Table(
    "settings",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

people = _numbered(
    "people",
    sa.Column("handle", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("first_name", sa.Text),
    sa.Column("last_name", sa.Text),
    sa.Column("email", sa.Text),
    sa.Column("phone_number", sa.Text),
    _at("session_lifetime_us", nullable=True),  # how long a session lasts; NULL: until the person logs out
    _at("created_at"),
    _at("disabled_at", nullable=True),
    _at("removed_at", nullable=True),  # the row stays, so that its ids at the sites are never given to another
    sa.Column("logouts", sa.Integer, nullable=False, server_default="0"),  # how often they were logged out everywhere
    _at("notifying_since", nullable=True),  # since then: a logout everywhere whose notifications are not all written
    sa.Index("people_by_notifying", "notifying_since"),
)

apps = sa.Table(
    "apps",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    _at("created_at"),
    sa.Column("allow_private", sa.Boolean, nullable=False),
    sa.Column("open_to_all", sa.Boolean, nullable=False),
    # how the API says a person's id
    sa.Column("ids_as_text", sa.Boolean, nullable=False, server_default=sa.text("false")),
)

app_secrets = _numbered(
    "app_secrets",
    _of("app_id", "apps.id", index=False),
    _hash("hash", unique=False),
    _at("created_at"),
    sa.UniqueConstraint("app_id", "hash"),
)

app_redirects, app_webhooks = (
    _numbered(
        name,
        _of("app_id", "apps.id", index=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.UniqueConstraint("app_id", "url"),
    )
    for name in ("app_redirects", "app_webhooks")
)

app_members = sa.Table(
    "app_members",
    metadata,
    sa.Column("app_id", sa.ForeignKey("apps.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("person_id", sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
)

clef_ids = sa.Table(
    "clef_ids",
    metadata,
    sa.Column("app_id", sa.ForeignKey("apps.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("person_id", sa.ForeignKey("people.id", ondelete="RESTRICT"), primary_key=True),
    sa.Column("clef_id", _Id, nullable=False),
    sa.UniqueConstraint("app_id", "clef_id"),
    sa.CheckConstraint("clef_id > 0"),
)

passkeys = _numbered(
    "passkeys",
    _of("person_id", "people.id"),
    sa.Column("credential_id", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    sa.Column("sign_count", sa.BigInteger, nullable=False),
    sa.Column("backup_eligible", sa.Boolean, nullable=False),
    sa.Column("backed_up", sa.Boolean, nullable=False),
    sa.Column("transports", sa.Text, nullable=False),  # a JSON list
    sa.Column("aaguid", sa.String(36), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    _at("created_at"),
    _at("last_used_at", nullable=True),
    _at("count_fell_at", nullable=True),  # the sign count went back: perhaps a copy of the key
)

challenges = _numbered(
    "challenges",
    sa.Column("challenge", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("purpose", sa.String(32), nullable=False),
    _hash("browser_hash", unique=False),
    _of("person_id", "people.id", nullable=True, index=False),
    _of("enrolment_id", "enrolments.id", nullable=True, index=False),
    _at("created_at"),
    _at("expires_at"),
    sa.Index("challenges_by_browser", "browser_hash"),
)

enrolments = _numbered(
    "enrolments",
    _of("person_id", "people.id"),
    _hash("token_hash"),
    sa.Column("purpose", sa.String(16), nullable=False),  # invite, recover
    _at("created_at"),
    _at("expires_at"),
    _at("used_at", nullable=True),
    _at("voided_at", nullable=True),
)

sessions = _numbered(
    "sessions",
    _of("person_id", "people.id"),
    _hash("token_hash"),
    _of("passkey_id", "passkeys.id", nullable=True, gone="SET NULL"),
    _at("created_at"),
    _at("seen_at"),
    _at("expires_at", nullable=True),
    _at("ended_at", nullable=True),
    # the person's at sign-in; once theirs is higher, the session has ended
    sa.Column("logouts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("user_agent", sa.Text, nullable=False),
    sa.Index("sessions_by_expiry", "ended_at", "expires_at"),
)

site_logins = _numbered(
    "site_logins",
    _of("session_id", "sessions.id"),
    _of("person_id", "people.id"),
    _of("app_id", "apps.id"),
    sa.Column("webhook_url", sa.Text),
    _at("created_at"),
    _at("ended_at", nullable=True),
)

codes = _numbered(
    "codes",
    _hash("code_hash"),
    _of("app_id", "apps.id"),
    _of("person_id", "people.id"),
    _of("session_id", "sessions.id"),
    sa.Column("code_challenge", sa.Text),
    _at("created_at"),
    _at("expires_at"),
    _at("used_at", nullable=True),
)

access_tokens = _numbered(
    "access_tokens",
    _hash("token_hash"),
    _of("code_id", "codes.id", nullable=True, gone="SET NULL"),
    _of("site_login_id", "site_logins.id"),
    _of("app_id", "apps.id"),
    _of("person_id", "people.id"),
    _of("session_id", "sessions.id"),
    _at("created_at"),
    _at("expires_at"),
)

deliveries = _numbered(
    "deliveries",
    _of("person_id", "people.id", gone="RESTRICT"),
    _of("app_id", "apps.id"),
    sa.Column("clef_id", _Id, nullable=False),
    sa.Column("webhook_url", sa.Text, nullable=False),
    sa.Column("token", sa.Text),
    _hash("token_hash"),
    # pending, confirmed, given_up; test: of "app test", sent by it alone
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),  # those that count for the back-off
    _at("created_at"),
    _at("next_at"),
    sa.Column("claimed_by", sa.Text),
    _at("claimed_until", nullable=True),
    _at("first_tried_at", nullable=True),
    _at("tried_at", nullable=True),
    sa.Column("status", sa.Integer),
    sa.Column("failure", sa.Text),
    _at("done_at", nullable=True),
    sa.Column("calls", sa.Integer, nullable=False, server_default="0"),  # calls begun; each has a number of its own
    sa.Column("asked_call", sa.Integer),  # the latest call begun when the site last exchanged the token
    sa.Column("answered_call", sa.Integer),  # the latest call that was answered 2xx or 3xx
    _at("waits_until", nullable=True),  # answered: deadline for the exchange; no attempt meanwhile
    _at("expedited_at", nullable=True),  # to be attempted out of turn: somebody waits
    sa.Index("deliveries_due", "state", "next_at"),
    # With thousands of rows pending, no claim may look at each of them.
    sa.Index("deliveries_by_turn", "app_id", "state", sa.text("coalesce(expedited_at, next_at)"), "id"),
    sa.Index("deliveries_under_way", "app_id", "state", "claimed_until"),
    sa.Index("deliveries_by_wait", "state", "waits_until"),
)

receipts = _numbered(
    "receipts",
    _of("person_id", "people.id"),
    _hash("token_hash"),
    sa.Column("scope", sa.String(16), nullable=False),  # everywhere, site, browser
    sa.Column("logouts", sa.Integer),  # everywhere: the mark; logins of sessions with a lower one are listed
    _at("created_at"),
    _at("expires_at"),
)

receipt_sites = _numbered(
    "receipt_sites",
    _of("receipt_id", "receipts.id"),
    _of("app_id", "apps.id"),
    _of("delivery_id", "deliveries.id", nullable=True),  # NULL: the site has no webhook
)

audit = _numbered(
    "audit",
    _at("at"),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),  # a JSON object
    sa.Column("address", sa.Text, nullable=False),
    sa.Index("audit_by_time", "at"),
)
