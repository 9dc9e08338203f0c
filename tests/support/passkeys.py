"""Browsers whose scripts are played by tests: they ask for a challenge, and send what a passkey answers."""

from __future__ import annotations

import re
from typing import Any

import webtest

from clef_wsgi.server.credentials import NewCredential
from clef_wsgi.server.database.schema import passkeys
from clef_wsgi.server.records import enrolments
from clef_wsgi.server.records import passkeys as records
from clef_wsgi.server.records.people import Person
from support.authenticator import BE, BS, Authenticator
from support.login_server import SAME_ORIGIN, Browser, Server


class Visitor(Browser):
    """A browser with a page of the server open."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.app, server.origin)
        self.origin = server.origin
        self.token = ""
        self.open_page()

    def open_page(self) -> None:
        """Fetch the CSRF token of this browser's pages."""
        found = re.search(r'name="token" value="([^"]*)"', self.get("/enrol").text)
        assert found
        self.token = found[1]

    def send(self, path: str, **body: Any) -> webtest.TestResponse:
        """Post JSON as ``post()`` in static/passkeys.js does."""
        headers = {**SAME_ORIGIN, "X-Clef-Token": self.token}
        return self.web.post_json(path, body, headers=headers, expect_errors=True)

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        """Request the options for a ceremony."""
        answer = self.send(path, **body)
        assert answer.status_int == 200, answer.text
        return dict(answer.json)

    def sign_in(self, passkey: Authenticator, query: str = "", **lies: Any) -> webtest.TestResponse:
        credential = passkey.sign(self.ask("/sign-in/options"), **lies)
        return self.send(f"/sign-in?{query}" if query else "/sign-in", credential=credential)

    def enrol(self, secret: str, passkey: Authenticator, **lies: Any) -> webtest.TestResponse:
        names = {"first_name": "Ann", "last_name": "Lee"}
        options = self.ask("/enrol/options", secret=secret, **names)
        return self.send("/enrol", secret=secret, credential=passkey.make(options, **lies), **names)

    def add(self, known: Authenticator, new: Authenticator) -> webtest.TestResponse:
        """Add a passkey on the page of one's own passkeys."""
        credential = known.sign(self.ask("/passkeys/add/sign"))
        return self.send("/passkeys/add", credential=new.make(self.ask("/passkeys/add/options", credential=credential)))

    def remove(self, known: Authenticator, number: int) -> webtest.TestResponse:
        """Remove a passkey there."""
        credential = known.sign(self.ask(f"/passkeys/{number}/sign"))
        return self.send(f"/passkeys/{number}/remove", credential=credential)

    def is_signed_in(self) -> bool:
        return "Log out everywhere" in self.get("/").text


def link(server: Server, person: Person, purpose: str = enrolments.INVITE) -> str:
    """The secret of a new link for a person."""
    with server.database.writing() as connection:
        return enrolments.issue(connection, person.id, purpose=purpose, now=server.clock())


def enrolled(server: Server, person: Person, **options: Any) -> Authenticator:
    """A person's new passkey, written down without a ceremony."""
    passkey = Authenticator(server.origin, **options)
    passkey.handle, passkey.count = person.handle, passkey.step
    made = NewCredential(
        credential_id=passkey.credential_id,
        public_key=passkey.cose(),
        sign_count=passkey.count,
        backup_eligible=bool(passkey.flags & BE),
        backed_up=bool(passkey.flags & BS),
        transports=("hybrid", "internal"),
        aaguid="00000000-0000-0000-0000-000000000000",
    )
    with server.database.writing() as connection:
        records.add(connection, person.id, made, name="Phone", now=server.clock())
    return passkey


def number_of(server: Server, passkey: Authenticator) -> int:
    """By which the server knows a passkey."""
    (row,) = server.rows(passkeys, passkeys.c.credential_id == passkey.credential_id)
    return int(row.id)
