"""Manage one's own passkeys: list, rename, add, remove.

Adding and removing need an assertion for just that, a moment ago: a browser that was left signed in is not enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Blueprint, Response, jsonify, request
from sqlalchemy import Connection

from clef_wsgi.server import names
from clef_wsgi.server.ceremonies.verification import PasskeyRefused
from clef_wsgi.server.errors import Unknown
from clef_wsgi.server.records import passkeys
from clef_wsgi.server.records.passkeys import MAX_NAME_LENGTH, LastPasskey
from clef_wsgi.server.records.sessions import Session
from clef_wsgi.server.web.passkeys import ceremony
from clef_wsgi.server.web.support import cookies, self_service
from clef_wsgi.server.web.support.context import server
from clef_wsgi.server.web.support.guard import limit
from clef_wsgi.server.web.support.pages import PageError, error_page, render, see_other
from clef_wsgi.server.web.support.user_agents import device_name

blueprint = Blueprint("passkeys", __name__, url_prefix="/passkeys")
MAY_ADD, ADD = "may_add", "add"
_ONE = "/<int(max=9007199254740991):passkey_id>"


@blueprint.get("")
def overview() -> Response:
    """List the passkeys of who is signed in."""
    with server().database.reading() as connection:
        session = cookies.current_session(connection)
        keys = passkeys.of_person(connection, session.person.id) if session else []
    if session is None:
        return see_other("/")
    return render("passkeys.html", session=session, person=session.person, passkeys=keys)


@blueprint.post("/add/sign")
def ask_whether_to_add() -> Response:
    """Begin the authentication that adding needs: step one of three."""
    limit("sign_in")
    return jsonify(ceremony.begin_authentication(MAY_ADD, self_service.current().person))


@blueprint.post("/add/options")
def begin_to_add() -> Response:
    """Finish it and begin the registration: step two."""
    limit("sign_in")
    with _confirmed(MAY_ADD) as (connection, session):
        return jsonify(ceremony.begin_registration(connection, ADD, session.person))


@blueprint.post("/add")
def add() -> Response:
    """Finish the registration: step three."""
    limit("sign_in")
    response, challenge = ceremony.consume_challenge(ceremony.read_json().get("credential"), ADD)
    with ceremony.transaction() as connection:
        session = self_service.locked(connection)
        if session.person.id != challenge.person_id:
            raise PasskeyRefused("other_person")
        credential = ceremony.finish_registration(response, challenge)
        name, now = device_name(request.user_agent.string), server().clock()
        passkey_id = passkeys.add(connection, session.person.id, credential, name=name, now=now)
        self_service.note(connection, session, "passkey.add", f"passkey:{passkey_id}")
    return jsonify(location="/passkeys")


@blueprint.post(f"{_ONE}/sign")
def ask_whether_to_remove(passkey_id: int) -> Response:
    """Begin the authentication that removing needs: step one of two."""
    limit("sign_in")
    return jsonify(ceremony.begin_authentication(_may_remove(passkey_id), self_service.current().person))


@blueprint.post(f"{_ONE}/remove")
def remove(passkey_id: int) -> Response:
    """Finish it and remove the passkey. Sessions that began with it end, this one aside."""
    limit("sign_in")
    with _confirmed(_may_remove(passkey_id)) as (connection, session):
        passkeys.remove(connection, session.person.id, passkey_id, now=server().clock(), stays=session.id)
        self_service.note(connection, session, "passkey.remove", f"passkey:{passkey_id}")
    server().deliver_soon()
    return jsonify(location="/passkeys")


@blueprint.post(f"{_ONE}/rename")
def rename(passkey_id: int) -> Response:
    """Rename a passkey, with no assertion, since a name opens nothing."""
    limit("account")
    name = names.tidied(request.form.get("name", ""))
    if not names.is_name(name, MAX_NAME_LENGTH):
        raise PageError("bad_name")
    with self_service.changing() as (connection, session):
        passkeys.rename(connection, session.person.id, passkey_id, name)
        self_service.note(connection, session, "passkey.rename", f"passkey:{passkey_id}")
    return see_other(f"/passkeys?saved={passkey_id}#saved")


@blueprint.errorhandler(Unknown)
def _unknown(_error: Unknown) -> Response:
    return error_page(PageError("not_found", 404))


@blueprint.errorhandler(LastPasskey)
def _last(_error: LastPasskey) -> Response:
    return error_page(PageError("last_passkey"))


def _may_remove(passkey_id: int) -> str:
    """Return the purpose of an assertion that is good for removing this passkey and nothing else."""
    return f"remove:{passkey_id}"


@contextmanager
def _confirmed(purpose: str) -> Iterator[tuple[Connection, Session]]:
    """Open a transaction for the session at hand, whose person has just signed an assertion for this purpose."""
    response, challenge = ceremony.consume_challenge(ceremony.read_json().get("credential"), purpose)
    with ceremony.transaction() as connection:
        session = self_service.locked(connection)
        ceremony.finish_authentication(connection, response, challenge, expected=session.person)
        yield connection, session
