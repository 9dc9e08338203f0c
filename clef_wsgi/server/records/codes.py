"""Authorization codes and access tokens: from a person's approval to a login (Clef wire protocol, sections 2 and 3).

Both live no longer than their session: a logout deletes them in the transaction that notifies the sites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from clef_wsgi.base.authorization_request import is_proven
from clef_wsgi.server import tokens
from clef_wsgi.server.clock import MINUTE, SECOND
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.database.schema import access_tokens, codes, sessions, site_logins
from clef_wsgi.server.database.schema import apps as apps_table
from clef_wsgi.server.errors import InvalidCode, InvalidToken, NotAllowed, SessionEnded, Unknown
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
    session_records.check_active(connection, session.id, now=now)
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
    connection.execute(insert(codes).values(row))
    session_records.touch(connection, session.id, now=now)
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
    query = select(access_tokens, apps_table.c.ids_as_text).join(sessions, access_tokens.c.session_id == sessions.c.id)
    query = query.join(apps_table, access_tokens.c.app_id == apps_table.c.id)
    which = (access_tokens.c.token_hash == tokens.digest(access_token), access_tokens.c.expires_at > now)
    row = connection.execute(query.where(*which, session_records.is_active(now))).one_or_none()
    if row is None:
        raise InvalidToken
    person = people.get(connection, row.person_id)
    return Info(person, clef_ids.clef_id(connection, row.app_id, row.person_id), row.ids_as_text)


def _consume(connection: Connection, app_id: str, code: str, now: int) -> Row[Any] | None:
    """Consume a code and return its row; ``None`` where it can't be used."""
    query = select(codes).where(codes.c.code_hash == tokens.digest(code), codes.c.app_id == app_id)
    found = connection.execute(query).one_or_none()
    if found is None:
        return None
    try:
        people.lock(connection, found.person_id)
    except Unknown:  # removed just now
        return None
    row = connection.execute(query).one_or_none()  # again, behind the lock: what was read before it may have changed
    if row is None:
        return None
    if row.used_at is not None:
        connection.execute(delete(access_tokens).where(access_tokens.c.code_id == row.id))
        return None
    connection.execute(update(codes).where(codes.c.id == row.id).values(used_at=now))
    return row if row.expires_at > now and _lives(connection, row.session_id, now) else None


def _lives(connection: Connection, session_id: int, now: int) -> bool:
    try:
        session_records.check_active(connection, session_id, now=now)
    except SessionEnded:
        return False
    return True


def _log_in(connection: Connection, row: Row[Any], webhook_url: str | None, now: int) -> str:
    clef_ids.clef_id(connection, row.app_id, row.person_id)
    token = tokens.new_token()
    grant = {
        "token_hash": tokens.digest(token),
        "code_id": row.id,
        "site_login_id": _site_login(connection, row, webhook_url, now),
        "app_id": row.app_id,
        "person_id": row.person_id,
        "session_id": row.session_id,
        "created_at": now,
        "expires_at": now + TOKEN_LIFETIME,
    }
    connection.execute(insert(access_tokens).values(grant))
    return token


def _site_login(connection: Connection, row: Row[Any], webhook_url: str | None, now: int) -> int:
    """Record the login at the site. Another one from the same session with the same webhook is the same login."""
    login = {"session_id": row.session_id, "person_id": row.person_id, "app_id": row.app_id}
    same = [site_logins.c[name] == value for name, value in login.items()]
    same_webhook = site_logins.c.webhook_url.is_not_distinct_from(webhook_url)
    known = select(site_logins.c.id).where(*same, same_webhook, site_logins.c.ended_at.is_(None))
    login_id: int | None = connection.execute(known).scalar()
    if login_id is not None:
        connection.execute(update(site_logins).where(site_logins.c.id == login_id).values(created_at=now))
        return login_id
    new = insert(site_logins).values(**login, webhook_url=webhook_url, created_at=now).returning(site_logins.c.id)
    return int(connection.execute(new).scalar_one())
