"""Signing in with a passkey, and every way in which that must fail (rows 55 to 59).

WebAuthn leaves much to the server: these tests go through its front door with a passkey that lies.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.authenticator import BE, BS, UP, UV, Authenticator, encoded
from support.cases import each
from support.login_server import ORIGIN, Server, make_server, postgresql
from support.passkeys import Visitor, enrolled, link, number_of

from clef_wsgi.server.database.schema import audit, challenges, passkeys, sessions
from clef_wsgi.server.options import Limits
from clef_wsgi.server.records import deactivation
from clef_wsgi.server.records.audit import read

ROOMY = Limits(sign_in=100_000, enrolment=100_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for the module: each test has people of its own."""
    server = make_server(tmp_path_factory.mktemp("server") / "clef.db", limits=ROOMY)
    yield server
    server.close()


def refused(answer: Any) -> bool:
    return bool(answer.status_int == 403 and answer.json["error"] == "passkey_refused")


def count_of(server: Server, passkey: Authenticator) -> int:
    """The sign count that the server knows."""
    (row,) = server.rows(passkeys, passkeys.c.credential_id == passkey.credential_id)
    return int(row.sign_count)


def test_sign_in(server: Server) -> None:
    """A passkey opens its owner's account, without a name; its use is written down, and the audit has a line."""
    ann = server.add_person("Ann")
    passkey, visitor = enrolled(server, ann), Visitor(server)
    answer = visitor.sign_in(passkey)
    assert answer.json == {"location": "/"}
    assert "Ann" in visitor.get("/").text
    (row,) = server.rows(passkeys, passkeys.c.person_id == ann.id)
    assert (row.sign_count, row.last_used_at) == (2, server.clock())
    with server.database.reading() as connection:
        line = read(connection, limit=1)[0]
    assert (line.action, line.subject, line.address) == ("sign_in", f"passkey:{row.id}", "192.0.2.7")


@pytest.mark.services
def test_sign_in_on_postgresql() -> None:
    """The same on PostgreSQL: enrol, sign in, add, remove, and a challenge that is used twice."""
    with postgresql() as url:
        server = make_server(url)
        passkey, visitor = Authenticator(ORIGIN), Visitor(server)
        assert visitor.enrol(link(server, server.add_person()), passkey).status_int == 200
        options = visitor.ask("/sign-in/options")
        assert visitor.send("/sign-in", credential=passkey.sign(options)).status_int == 200
        assert refused(visitor.send("/sign-in", credential=passkey.sign(options)))
        other = Authenticator(ORIGIN)
        assert visitor.add(passkey, other).status_int == 200
        assert visitor.remove(other, number_of(server, passkey)).status_int == 200
        assert refused(visitor.sign_in(passkey, sign_count=1))
        assert visitor.sign_in(other, sign_count=1).json["error"] == "passkey_copied"
        taken = {"credential_id": other.credential_id, "attested_id": other.credential_id}
        assert refused(visitor.enrol(link(server, server.add_person("Bo")), Authenticator(ORIGIN), **taken))
        server.close()


def test_what_is_asked_for(server: Server) -> None:
    """Sign-in asks for user verification, names no passkey, and gives five minutes."""
    options = Visitor(server).ask("/sign-in/options")
    assert options["userVerification"] == "required"
    assert options["allowCredentials"] == []
    assert (options["rpId"], options["timeout"]) == ("login.example.com", 300_000)
    assert len(options["challenge"]) == 43


def test_sign_in_at_a_site(server: Server) -> None:
    """S1: a site's login goes on to the site, with a code and the same state."""
    passkey, visitor, site = enrolled(server, server.add_person()), Visitor(server), server.add_site()
    answer = visitor.sign_in(passkey, site.ask(state="x y"))
    assert answer.json["location"].startswith(f"{site.callback}?code=")
    assert answer.json["location"].endswith("&state=x%20y")


def test_a_site_that_the_person_may_not_use(server: Server) -> None:
    """A person who may not use the site gets 403 for it, and is logged in at the server all the same."""
    passkey, visitor = enrolled(server, server.add_person()), Visitor(server)
    answer = visitor.sign_in(passkey, server.add_site(open_to_all=False).ask())
    assert (answer.status_int, answer.json["error"]) == (403, "not_allowed")
    assert visitor.is_signed_in()


