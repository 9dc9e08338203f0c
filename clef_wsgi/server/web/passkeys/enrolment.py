"""Enrol by a one-time link: register a person's first passkey, or the first after a loss.

The link's secret is in the fragment, which browsers send to nobody; the page's script reads it and sends it
here. Looking at a link does not consume it, so that no preview does: registering the passkey does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, jsonify, request
from sqlalchemy import Connection

from clef_wsgi.server.ceremonies.verification import PasskeyRefused
from clef_wsgi.server.credentials import NewCredential
from clef_wsgi.server.errors import LinkInvalid
from clef_wsgi.server.records import deactivation, enrolments, passkeys, people
from clef_wsgi.server.records.enrolments import Enrolment
from clef_wsgi.server.web.passkeys import ceremony
from clef_wsgi.server.web.support import cookies
from clef_wsgi.server.web.support.context import server
from clef_wsgi.server.web.support.guard import limit
from clef_wsgi.server.web.support.pages import PageError, error_page, render, wants_json
from clef_wsgi.server.web.support.self_service import note, read_names
from clef_wsgi.server.web.support.user_agents import device_name

blueprint = Blueprint("enrol", __name__, url_prefix="/enrol")
PURPOSE = "enrol"


@blueprint.get("")
def page() -> Response:
    """Show the page, the same for every link, since no secret is sent with this."""
    return render("enrol.html")


@blueprint.post("/look")
def look() -> Response:
    """Answer whom a link is for."""
    limit("enrolment")
    with server().database.reading() as connection:
        found = enrolments.find(connection, _secret(ceremony.read_json()), now=server().clock())
    person = found.person
    return jsonify(
        first_name=person.first_name or "",
        last_name=person.last_name or "",
        email=person.email or "",
        is_recovery=found.purpose == enrolments.RECOVER,
    )


@blueprint.post("/options")
def options() -> Response:
    """Begin the registration. The passkey will carry the names as they are on the page now."""
    limit("enrolment")
    body = ceremony.read_json()
    with server().database.writing() as connection:
        found = enrolments.find(connection, _secret(body), now=server().clock())
        first, last = read_names(body)
        person = replace(found.person, first_name=first, last_name=last)
        return jsonify(ceremony.begin_registration(connection, PURPOSE, person, enrolment_id=found.id))


@blueprint.post("")
def enrol() -> Response:
    """Finish the registration, consume the link, and sign the person in."""
    limit("enrolment")
    if not wants_json():
        raise PageError("no_script")
    body = ceremony.read_json()
    first, last = read_names(body)
    response, challenge = ceremony.consume_challenge(body.get("credential"), PURPOSE)
    with ceremony.transaction() as connection:
        found = enrolments.consume(connection, _secret(body), now=server().clock())
        if found.id != challenge.enrolment_id:
            raise PasskeyRefused("other_link")
        credential = ceremony.finish_registration(response, challenge)
        people.change(connection, found.person.id, first_name=first, last_name=last)
        _take_in(connection, found, credential)
    server().deliver_soon()  # a recovery logs out everywhere
    return jsonify(location="/")


def _take_in(connection: Connection, found: Enrolment, credential: NewCredential) -> None:
    person_id, now = found.person.id, server().clock()
    if found.purpose == enrolments.RECOVER:
        deactivation.revoke_credentials(connection, person_id, now=now)
    name = device_name(request.user_agent.string)
    passkey_id = passkeys.add(connection, person_id, credential, name=name, now=now)
    session = cookies.sign_in(connection, person_id=person_id, passkey_id=passkey_id)
    note(connection, session, "enrol", f"passkey:{passkey_id}", purpose=found.purpose)


@blueprint.errorhandler(LinkInvalid)
def _invalid(_error: LinkInvalid) -> Response:
    return error_page(PageError("link_invalid", 403))


def _secret(body: dict[str, Any]) -> str:
    return str(body.get("secret", ""))
