"""What the pages with a passkey button share: a challenge goes out, an answer comes in, a person is proved.

Every refusal reads the same to people; its reason is in the log. Knows nothing of what a proof is for.
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
from clef_wsgi.server.ceremonies.verification import Answer, PasskeyRefused, SignCountFell
from clef_wsgi.server.errors import Unknown
from clef_wsgi.server.records import audit, challenges, passkeys, people
from clef_wsgi.server.records.challenges import Challenge, ChallengeRefused
from clef_wsgi.server.records.passkeys import Passkey, PasskeyTaken
from clef_wsgi.server.records.people import Person
from clef_wsgi.server.web.support import cookies
from clef_wsgi.server.web.support.context import server
from clef_wsgi.server.web.support.pages import PageError

_log = logging.getLogger(__name__)


def relying_party() -> RelyingParty:
    """This server, as browsers know it."""
    options = server().options
    return RelyingParty(options.passkey_domain, options.origin, options.name)


def read_json() -> dict[str, Any]:
    """The JSON object that a script of ours sent.

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
    """Options for ``navigator.credentials.get()``; with a ``person``, for one of their passkeys."""
    with server().database.writing() as connection:
        challenge = _issue(connection, purpose, person_id=person.id if person else None)
        known = passkeys.of_person(connection, person.id) if person else []
    allowed = [passkey.credential_id for passkey in known]
    return options.assertion_options(relying_party(), challenge=challenge, allowed=allowed)


def begin_registration(
    connection: Connection, purpose: str, person: Person, *, enrolment_id: int | None = None
) -> dict[str, Any]:
    """Options for ``navigator.credentials.create()``."""
    return options.registration_options(
        relying_party(),
        challenge=_issue(connection, purpose, person_id=person.id, enrolment_id=enrolment_id),
        user_handle=person.handle,
        user_name=person.email or person.display_name,
        display_name=person.display_name,
        known=[passkey.credential_id for passkey in passkeys.of_person(connection, person.id)],
    )


def take_answer(credential: object, purpose: str) -> tuple[Answer, Challenge]:
    """Reads an answer and spends its challenge, for good, whatever the answer is worth.

    :raises PasskeyRefused: it answers no challenge that this browser was given for this purpose.
    """
    answer = verification.read_answer(credential)
    hash_, now = cookies.browser_hash(), server().clock()
    try:
        with server().database.writing() as connection:
            spent = challenges.consume(connection, answer.challenge, purpose=purpose, browser_hash=hash_, now=now)
    except ChallengeRefused:
        raise PasskeyRefused("challenge") from None
    return answer, spent


@contextmanager
def proving() -> Iterator[Connection]:
    """A transaction for :func:`prove`. That a sign count fell is written down though all the rest is undone.

    :raises PageError: the passkey was refused.
    """
    try:
        with server().database.writing() as connection:
            yield connection
    except _Fallen as fallen:
        _write_down(fallen.passkey)
        raise PageError("passkey_copied", 403) from None
    except PasskeyTaken:
        raise PasskeyRefused("credential_taken") from None


def prove(connection: Connection, answer: Answer, spent: Challenge, *, expected: Person | None = None) -> Passkey:
    """The passkey that signed, with its owner locked.

    :param expected: whose it must be; ``None``: whoever it belongs to, which the answer must say itself.
    :raises PasskeyRefused: there is no such passkey, it is somebody else's, or it proved nothing.
    """
    if expected is not None and spent.person_id != expected.id:
        raise PasskeyRefused("other_person")
    try:
        owner = people.lock(connection, passkeys.find(connection, answer.credential_id).person_id)
        passkey = passkeys.find(connection, answer.credential_id)  # again, behind the lock: its count
    except Unknown:
        raise PasskeyRefused("unknown_credential") from None
    _check_owner(answer, owner, expected)
    try:
        said = verification.verify_assertion(
            answer,
            relying_party(),
            challenge=spent.challenge,
            public_key=passkey.public_key,
            sign_count=passkey.sign_count,
            backup_eligible=passkey.backup_eligible,
        )
    except SignCountFell:
        raise _Fallen(passkey) from None
    passkeys.note_use(connection, passkey.id, said, now=server().clock())
    return passkey


def log_refusal(refused: PasskeyRefused) -> PageError:
    """What people are told of any refusal; the reason goes to the log."""
    _log.info("a passkey was refused: %s", refused.reason)
    return PageError("passkey_refused", 403)


class _Fallen(PasskeyRefused):
    """As ``SignCountFell``, and of which passkey."""

    def __init__(self, passkey: Passkey) -> None:
        super().__init__("sign_count_fell")
        self.passkey = passkey


def _issue(connection: Connection, purpose: str, **owner: int | None) -> bytes:
    hash_, now = cookies.browser_hash(), server().clock()
    return challenges.issue(connection, purpose=purpose, browser_hash=hash_, now=now, **owner)


def _check_owner(answer: Answer, owner: Person, expected: Person | None) -> None:
    """WebAuthn 3, section 7.2, step "identify the user": the handle maps to the passkey's owner."""
    try:
        handle = answer.user_handle
    except ValueError:
        raise PasskeyRefused("malformed") from None
    if handle != owner.handle and not (handle is None and expected is not None):
        raise PasskeyRefused("user_handle")
    if expected is not None and expected.id != owner.id:
        raise PasskeyRefused("other_person")


def _write_down(passkey: Passkey) -> None:
    now, actor = server().clock(), f"person:{passkey.person_id}"
    _log.warning("the sign count of passkey %d went back: perhaps there is a copy", passkey.id)
    with server().database.writing() as connection:
        passkeys.note_fallen_count(connection, passkey.id, now=now)
        address, subject = cookies.request_address(), f"passkey:{passkey.id}"
        audit.note(connection, actor=actor, action="passkey.copied", subject=subject, now=now, address=address)