def test_the_refusal_names_site_and_person(server: Server) -> None:
    """It says which site it is and who is signed in, offers another passkey for the same login, and the way back."""
    ann, site = server.add_person("Ann", last_name="<Lee>"), server.add_site("Photos & Co", open_to_all=False)
    browser = server.browser(signed_in=ann)
    for path in (f"/iframes/qr?{site.ask(state='x y')}", f"/iframes/late?{site.ask()}"):
        page = browser.get(path)
        if page.status_int == 303:
            page = browser.get(page.headers["Location"].removeprefix(server.origin))
        assert page.status_int == 403
        assert page.html.h1.text == "You may not use Photos & Co"
        assert "You are signed in as Ann <Lee>" in page.html.main.text
        links = {link.text: link["href"] for link in page.html.main.find_all("a")}
        assert links["Back to Photos & Co"] == "https://photos.example.com/"
        assert browser.get(links["Use another passkey"]).html.h1.text == "Sign in at Photos & Co"


def test_a_refused_address_leads_nowhere(server: Server) -> None:
    """No open redirect on error pages either: only a registered site is led back to."""
    page = server.browser().get(f"/iframes/qr?{server.add_site().ask().replace('photos', 'evil')}")
    assert [link["href"] for link in page.html.main.find_all("a")] == ["/"]


def test_a_bad_redirect_signs_nobody_in(server: Server) -> None:
    """S6: a login request that is wrong is refused at this step, too."""
    passkey, visitor, site = enrolled(server, server.add_person()), Visitor(server), server.add_site()
    answer = visitor.sign_in(passkey, site.ask().replace("photos", "evil"))
    assert answer.json["error"] == "invalid_redirect"
    assert not visitor.is_signed_in()


def test_another_person_takes_over(server: Server) -> None:
    """Somebody else signs in in this browser: the session of before is over."""
    ann, bo = server.add_person("Ann"), server.add_person("Bo")
    visitor = Visitor(server)
    visitor.sign_in(enrolled(server, ann))
    visitor.sign_in(enrolled(server, bo))
    rows = server.rows(sessions, sessions.c.person_id.in_([ann.id, bo.id]), sessions.c.passkey_id.is_not(None))
    assert {row.person_id for row in rows if row.ended_at is None and row.seen_at == server.clock()} >= {bo.id}
    assert visitor.is_signed_in()


def test_without_a_script(server: Server) -> None:
    """A browser that runs no script sends the form itself, and gets a page that names JavaScript."""
    visitor = Visitor(server)
    answer = visitor.submit(visitor.get("/"))
    assert (answer.status_int, answer.content_type) == (400, "text/html")
    assert "JavaScript" in answer.text


# --- row 55: the challenge


def test_a_challenge_is_good_once(server: Server) -> None:
    """Row 55: the same challenge again, with a new signature: refused, the count unchanged."""
    passkey, visitor = enrolled(server, server.add_person()), Visitor(server)
    options = visitor.ask("/sign-in/options")
    assert visitor.send("/sign-in", credential=passkey.sign(options)).status_int == 200
    assert refused(visitor.send("/sign-in", credential=passkey.sign(options)))
    assert count_of(server, passkey) == 2


def test_a_failed_attempt_spends_the_challenge(server: Server) -> None:
    """Row 55: one challenge, one attempt, whatever came of it."""
    passkey, visitor = enrolled(server, server.add_person()), Visitor(server)
    options = visitor.ask("/sign-in/options")
    assert refused(visitor.send("/sign-in", credential=passkey.sign(options, flags=UP)))
    assert refused(visitor.send("/sign-in", credential=passkey.sign(options)))


