"""Signing in with a passkey, without a name: the passkey says whose it is.

The page itself is drawn by login.py and account.py. Knows nothing of codes or sessions.
"""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from clef_wsgi.server.ceremonies.verification import PasskeyRefused
from clef_wsgi.server.errors import Refused
from clef_wsgi.server.records import audit
from clef_wsgi.server.web.authorization.views import read_authorization_request, way_on
from clef_wsgi.server.web.passkeys.ceremony import (
    begin_authentication,
    log_refusal,
    prove,
    proving,
    read_json,
    take_answer,
)
from clef_wsgi.server.web.support import cookies
from clef_wsgi.server.web.support.context import server
from clef_wsgi.server.web.support.guard import limit
from clef_wsgi.server.web.support.pages import PageError, error_page, wants_json

blueprint = Blueprint("sign_in", __name__, url_prefix="/sign-in")
PURPOSE = "sign_in"


@blueprint.post("/options")
def options() -> Response:
    """A challenge, and whose it is for nobody knows yet."""
    limit("sign_in")
    return jsonify(begin_authentication(PURPOSE))


@blueprint.post("")
def sign_in() -> Response:
    """The answer. Tells the page where to go on: back to the site whose login is in the query, or home."""
    limit("sign_in")
    if not wants_json():  # the form itself was sent, by a browser that ran no script
        raise PageError("no_script")
    answer, spent = take_answer(read_json().get("credential"), PURPOSE)
    with proving() as connection:
        login = read_authorization_request(connection) if request.query_string else None
        passkey = prove(connection, answer, spent)
        try:
            session = cookies.sign_in(connection, person_id=passkey.person_id, passkey_id=passkey.id)
        except Refused:
            raise PageError("disabled", 403) from None
        actor, subject = f"person:{passkey.person_id}", f"passkey:{passkey.id}"
        now, address = server().clock(), cookies.request_address()
        audit.note(connection, actor=actor, action="sign_in", subject=subject, now=now, address=address)
    server().deliver_soon()  # whoever was signed in here before is logged out
    return jsonify(location=way_on(session, login) if login else "/")


@blueprint.app_errorhandler(PasskeyRefused)
def _refused(refused: PasskeyRefused) -> Response:
    return error_page(log_refusal(refused))
