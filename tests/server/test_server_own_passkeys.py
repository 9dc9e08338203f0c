"""One's own passkeys: adding and removing need a fresh signature, made for just that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.authenticator import Authenticator
from support.login_server import ORIGIN, SAME_ORIGIN, Server, make_server
from support.passkeys import Visitor, enrolled, number_of

from clef_wsgi.server.database.schema import deliveries, passkeys, sessions
from clef_wsgi.server.options import Limits
from clef_wsgi.server.records import logouts
from clef_wsgi.server.records.audit import read
from clef_wsgi.server.records.people import Person


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for the module: each test has people of its own."""
    server = make_server(tmp_path_factory.mktemp("server") / "clef.db", limits=Limits(sign_in=100_000))
    yield server
    server.close()


def signed_in(server: Server, passkey: Authenticator) -> Visitor:
    visitor = Visitor(server)
    assert visitor.sign_in(passkey).status_int == 200
    return visitor


@pytest.fixture
def ann(server: Server) -> Person:
    return server.add_person("Ann")


@pytest.fixture
def passkey(server: Server, ann: Person) -> Authenticator:
    return enrolled(server, ann)


@pytest.fixture
def visitor(server: Server, passkey: Authenticator) -> Visitor:
    return signed_in(server, passkey)


def test_add(server: Server, ann: Person, passkey: Authenticator, visitor: Visitor) -> None:
    """A second passkey opens the same account; the audit says that it was added."""
    other = Authenticator(ORIGIN)
    assert visitor.add(passkey, other).json == {"location": "/passkeys"}
    assert signed_in(server, other).is_signed_in()
    with server.database.reading() as connection:
        lines = [line.action for line in read(connection) if line.actor == f"person:{ann.id}"]
    assert lines == ["sign_in", "passkey.add", "sign_in"]


def test_what_is_asked_for(passkey: Authenticator, visitor: Visitor) -> None:
    """The fresh signature is asked of the person's own passkeys; the new one must be on another authenticator."""
    options = visitor.ask("/passkeys/add/sign")
    assert options["userVerification"] == "required"
    own = [each["id"] for each in options["allowCredentials"]]
    options = visitor.ask("/passkeys/add/options", credential=passkey.sign(options))
    assert [each["id"] for each in options["excludeCredentials"]] == own
    assert len(own) == 1


def test_add_without_a_signature(server: Server, ann: Person, visitor: Visitor) -> None:
    """A session alone adds nothing."""
    assert visitor.send("/passkeys/add/options").json["error"] == "passkey_refused"
    options = visitor.ask("/passkeys/add/sign") | {"user": {"id": ""}}
    assert visitor.send("/passkeys/add", credential=Authenticator(ORIGIN).make(options)).status_int == 403
    assert server.count(passkeys, passkeys.c.person_id == ann.id) == 1


def test_a_signature_for_something_else(server: Server, passkey: Authenticator, visitor: Visitor) -> None:
    """A signature for adding removes nothing; one for removing one passkey doesn't remove another."""
    other = Authenticator(ORIGIN)
    visitor.add(passkey, other)
    first, second = number_of(server, passkey), number_of(server, other)
    to_add = passkey.sign(visitor.ask("/passkeys/add/sign"))
    to_remove_the_other = passkey.sign(visitor.ask(f"/passkeys/{second}/sign"))
    for credential in (to_add, to_remove_the_other):
        answer = visitor.send(f"/passkeys/{first}/remove", credential=credential)
        assert answer.json["error"] == "passkey_refused"


def test_another_person_s_signature(server: Server, ann: Person, passkey: Authenticator, visitor: Visitor) -> None:
    """Row 58: Bo's passkey adds none to Ann's account, with or without a handle; Ann's may leave the handle out."""
    bo = enrolled(server, server.add_person("Bo"))
    for handle in (bo.handle, ann.handle, None):
        credential = bo.sign(visitor.ask("/passkeys/add/sign"), user_handle=handle)
        assert visitor.send("/passkeys/add/options", credential=credential).json["error"] == "passkey_refused"
    credential = passkey.sign(visitor.ask("/passkeys/add/sign"), user_handle=None)
    assert visitor.send("/passkeys/add/options", credential=credential).status_int == 200


def test_somebody_else_signs_in_meanwhile(server: Server, passkey: Authenticator, visitor: Visitor) -> None:
    """Row 58: what Ann began, Bo can't end for herself in the same browser."""
    bo = enrolled(server, server.add_person("Bo"))
    to_add = visitor.ask("/passkeys/add/sign")
    options = visitor.ask("/passkeys/add/options", credential=passkey.sign(visitor.ask("/passkeys/add/sign")))
    visitor.sign_in(bo)
    for path, credential in (
        ("/passkeys/add/options", bo.sign(to_add)),
        ("/passkeys/add", Authenticator(ORIGIN).make(options)),
    ):
        assert visitor.send(path, credential=credential).json["error"] == "passkey_refused"