def test_a_challenge_expires(server: Server, tmp_path: Path) -> None:
    """Row 55: after five minutes a challenge is worth nothing, and the next one sweeps it away."""
    server = make_server(tmp_path / "clef.db")
    passkey, visitor = enrolled(server, server.add_person()), Visitor(server)
    options = visitor.ask("/sign-in/options")
    server.clock.advance(299.9)
    assert visitor.send("/sign-in", credential=passkey.sign(options)).status_int == 200
    options = visitor.ask("/sign-in/options")
    server.clock.advance(300)
    assert refused(visitor.send("/sign-in", credential=passkey.sign(options)))
    visitor.ask("/sign-in/options")
    assert server.count(challenges) == 1
    server.close()


def test_a_challenge_belongs_to_its_browser(server: Server) -> None:
    """Row 55: an answer to another browser's challenge is refused there, and still good in its own."""
    passkey, visitor, other = enrolled(server, server.add_person()), Visitor(server), Visitor(server)
    credential = passkey.sign(visitor.ask("/sign-in/options"))
    assert refused(other.send("/sign-in", credential=credential))
    assert visitor.send("/sign-in", credential=credential).status_int == 200


def test_a_challenge_belongs_to_its_purpose(server: Server) -> None:
    """Row 55: a signature for signing in adds no passkey, and the other way round."""
    passkey, visitor = enrolled(server, server.add_person()), Visitor(server)
    visitor.sign_in(passkey)
    for_sign_in = passkey.sign(visitor.ask("/sign-in/options"))
    assert refused(visitor.send("/passkeys/add/options", credential=for_sign_in))
    assert refused(visitor.send("/sign-in", credential=passkey.sign(visitor.ask("/passkeys/add/sign"))))


@each("challenge", ["", "AA", encoded(bytes(32)), "!", 7, None, "é"])
def test_a_challenge_that_was_never_given(server: Server, challenge: Any) -> None:
    """Row 55: empty, short, invented, or no challenge at all."""
    passkey = enrolled(server, server.add_person())
    assert refused(Visitor(server).sign_in(passkey, client_data={"challenge": challenge}))


# --- rows 56 and 57: what the browser and the authenticator say

LIES: dict[str, dict[str, Any]] = {
    "origin of another site": {"client_data": {"origin": "https://rp.evil"}},
    "origin over http": {"client_data": {"origin": "http://login.example.com"}},
    "origin with another port": {"client_data": {"origin": f"{ORIGIN}:8443"}},
    "origin null": {"client_data": {"origin": "null"}},
    "origin none": {"client_data": {"origin": None}},
    "origin of a subdomain": {"client_data": {"origin": "https://x.login.example.com"}},
    "rp id of another site": {"rp_id": "rp.evil"},
    "cross origin": {"client_data": {"crossOrigin": True}},
    "cross origin as text": {"client_data": {"crossOrigin": "false"}},
    "top origin": {"client_data": {"topOrigin": "https://rp.evil"}},
    "type of the other ceremony": {"client_data": {"type": "webauthn.create"}},
    "no person": {"flags": UV},
    "no verification": {"flags": UP},
    "backed up but not eligible": {"flags": UP | UV | BS},
    "eligible all at once": {"flags": UP | UV | BE},
    "signature of another passkey": {"signature": bytes(70)},
}


@each("name", LIES)
def test_a_lie(server: Server, name: str) -> None:
    """Rows 56 and 57: each is refused, signs nobody in, and leaves the count alone."""
    passkey, visitor = enrolled(server, server.add_person()), Visitor(server)
    assert refused(visitor.sign_in(passkey, **LIES[name]))
    assert not visitor.is_signed_in()
    assert count_of(server, passkey) == 1
    assert visitor.sign_in(passkey).status_int == 200  # and the truth is believed


def test_eligibility_never_changes(server: Server) -> None:
    """Row 57: a passkey that could be synced can't become one that could not; being synced may change."""
    passkey, visitor = enrolled(server, server.add_person(), flags=UP | UV | BE), Visitor(server)
    assert refused(visitor.sign_in(passkey, flags=UP | UV))
    assert visitor.sign_in(passkey, flags=UP | UV | BE | BS).status_int == 200
    (row,) = server.rows(passkeys, passkeys.c.credential_id == passkey.credential_id)
    assert (row.backup_eligible, row.backed_up) == (True, True)


# --- row 58: whose passkey it is


