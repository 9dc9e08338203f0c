"""Begin and finish the WebAuthn registration and authentication ceremonies, for the views with a passkey button.

Every refusal reads the same to people; its reason goes to the log.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import request
from sqlalchemy import Connection

from clef_wsgi.server.ceremonies import options, verification
from clef_wsgi.server.ceremonies.options import RelyingParty
from clef_wsgi.server.ceremonies.verification import CredentialResponse, PasskeyRefused, SignCountFell
from clef_wsgi.server.credentials import NewCredential
from clef_wsgi.server.errors import Unknown
from clef_wsgi.server.records import audit, challenges, passkeys, people
from clef_wsgi.server.records.challenges import Challenge, ChallengeRefused
from clef_wsgi.server.records.passkeys import Passkey, PasskeyTaken
from clef_wsgi.server.records.people import Person
from clef_wsgi.server.web.support import cookies
from clef_wsgi.server.web.support.context import request_address, server
from clef_wsgi.server.web.support.pages import PageError

_log = logging.getLogger(__name__)


def read_json() -> dict[str, Any]:
    """Read the JSON object that a script of ours sent.

    :raises PageError: it is none.
    """
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise PageError("bad_request")
    return body


def begin_authentication(purpose: str, person: Person | None = None) -> dict[str, Any]:
    """Return options for ``navigator.credentials.get()``: any discoverable credential, or one of ``person``."""
    with server().database.writing() as connection:
        challenge = _issue(connection, purpose, person_id=person.id if person else None)
        known = passkeys.of_person(connection, person.id) if person else []
    allowed = [passkey.credential_id for passkey in known]
    return options.assertion_options(_relying_party(), challenge=challenge, allowed=allowed)


def begin_registration(
    connection: Connection, purpose: str, person: Person, *, enrolment_id: int | None = None
) -> dict[str, Any]:
    """Return options for ``navigator.credentials.create()``."""
    return options.registration_options(
        _relying_party(),
        challenge=_issue(connection, purpose, person_id=person.id, enrolment_id=enrolment_id),
        user_handle=person.handle,
        user_name=person.email or person.display_name,
        display_name=person.display_name,
        known=[passkey.credential_id for passkey in passkeys.of_person(connection, person.id)],
    )


def consume_challenge(credential: object, purpose: str) -> tuple[CredentialResponse, Challenge]:
    """Read a response and consume its challenge, for good, whatever the response is worth.

    :raises PasskeyRefused: it answers no challenge that this browser was given for this purpose.
    """
    response = verification.read_response(credential)
    hash_, now = cookies.browser_hash(), server().clock()
    try:
        with server().database.writing() as connection:
            challenge = challenges.consume(connection, response.challenge, purpose=purpose, browser_hash=hash_, now=now)
    except ChallengeRefused:
        raise PasskeyRefused("challenge") from None
    return response, challenge


@contextmanager
def transaction() -> Iterator[Connection]:
    """Open the transaction that finishes a ceremony. A fallen sign count is recorded though the rest is undone.

    :raises PageError: the sign count fell.
    :raises PasskeyRefused: the credential id is registered already.
    """
    try:
        with server().database.writing() as connection:
            yield connection
    except _CopySuspected as suspected:
        _record_suspicion(suspected.passkey)
        raise PageError("passkey_copied", 403) from None
    except PasskeyTaken:
        raise PasskeyRefused("credential_taken") from None


def finish_registration(response: CredentialResponse, challenge: Challenge) -> NewCredential:
    """Verify a registration response and return the new credential (WebAuthn 3, section 7.1).

    :raises PasskeyRefused: it proves nothing.
    """
    return verification.verify_registration(response, _relying_party(), challenge=challenge.challenge)


def finish_authentication(
    connection: Connection, response: CredentialResponse, challenge: Challenge, *, expected: Person | None = None
) -> Passkey:
    """Verify an assertion and return the passkey that signed it, its owner locked (WebAuthn 3, section 7.2).

    :param expected: the owner it must have; ``None`` for a discoverable credential, which names its owner itself.
    :raises PasskeyRefused: there is no such passkey, it is somebody else's, or it proves nothing.
    """
    if expected is not None and challenge.person_id != expected.id:
        raise PasskeyRefused("other_person")
    try:
        owner = people.lock(connection, passkeys.find(connection, response.credential_id).person_id)
        passkey = passkeys.find(connection, response.credential_id)  # again, behind the lock: its count
    except Unknown:
        raise PasskeyRefused("unknown_credential") from None
    _check_owner(response, owner, expected)
    try:
        rp = _relying_party()
        result = verification.verify_assertion(response, rp, passkey, challenge=challenge.challenge)
    except SignCountFell:
        raise _CopySuspected(passkey) from None
    passkeys.note_use(connection, passkey.id, result, now=server().clock())
    return passkey


def log_refusal(refused: PasskeyRefused) -> PageError:
    """Log the reason of a refusal, and return the page that does not give it."""
    _log.info("a passkey was refused: %s", refused.reason)
    return PageError("passkey_refused", 403)


class _CopySuspected(PasskeyRefused):
    """As ``SignCountFell``, with the passkey."""

    def __init__(self, passkey: Passkey) -> None:
        super().__init__("sign_count_fell")
        self.passkey = passkey


def _relying_party() -> RelyingParty:
    options = server().options
    return RelyingParty(options.passkey_domain, options.origin, options.name)


def _issue(connection: Connection, purpose: str, **owner: int | None) -> bytes:
    hash_, now = cookies.browser_hash(), server().clock()
    return challenges.issue(connection, purpose=purpose, browser_hash=hash_, now=now, **owner)


def _check_owner(response: CredentialResponse, owner: Person, expected: Person | None) -> None:
    """Check that the user handle maps to the passkey's owner (WebAuthn 3, section 7.2, "identify the user")."""
    try:
        handle = response.user_handle
    except ValueError:
        raise PasskeyRefused("malformed") from None
    if handle != owner.handle and not (handle is None and expected is not None):
        raise PasskeyRefused("user_handle")
    if expected is not None and expected.id != owner.id:
        raise PasskeyRefused("other_person")


def _record_suspicion(passkey: Passkey) -> None:
    now, actor = server().clock(), f"person:{passkey.person_id}"
    _log.warning("the sign count of passkey %d went back: perhaps there is a copy", passkey.id)
    with server().database.writing() as connection:
        passkeys.note_fallen_count(connection, passkey.id, now=now)
        address, subject = request_address(), f"passkey:{passkey.id}"
        audit.note(connection, actor=actor, action="passkey.copied", subject=subject, now=now, address=address)
