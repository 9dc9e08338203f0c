"""The API of relying parties: ``authorize``, ``info``, ``logout`` (Clef wire protocol, sections 2 to 4).

Old clients look an error's string up in a table and crash on one they don't know, under 400 and 403: so these say
one of the strings they know. Under other statuses they show the text: so it says what is so. Answers are never
redirects.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, jsonify, request
from sqlalchemy import Connection

from clef_wsgi.server import errors
from clef_wsgi.server.clock import SECOND
from clef_wsgi.server.delivery.outcomes import log_recovery
from clef_wsgi.server.errors import DatabaseUnavailable, InvalidApp, InvalidToken, Refused
from clef_wsgi.server.records import apps, codes, confirmations, outbox
from clef_wsgi.server.records.apps import App
from clef_wsgi.server.records.people import Person
from clef_wsgi.server.web.support.context import request_address, server
from clef_wsgi.server.web.support.rate_limit import TooManyRequests

blueprint = Blueprint("api", __name__, url_prefix="/api")

_STATUS: dict[type[Refused], int] = {
    **dict.fromkeys((InvalidApp, errors.InvalidSecret, errors.InvalidCode, InvalidToken), 403),
    **dict.fromkeys((errors.InvalidHook, errors.InvalidLogoutToken), 400),
}

_WORDS = {
    404: "There is no such call.",
    405: "This call does not work that way: authorize and logout are POST, info is GET.",
    413: "Too much was sent.",
    429: "Too many requests.",
    500: "Something went wrong.",
    503: "Unavailable.",
}


@blueprint.post("/v1/authorize", provide_automatic_options=False)
def authorize() -> Response:
    """Exchange a code for an access token (section 2)."""
    webhook_url = _optional("logout_hook")
    app = server().database.look(_app)
    if webhook_url is not None:
        app.check_webhook(webhook_url)
    token = codes.exchange(
        server().database,
        app=app,
        code=_field("code"),
        now=server().clock(),
        webhook_url=webhook_url,
        code_verifier=_optional("code_verifier"),
    )
    server().metrics.logged_in()
    return jsonify(success=True, access_token=token, **_oauth_fields())


@blueprint.get("/v1/info", provide_automatic_options=False)
def info() -> Response:
    """Return the person behind an access token (section 3)."""
    token = _only(request.args.getlist("access_token")) or _bearer()
    now = server().clock()
    known = server().database.look(lambda connection: codes.info(connection, token, now=now))
    return jsonify(success=True, info={"id": _id(known.clef_id, known.as_text), **_profile(known.person)})


@blueprint.post("/v1/logout", provide_automatic_options=False)
def logout() -> Response:
    """Exchange a logout token for the pairwise id of who logged out (section 4).

    That confirms the delivery, if the site answers the notification too.
    """
    app = server().database.look(_app)
    found = confirmations.exchange(server().database, app.id, _field("logout_token"), now=server().clock())
    if found.confirmed_after_us is not None:
        server().metrics.delivered(outbox.CONFIRMED, found.confirmed_after_us / SECOND)
    if found.is_recovery:
        log_recovery(app)
    return jsonify(success=True, clef_id=_id(found.clef_id, app.ids_as_text))


def error(status: int, retry_after: int | None = None) -> Response:
    """Answer an error that is none of the three calls' own: wrong path or method, body too large, database down."""
    server().metrics.refused({429: "too_many", 503: "unavailable"}.get(status, "wrong_call"))
    if status in (400, 403):
        text = str(InvalidToken() if request.path.endswith("/info") else InvalidApp())
    else:
        text = _WORDS.get(status, "This can't be answered.")
    response = _refusal(text, status)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


@blueprint.errorhandler(DatabaseUnavailable)
def _unavailable(down: DatabaseUnavailable) -> Response:
    return error(503, down.retry_after)


@blueprint.errorhandler(Refused)
def _refused(refused: Refused) -> Response:
    """Count a refusal and answer it. Only refusals count toward the rate limit, and only they are turned away by it.

    So a call that authenticates is never turned away for what strangers send from its address, or make its app ask.
    """
    try:
        if "proven_app" in g:
            server().limiter.hit("refused_calls_of_an_app", g.proven_app)
        else:
            server().limiter.hit("refused_calls", request_address())
    except TooManyRequests as flood:
        return error(429, flood.retry_after)
    server().metrics.refused(type(refused))
    return _refusal(str(refused), _STATUS[type(refused)])


def _refusal(text: str, status: int) -> Response:
    response = jsonify(success=False, error=text)
    response.status_code = status
    return response


def _id(number: int, as_text: bool) -> int | str:
    """Return a pairwise id as the app wants it: a text column can't hold a number (wire protocol, section 5)."""
    return str(number) if as_text else number


def _app(connection: Connection) -> App:
    """Authenticate the app: in Clef's spelling, OAuth's, or by HTTP Basic (RFC 6749, section 2.3.1)."""
    basic = request.authorization if request.authorization and request.authorization.type == "basic" else None
    app_id = _field("app_id") or _field("client_id") or (basic and basic.username) or ""
    secret = _field("app_secret") or _field("client_secret") or (basic and basic.password) or ""
    app = apps.proven(connection, app_id, secret)
    g.proven_app = app.id
    return app


def _profile(person: Person) -> dict[str, str]:
    """Return what is known of a person. What is not is left out, never null."""
    names = ("first_name", "last_name", "email", "phone_number")
    return {name: value for name in names if (value := getattr(person, name))}


def _oauth_fields() -> dict[str, Any]:
    """Return the fields of RFC 6749, section 5.1, to a client that speaks OAuth."""
    if "grant_type" not in request.form:
        return {}
    return {"token_type": "bearer", "expires_in": codes.TOKEN_LIFETIME // 1_000_000}


def _field(name: str) -> str:
    return _only(request.form.getlist(name))


def _optional(name: str) -> str | None:
    return _field(name) if name in request.form else None


def _only(values: list[str]) -> str:
    """Return the one value; a field that is there twice is taken as empty."""
    return values[0] if len(values) == 1 else ""


def _bearer() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