def test_the_handle_is_the_owner_s(server: Server) -> None:
    """Row 58: another person's handle, an unknown one, and none at all are refused."""
    bo = enrolled(server, server.add_person("Bo"))
    passkey, visitor = enrolled(server, server.add_person("Ann")), Visitor(server)
    for handle in (bo.handle, b"nobody", b"", None):
        assert refused(visitor.sign_in(passkey, user_handle=handle))
    assert not visitor.is_signed_in()


def test_another_person_s_passkey_by_id(server: Server) -> None:
    """Row 58: Ann's id and handle with Bo's signature; an id that nobody has: the same answer."""
    ann, bo = enrolled(server, server.add_person("Ann")), enrolled(server, server.add_person("Bo"))
    answers = [
        Visitor(server).sign_in(bo, credential_id=ann.credential_id, user_handle=ann.handle),
        Visitor(server).sign_in(bo, credential_id=ann.credential_id),
        Visitor(server).sign_in(bo, credential_id=b"nobody's"),
        Visitor(server).sign_in(Authenticator(ORIGIN)),
    ]
    assert all(map(refused, answers))
    assert len({answer.text for answer in answers}) == 1


def test_known_and_unknown_take_as_long(server: Server) -> None:
    """Row 58: the time that an answer takes is of one class, whether the passkey is known or not."""
    passkey = enrolled(server, server.add_person())
    known = [_seconds(server, passkey, signature=bytes(70)) for _ in range(5)]
    unknown = [_seconds(server, passkey, credential_id=b"nobody's") for _ in range(5)]
    assert abs(min(known) - min(unknown)) < 0.01


def _seconds(server: Server, passkey: Authenticator, **lies: Any) -> float:
    visitor = Visitor(server)
    credential = passkey.sign(visitor.ask("/sign-in/options"), **lies)
    began = time.thread_time()
    assert refused(visitor.send("/sign-in", credential=credential))
    return time.thread_time() - began


def test_a_disabled_person(server: Server) -> None:
    """A disabled person's passkey is known, proves itself, and opens nothing."""
    ann = server.add_person()
    passkey, visitor = enrolled(server, ann), Visitor(server)
    with server.database.writing() as connection:
        deactivation.disable(connection, ann.id, now=server.clock())
    assert visitor.sign_in(passkey).json["error"] == "disabled"
    assert not visitor.is_signed_in()


# --- row 59: the sign count


@pytest.mark.parametrize("sign_count", [1, 0])
def test_a_copy_of_a_passkey_that_was_used_once(server: Server, sign_count: int) -> None:
    """The smallest count that is one: the same again, or none any more, is a copy (WebAuthn 3, section 6.1.1)."""
    passkey = enrolled(server, server.add_person())
    (row,) = server.rows(passkeys, passkeys.c.credential_id == passkey.credential_id)
    assert row.sign_count == 1
    assert Visitor(server).sign_in(passkey, sign_count=sign_count).json["error"] == "passkey_copied"
    assert Visitor(server).sign_in(passkey, sign_count=2).status_int == 200


PHONES = {
    "an iPhone, synced at once": UP | UV | BE | BS,
    "an Android phone, synced later": UP | UV | BE,
    "a security key": UP | UV,
}


@pytest.mark.parametrize("flags", PHONES.values(), ids=PHONES)
def test_a_phones_passkey_is_made_and_used(server: Server, flags: int) -> None:
    """Flags and counts as phones give them (UP, UV, BE, BS; no count): made behind a link, used here and at a site,
    shown as what it is, and what is synced later is shown so then."""
    ann, phone = server.add_person("Ann"), Authenticator(server.origin, flags=flags, counts=False)
    visitor = Visitor(server)
    assert visitor.enrol(link(server, ann), phone).status_int == 200
    assert visitor.is_signed_in()
    shown = "Synced between your devices" if flags & BS else "On one device only"
    assert shown in visitor.get("/passkeys").text
    (row,) = server.rows(passkeys, passkeys.c.person_id == ann.id)
    assert (row.backup_eligible, row.backed_up, row.sign_count) == (bool(flags & BE), bool(flags & BS), 0)
    for _ in range(2):  # it never counts
        assert Visitor(server).sign_in(phone).json == {"location": "/"}
    site, other = server.add_site(), Visitor(server)
    assert other.sign_in(phone, site.ask(state="s")).json["location"].startswith(f"{site.callback}?code=")
    if flags & BE:
        assert other.sign_in(phone, flags=flags | BS).status_int == 200
        assert "Synced between your devices" in other.get("/passkeys").text
        assert other.sign_in(phone, flags=flags & ~BS).status_int == 200
        assert "On one device only" in other.get("/passkeys").text
    assert refused(
        other.sign_in(phone, flags=flags ^ BE if flags & BS == 0 else UP | UV)
    )  # a passkey never changes that
    second = Authenticator(server.origin, flags=flags, counts=False)
    assert other.add(phone, second).status_int == 200
    assert Visitor(server).sign_in(second).status_int == 200


