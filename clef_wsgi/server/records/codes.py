"""Authorization codes and access tokens: from a person's approval to a login (Clef wire protocol, sections 2 and 3).

Both live no longer than their session: a logout deletes them in the transaction that notifies the sites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, Text, and_, bindparam, delete, insert, select, update

from clef_wsgi.base.authorization_request import is_proven
from clef_wsgi.server import tokens
from clef_wsgi.server.clock import MINUTE, SECOND
from clef_wsgi.server.database import schema
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.database.schema import access_tokens, codes, sessions, site_logins
from clef_wsgi.server.errors import InvalidCode, InvalidToken, NotAllowed, Unknown
from clef_wsgi.server.records import apps, clef_ids, people
from clef_wsgi.server.records import sessions as session_records
from clef_wsgi.server.records.apps import App
from clef_wsgi.server.records.people import Person
from clef_wsgi.server.records.sessions import Session

CODE_LIFETIME = 60 * SECOND
TOKEN_LIFETIME = 10 * MINUTE


@dataclass(frozen=True)
class Info:
    """The person behind an access token, with the pairwise id for the asking app (``as_text`` or not)."""

    person: Person
    clef_id: int
    as_text: bool


def issue(connection: Connection, *, session: Session, app: App, now: int, code_challenge: str | None = None) -> str:
    """Issue an authorization code: the person of ``session`` approves a login at ``app``.

    :param code_challenge: PKCE, S256 (RFC 7636); then the exchange needs the verifier.
    :raises SessionEnded: there was a logout meanwhile.
    :raises NotAllowed: the person may not use this site.
    """
    people.lock(connection, session.person.id)
    session_records.touch(connection, session.id, now=now)
    if not apps.may_use(connection, app, session.person.id):
        raise NotAllowed
    code = tokens.new_token()
    row = {
        "code_hash": tokens.digest(code),
        "app_id": app.id,
        "person_id": session.person.id,
        "session_id": session.id,
        "code_challenge": code_challenge,
        "created_at": now,
        "expires_at": now + CODE_LIFETIME,
    }
    connection.execute(_NEW_CODE, row)
    return code


def exchange(
    database: Database,
    *,
    app: App,
    code: str,
    now: int,
    webhook_url: str | None = None,
    code_verifier: str | None = None,
) -> str:
    """Exchange a code for an access token; from here on the person is logged in at the site.

    One transaction: the code is consumed, the session is active, the login is written. A second use ends the token
    that the first one gave (RFC 6749, section 4.1.2); the login stays, so that its logout is notified.

    :param webhook_url: a webhook for this login alone; the caller has checked it.
    :raises InvalidCode: unknown, used, expired, revoked, of another app, or with the wrong PKCE verifier.
    """
    with database.writing() as connection:
        row = _consume(connection, app.id, code, now)
        token = None
        if row is not None and is_proven(row.code_challenge, code_verifier):
            token = _log_in(connection, row, webhook_url, now)
    if token is None:  # raised after the commit: what was consumed or revoked stays so
        raise InvalidCode
    return token


def info(connection: Connection, access_token: str, *, now: int) -> Info:
    """Return who is behind an access token.

    :raises InvalidToken: unknown, expired, or its session ended.
    """
    row = connection.execute(_INFO, {"token_hash": tokens.digest(access_token), "now": now}).one_or_none()
    if row is None:
        raise InvalidToken
    values = row._asdict()
    return Info(clef_id=values.pop("clef_id"), as_text=values.pop("ids_as_text"), person=Person(**values))


def _consume(connection: Connection, app_id: str, code: str, now: int) -> Row[Any] | None:
    """Consume a code and return its row; ``None`` where it can't be used.

    The person is locked by a statement that finds them through the code; what the code is worth is read after that.
    """
    code_hash = tokens.digest(code)
    known = {"of_app": app_id, "of_hash": code_hash}
    try:
        people.lock_by_code(connection, app_id, code_hash)
    except Unknown:  # no such code, or its person was removed just now
        return None
    row = connection.execute(_SPENT, {**known, "now": now}).one_or_none()
    if row is None:  # revoked while the lock was waited for, or used before
        connection.execute(_REVOKED, known)
        return None
    return row if row.expires_at > now and session_records.lives(connection, row.session_id, now=now) else None


def _log_in(connection: Connection, row: Row[Any], webhook_url: str | None, now: int) -> str:
    clef_ids.clef_id(connection, row.app_id, row.person_id)
    token = tokens.new_token()
    grant = {"token_hash": tokens.digest(token), "created_at": now, "expires_at": now + TOKEN_LIFETIME}
    origin = {"code_id": row.id, "site_login_id": _site_login(connection, row, webhook_url, now)}
    connection.execute(_NEW_TOKEN, {**grant, **origin, **_owner(row)})
    return token


def _site_login(connection: Connection, row: Row[Any], webhook_url: str | None, now: int) -> int:
    """Record the login at the site. Another one from the same session with the same webhook is the same login."""
    same = {"of_session": row.session_id, "of_person": row.person_id, "of_app": row.app_id, "webhook": webhook_url}
    for login_id in connection.execute(_SAME_LOGIN, {**same, "now": now}).scalars().all():
        return int(login_id)
    login = {**_owner(row), "webhook_url": webhook_url, "created_at": now}
    return int(connection.execute(_NEW_LOGIN, login).scalar_one())


def _owner(row: Row[Any]) -> dict[str, Any]:
    return {"app_id": row.app_id, "person_id": row.person_id, "session_id": row.session_id}


_NOW = bindparam("now", type_=BigInteger)
_this_code = (codes.c.code_hash == bindparam("of_hash"), codes.c.app_id == bindparam("of_app"))
_of_a_code = [codes.c[name] for name in ("id", "app_id", "person_id", "session_id", "code_challenge", "expires_at")]
_NEW_CODE = insert(codes)
_SPENT = update(codes).where(*_this_code, codes.c.used_at.is_(None)).values(used_at=_NOW).returning(*_of_a_code)
_REVOKED = delete(access_tokens).where(
    access_tokens.c.code_id == select(codes.c.id).where(*_this_code).scalar_subquery()
)

_SAME_LOGIN = (
    update(site_logins)
    .where(
        site_logins.c.session_id == bindparam("of_session"),
        site_logins.c.person_id == bindparam("of_person"),
        site_logins.c.app_id == bindparam("of_app"),
        site_logins.c.webhook_url.is_not_distinct_from(bindparam("webhook", type_=Text)),
        site_logins.c.ended_at.is_(None),
    )
    .values(created_at=_NOW)
    .returning(site_logins.c.id)
)
_NEW_LOGIN = insert(site_logins).returning(site_logins.c.id)
_NEW_TOKEN = insert(access_tokens)

_INFO = (
    select(schema.people, schema.clef_ids.c.clef_id, schema.apps.c.ids_as_text)
    .select_from(access_tokens)
    .join(sessions, sessions.c.id == access_tokens.c.session_id)
    .join(schema.people, schema.people.c.id == access_tokens.c.person_id)
    .join(schema.apps, schema.apps.c.id == access_tokens.c.app_id)
    .join(
        schema.clef_ids,
        and_(
            schema.clef_ids.c.app_id == access_tokens.c.app_id, schema.clef_ids.c.person_id == access_tokens.c.person_id
        ),
    )
    .where(
        access_tokens.c.token_hash == bindparam("token_hash"),
        access_tokens.c.expires_at > _NOW,
        schema.people.c.removed_at.is_(None),
        session_records.is_active(_NOW),
    )
)
