"""Sign in with a discoverable credential: no name is typed, the passkey's user handle names its owner."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from clef_wsgi.server.ceremonies.verification import PasskeyRefused
from clef_wsgi.server.errors import Refused
from clef_wsgi.server.web.authorization import flow
from clef_wsgi.server.web.passkeys import ceremony
from clef_wsgi.server.web.support import cookies
from clef_wsgi.server.web.support.context import server
from clef_wsgi.server.web.support.guard import limit
from clef_wsgi.server.web.support.pages import PageError, error_page, wants_json
from clef_wsgi.server.web.support.self_service import note

blueprint = Blueprint("sign_in", __name__, url_prefix="/sign-in")
PURPOSE = "sign_in"


@blueprint.post("/options")
def options() -> Response:
    """Begin an authentication of nobody in particular."""
    limit("sign_in")
    return jsonify(ceremony.begin_authentication(PURPOSE))


@blueprint.post("")
def sign_in() -> Response:
    """Finish it. Answer with where the page goes on: to the site whose login is in the query, or home."""
    limit("sign_in")
    if not wants_json():  # the form itself was sent, by a browser that ran no script
        raise PageError("no_script")
    response, challenge = ceremony.consume_challenge(ceremony.read_json().get("credential"), PURPOSE)
    with ceremony.transaction() as connection:
        login = flow.read_request(connection) if request.query_string else None
        passkey = ceremony.finish_authentication(connection, response, challenge)
        try:
            session = cookies.sign_in(connection, person_id=passkey.person_id, passkey_id=passkey.id)
        except Refused:
            raise PageError("disabled", 403) from None
        note(connection, session, "sign_in", f"passkey:{passkey.id}")
    server().deliver_soon()  # whoever was signed in here before is logged out
    return jsonify(location=flow.next_url(session) if login else "/")


@blueprint.app_errorhandler(PasskeyRefused)
def _refused(refused: PasskeyRefused) -> Response:
    return error_page(ceremony.log_refusal(refused))