@pytest.mark.parametrize("sign_count", [5, 4, 0])
def test_a_count_that_does_not_grow(server: Server, sign_count: int, caplog: pytest.LogCaptureFixture) -> None:
    """Row 59: refused with a sentence of its own, logged, in the audit, and marked for the administrator."""
    passkey, visitor = enrolled(server, server.add_person()), Visitor(server)
    visitor.sign_in(passkey, sign_count=5)
    stranger = Visitor(server)
    caplog.set_level(logging.WARNING, "clef_wsgi.server")
    answer = stranger.sign_in(passkey, sign_count=sign_count)
    assert (answer.status_int, answer.json["error"]) == (403, "passkey_copied")
    assert not stranger.is_signed_in()
    (row,) = server.rows(passkeys, passkeys.c.credential_id == passkey.credential_id)
    assert (row.sign_count, row.count_fell_at) == (5, server.clock())
    assert [line.subject for line in server.rows(audit, audit.c.action == "passkey.copied")][-1] == f"passkey:{row.id}"
    assert f"passkey {row.id} " in caplog.text


def test_a_count_that_grows_again(server: Server) -> None:
    """Row 59: the passkey with the higher count goes on working, and the mark stays for the administrator."""
    passkey, visitor = enrolled(server, server.add_person()), Visitor(server)
    visitor.sign_in(passkey, sign_count=5)
    visitor.sign_in(passkey, sign_count=3)
    assert visitor.sign_in(passkey, sign_count=6).status_int == 200
    (row,) = server.rows(passkeys, passkeys.c.credential_id == passkey.credential_id)
    assert row.count_fell_at is not None


def test_a_count_without_a_signature(server: Server) -> None:
    """Row 59: who can't sign can't bring a passkey under suspicion."""
    passkey, visitor = enrolled(server, server.add_person()), Visitor(server)
    assert refused(visitor.sign_in(passkey, sign_count=0, signature=bytes(70)))
    (row,) = server.rows(passkeys, passkeys.c.credential_id == passkey.credential_id)
    assert row.count_fell_at is None


def test_a_passkey_that_does_not_count(server: Server) -> None:
    """Row 59: synced passkeys stay at zero, which is no sign of anything."""
    passkey, visitor = enrolled(server, server.add_person(), counts=False), Visitor(server)
    assert [visitor.sign_in(passkey).status_int for _ in range(2)] == [200, 200]


def test_the_reason_is_in_the_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """The administrator's log has the reason of a refusal, and nothing of what was sent."""
    passkey = enrolled(server, server.add_person())
    caplog.set_level(logging.INFO, "clef_wsgi.server")
    Visitor(server).sign_in(passkey, client_data={"origin": "https://rp.evil"})
    assert [record.getMessage() for record in caplog.records][-1] == "a passkey was refused: not_verified"


def test_too_many_attempts(tmp_path: Path) -> None:
    """The rate limit of an address counts both steps of the ceremony."""
    server = make_server(tmp_path / "clef.db", limits=Limits(sign_in=2))
    visitor = Visitor(server)
    statuses = [visitor.send("/sign-in/options").status_int, visitor.send("/sign-in").status_int]
    assert (*statuses, visitor.send("/sign-in/options").status_int) == (200, 403, 429)
    assert visitor.send("/sign-in").headers["Retry-After"]
    server.close()