def test_a_logout_meanwhile(server: Server, ann: Person, passkey: Authenticator, visitor: Visitor) -> None:
    """Whoever was logged out adds and removes nothing more."""
    options = visitor.ask("/passkeys/add/options", credential=passkey.sign(visitor.ask("/passkeys/add/sign")))
    to_add = passkey.sign(visitor.ask("/passkeys/add/sign"))
    with server.database.writing() as connection:
        logouts.log_out_everywhere(connection, ann.id, now=server.clock())
    answers = [
        visitor.send("/passkeys/add", credential=Authenticator(ORIGIN).make(options)),
        visitor.send("/passkeys/add/options", credential=to_add),
        visitor.send("/passkeys/add/sign"),
    ]
    assert [answer.json["error"] for answer in answers] == ["signed_out"] * 3
    assert visitor.get("/passkeys").headers["Location"].endswith("/")


def test_the_same_passkey_twice(server: Server, ann: Person, passkey: Authenticator, visitor: Visitor) -> None:
    """Row 58: an authenticator that ignores the list of known ones adds nothing."""
    assert visitor.add(passkey, passkey).json["error"] == "passkey_refused"
    assert server.count(passkeys, passkeys.c.person_id == ann.id) == 1


def test_remove(server: Server, ann: Person, passkey: Authenticator, visitor: Visitor) -> None:
    """A removed passkey opens nothing; its browsers are logged out and their sites notified; this one stays."""
    other = Authenticator(ORIGIN)
    visitor.add(passkey, other)
    elsewhere = signed_in(server, passkey)
    by_other = signed_in(server, other)
    server.log_in(server.add_site(), elsewhere)
    assert visitor.remove(other, number_of(server, passkey)).json == {"location": "/passkeys"}
    assert [each.is_signed_in() for each in (visitor, elsewhere, by_other)] == [True, False, True]
    assert server.count(deliveries, deliveries.c.person_id == ann.id) == 1
    assert Visitor(server).sign_in(passkey).json["error"] == "passkey_refused"
    (row,) = server.rows(passkeys, passkeys.c.person_id == ann.id)
    assert row.credential_id == other.credential_id


def test_never_the_last(server: Server, ann: Person, passkey: Authenticator, visitor: Visitor) -> None:
    """The last passkey stays; the page offers no button to remove it."""
    page = visitor.get("/passkeys")
    assert "/remove" not in page.text
    assert visitor.remove(passkey, number_of(server, passkey)).json["error"] == "last_passkey"
    assert server.count(passkeys, passkeys.c.person_id == ann.id) == 1


def test_another_person_s_passkey(server: Server, ann: Person, passkey: Authenticator, visitor: Visitor) -> None:
    """Nobody renames or removes a passkey of somebody else's, nor one that is not there."""
    bo = enrolled(server, server.add_person("Bo"))
    visitor.add(passkey, Authenticator(ORIGIN))
    for number in (number_of(server, bo), 2**53 - 1):
        assert visitor.remove(passkey, number).json["error"] == "not_found"
        form = {"token": visitor.token, "name": "Mine"}
        assert visitor.post(f"/passkeys/{number}/rename", form, headers=SAME_ORIGIN).status_int == 404
    assert server.rows(passkeys, passkeys.c.id == number_of(server, bo))[0].name == "Phone"


def test_rename(server: Server, ann: Person, passkey: Authenticator, visitor: Visitor) -> None:
    """A passkey is called what its owner calls it, as text; a name that can't be seen is refused."""
    for name, status in (("<b>Key</b> ", 303), ("", 400), ("x" * 65, 400), ("a\u202eb", 400)):
        form = {"token": visitor.token, "name": name}
        answer = visitor.post(f"/passkeys/{number_of(server, passkey)}/rename", form, headers=SAME_ORIGIN)
        assert answer.status_int == status
    assert "&lt;b&gt;Key&lt;/b&gt;" in visitor.get("/passkeys").text


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("Mozilla/5.0 (Linux; Android 16; Pixel 10) AppleWebKit/537.36", "Android"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)", "iPhone"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)", "Mac"),
        ("<script>", "Passkey"),
    ],
)
def test_the_first_name(server: Server, passkey: Authenticator, visitor: Visitor, user_agent: str, name: str) -> None:
    """A new passkey is called by the kind of device it was made on, in words of ours."""
    other = Authenticator(ORIGIN)
    visitor.web.extra_environ["HTTP_USER_AGENT"] = user_agent
    visitor.add(passkey, other)
    assert server.rows(passkeys, passkeys.c.credential_id == other.credential_id)[0].name == name


def test_a_fresh_signature_counts(server: Server, ann: Person, passkey: Authenticator, visitor: Visitor) -> None:
    """Row 59: a sign count that fell is refused here as at sign-in."""
    credential = passkey.sign(visitor.ask("/passkeys/add/sign"), sign_count=1)
    assert visitor.send("/passkeys/add/options", credential=credential).json["error"] == "passkey_copied"
    assert server.count(sessions, sessions.c.person_id == ann.id, sessions.c.ended_at.is_(None)) == 1
