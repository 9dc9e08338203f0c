"""One-time links and the passkeys made with them: what spends a link, and what is no passkey (rows 55 to 60)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID as oid  # noqa: N813 - as short as the names of its members are long
from support.authenticator import BE, BS, UP, UV, Authenticator, encoded
from support.cases import each
from support.login_server import ORIGIN, Server, make_server
from support.passkeys import Visitor, enrolled, link

from clef_wsgi.server.database.schema import challenges, enrolments, passkeys
from clef_wsgi.server.options import Limits
from clef_wsgi.server.records import people
from clef_wsgi.server.records.audit import read
from clef_wsgi.server.records.enrolments import RECOVER

ROOMY = Limits(sign_in=100_000, enrolment=100_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for the module: each test has people of its own."""
    server = make_server(tmp_path_factory.mktemp("server") / "clef.db", limits=ROOMY)
    yield server
    server.close()


def error(answer: Any) -> str:
    return str(answer.json.get("error"))


def test_enrol(server: Server) -> None:
    """The link makes a passkey, which signs in at once and from then on; the names are as the person wrote them."""
    ann, passkey, visitor = (
        server.add_person("Annabel", email="ann@example.com"),
        Authenticator(ORIGIN),
        Visitor(server),
    )
    secret = link(server, ann)
    assert visitor.send("/enrol/look", secret=secret).json == {
        "first_name": "Annabel",
        "last_name": "",
        "email": "ann@example.com",
        "is_recovery": False,
    }
    assert visitor.enrol(secret, passkey).json == {"location": "/"}
    assert "Ann Lee" in visitor.get("/").text
    assert Visitor(server).sign_in(passkey).status_int == 200
    (row,) = server.rows(passkeys, passkeys.c.person_id == ann.id)
    assert (row.transports, row.name, row.backed_up) == ('["hybrid", "internal"]', "Passkey", False)
    with server.database.reading() as connection:
        (line,) = [line for line in read(connection) if line.action == "enrol" and line.actor == f"person:{ann.id}"]
    assert (line.subject, line.details) == (f"passkey:{row.id}", {"purpose": "invite"})


def test_what_is_asked_for(server: Server) -> None:
    """A discoverable passkey with user verification and without attestation, for the names on the page."""
    ann = server.add_person("Ann")
    options = Visitor(server).ask("/enrol/options", secret=link(server, ann), first_name="Anna", last_name="Lee")
    assert options["attestation"] == "none"
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert {each["alg"] for each in options["pubKeyCredParams"]} == {-7, -8, -257}
    assert options["rp"] == {"id": "login.example.com", "name": "Clef"}
    assert options["user"] == {"id": encoded(ann.handle), "name": "Anna Lee", "displayName": "Anna Lee"}


def test_a_preview_spends_nothing(server: Server) -> None:
    """The page, the look and the challenge leave the link as it is; the passkey spends it."""
    ann, visitor = server.add_person(), Visitor(server)
    secret = link(server, ann)
    for _ in range(3):
        assert visitor.get("/enrol").status_int == 200
        assert visitor.send("/enrol/look", secret=secret).status_int == 200
        visitor.ask("/enrol/options", secret=secret)
    assert visitor.enrol(secret, Authenticator(ORIGIN)).status_int == 200
    for path in ("/enrol/look", "/enrol/options"):
        assert error(visitor.send(path, secret=secret)) == "link_invalid"


def test_a_link_is_good_for_one_passkey(server: Server) -> None:
    """Two browsers that began with the same link: the second passkey is refused."""
    ann, first, second = server.add_person(), Visitor(server), Visitor(server)
    secret = link(server, ann)
    options = second.ask("/enrol/options", secret=secret)
    first.enrol(secret, Authenticator(ORIGIN))
    answer = second.send("/enrol", secret=secret, credential=Authenticator(ORIGIN).make(options))
    assert (answer.status_int, error(answer)) == (403, "link_invalid")
    assert server.count(passkeys, passkeys.c.person_id == ann.id) == 1


def test_a_link_that_does_not_work(server: Server, tmp_path: Path) -> None:
    """Unknown, empty, older than a day, or replaced by a newer one."""
    server = make_server(tmp_path / "clef.db", limits=ROOMY)
    ann, visitor = server.add_person(), Visitor(server)
    old = link(server, ann)
    new = link(server, ann)
    for secret in ("", "x" * 43, None, old):
        assert error(visitor.send("/enrol/look", secret=secret)) == "link_invalid"
    server.clock.advance(24 * 3600 - 1)
    assert visitor.send("/enrol/look", secret=new).status_int == 200
    server.clock.advance(1)
    assert error(visitor.send("/enrol/look", secret=new)) == "link_invalid"
    server.close()


def test_a_failed_attempt_leaves_the_link(server: Server) -> None:
    """A passkey that is refused costs the challenge, not the link: the person can try again."""
    ann, visitor = server.add_person(), Visitor(server)
    secret = link(server, ann)
    assert error(visitor.enrol(secret, Authenticator(ORIGIN), flags=UP)) == "passkey_refused"
    assert server.count(passkeys, passkeys.c.person_id == ann.id) == 0
    assert visitor.enrol(secret, Authenticator(ORIGIN)).status_int == 200


def test_a_challenge_belongs_to_its_link(server: Server) -> None:
    """Row 55: a passkey made for Ann's link, with Ann's handle in it, is not taken for Bo's."""
    ann, bo, visitor = server.add_person("Ann"), server.add_person("Bo"), Visitor(server)
    credential = Authenticator(ORIGIN).make(visitor.ask("/enrol/options", secret=link(server, ann)))
    answer = visitor.send("/enrol", secret=link(server, bo), credential=credential)
    assert error(answer) == "passkey_refused"
    assert server.count(enrolments, enrolments.c.person_id == bo.id, enrolments.c.used_at.is_(None)) == 1


def test_a_challenge_belongs_to_its_browser_and_purpose(server: Server) -> None:
    """Row 55: not another browser's, not that of a sign-in, and not twice."""
    ann, visitor, other = server.add_person(), Visitor(server), Visitor(server)
    secret = link(server, ann)
    options = visitor.ask("/enrol/options", secret=secret)
    assert (
        error(other.send("/enrol", secret=secret, credential=Authenticator(ORIGIN).make(options))) == "passkey_refused"
    )
    for_sign_in = visitor.ask("/sign-in/options") | {"user": options["user"]}
    passkey = Authenticator(ORIGIN)
    assert error(visitor.send("/enrol", secret=secret, credential=passkey.make(for_sign_in))) == "passkey_refused"
    assert visitor.send("/enrol", secret=secret, credential=passkey.make(options)).status_int == 200
    assert error(visitor.send("/enrol", secret=secret, credential=passkey.make(options))) == "passkey_refused"


def test_recovery(server: Server) -> None:
    """A recovery link removes all older passkeys, ends all sessions and challenges, and says so beforehand."""
    ann = server.add_person()
    lost, visitor = enrolled(server, ann), Visitor(server)
    visitor.sign_in(lost)
    under_way = visitor.ask("/passkeys/add/sign")
    found, passkey = Visitor(server), Authenticator(ORIGIN)
    secret = link(server, ann, RECOVER)
    assert found.send("/enrol/look", secret=secret).json["is_recovery"] is True
    assert found.enrol(secret, passkey).status_int == 200
    assert found.is_signed_in()
    assert not visitor.is_signed_in()
    assert error(Visitor(server).sign_in(lost)) == "passkey_refused"
    assert error(visitor.send("/passkeys/add/options", credential=lost.sign(under_way))) == "passkey_refused"
    assert server.count(challenges, challenges.c.person_id == ann.id) == 0
    assert [row.credential_id for row in server.rows(passkeys, passkeys.c.person_id == ann.id)] == [
        passkey.credential_id
    ]


@each(
    "name",
    ["x" * 65, "Ann\u202e", "\x00", "\ud800", "\u3164", "\u2800 \u3164", "\u115f", None, ["Ann"], 7, True, {}, 1.5],
)
def test_row_95_a_name_that_is_none(server: Server, name: Any) -> None:
    """Row 95: a name is text of at most 64 characters that can be printed, one of which is seen; who it was stays."""
    ann, visitor = server.add_person("Ann"), Visitor(server)
    secret = link(server, ann)
    assert error(visitor.send("/enrol/options", secret=secret, first_name=name)) == "bad_name"
    assert error(visitor.send("/enrol", secret=secret, last_name=name)) == "bad_name"
    with server.database.reading() as connection:
        assert people.get(connection, ann.id).first_name == "Ann"


def test_a_taken_id(server: Server) -> None:
    """Row 58: an id that is known already, Ann's or one's own, makes no second passkey, and the owner's stays."""
    ann = server.add_person("Ann")
    passkey = enrolled(server, ann)
    taken = {"credential_id": passkey.credential_id, "attested_id": passkey.credential_id}
    for person in (server.add_person("Bo"), ann):
        answer = Visitor(server).enrol(link(server, person), Authenticator(ORIGIN), **taken)
        assert (answer.status_int, error(answer)) == (403, "passkey_refused")
    assert Visitor(server).sign_in(passkey).status_int == 200


def cose_key(key: Any, alg: int) -> bytes:
    """An RSA key, or one on another curve, in COSE."""
    if isinstance(key, rsa.RSAPublicNumbers):
        n, e = (number.to_bytes((number.bit_length() + 7) // 8, "big") for number in (key.n, key.e))
        return cbor2.dumps({1: 3, 3: alg, -1: n, -2: e})
    numbers = key.public_key().public_numbers()
    return cbor2.dumps({1: 2, 3: alg, -1: 2, -2: numbers.x.to_bytes(48, "big"), -3: numbers.y.to_bytes(48, "big")})


def self_signed(passkey: Authenticator, data: bytes) -> dict[str, Any]:
    """A statement that the passkey signed itself (WebAuthn 3, section 8.2)."""
    return {"alg": -7, "sig": passkey.key.sign(data, ec.ECDSA(SHA256()))}


def certified(passkey: Authenticator, data: bytes) -> dict[str, Any]:
    """A statement with a certificate, in which all is well."""
    names = {oid.COUNTRY_NAME: "AT", oid.ORGANIZATION_NAME: "Maker", oid.COMMON_NAME: "Batch"}
    names |= {oid.ORGANIZATIONAL_UNIT_NAME: "Authenticator Attestation"}
    name = x509.Name([x509.NameAttribute(kind, value) for kind, value in names.items()])
    key, today = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), 7, today, today + timedelta(days=1))
    made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    certificate = made.sign(key, SHA256()).public_bytes(Encoding.DER)
    return {"alg": -7, "sig": key.sign(data, ec.ECDSA(SHA256())), "x5c": [certificate]}


EASY = (1 << 2047) + 1  # a number of 2048 bits, good enough to be looked at

LIES: dict[str, dict[str, Any]] = {
    "56 origin of another site": {"client_data": {"origin": "https://rp.evil"}},
    "56 rp id of another site": {"rp_id": "rp.evil"},
    "56 cross origin": {"client_data": {"crossOrigin": True}},
    "56 top origin": {"client_data": {"topOrigin": ORIGIN}},
    "57 type of the other ceremony": {"client_data": {"type": "webauthn.get"}},
    "57 no person": {"flags": UV},
    "57 no verification": {"flags": UP},
    "57 backed up but not eligible": {"flags": UP | UV | BS},
    "58 two ids": {"attested_id": b"another"},
    "60 no id": {"credential_id": b"", "attested_id": b""},
    "60 an id of 1,024 bytes": {"credential_id": bytes(1024), "attested_id": bytes(1024)},
    "60 trailing bytes": {"trailing": b"\0"},
    "60 cbor truncated": {"attestation": b"\xa3\x63fmt"},
    "60 cbor empty": {"attestation": b""},
    "60 cbor nested": {"attestation": b"\x81" * 10_000 + b"\0"},
    "60 cbor that promises much": {"attestation": b"\x9b" + b"\xff" * 8},
    "60 cbor text that promises much": {"attestation": b"\x7b\x7f" + b"\xff" * 7},
    "60 cbor with a date and a tag": {"attestation": cbor2.dumps(cbor2.CBORTag(35, "("))},
    "60 no map": {"attestation": cbor2.dumps([1])},
    "60 auth data that is no bytes": {"attestation": cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": 7})},
    "60 auth data of 36 bytes": {"attestation": cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": bytes(36)})},
    "60 a certificate that nobody asked for": {"fmt": "packed", "statement": certified},
    "60 a certificate that is none": {"fmt": "packed", "statement": {"alg": -7, "sig": b"", "x5c": [b""]}},
    "60 format of a phone": {"fmt": "android-key", "statement": {"alg": -7, "sig": b"", "x5c": []}},
    "60 none with a statement": {"statement": {"sig": b"1"}},
    "60 self-signed, wrongly": {"fmt": "packed", "statement": {"alg": -7, "sig": b"1"}},
    "60 algorithm not offered": {"public_key": cose_key(ec.generate_private_key(ec.SECP384R1()), -35)},
    "60 curve of another algorithm": {"public_key": cose_key(ec.generate_private_key(ec.SECP384R1()), -7)},
    "60 point off the curve": {"public_key": Authenticator(ORIGIN).cose(cose={-3: bytes(32)})},
    "60 no point": {"public_key": Authenticator(ORIGIN).cose(cose={-2: b""})},
    "60 key of no type": {"public_key": cbor2.dumps({3: -7})},
    "60 key that is a number": {"public_key": b"\x04"},
    "60 rsa as es256": {"public_key": cose_key(rsa.RSAPublicNumbers(65537, EASY), -7)},
    "60 rsa with e=1": {"public_key": cose_key(rsa.RSAPublicNumbers(1, EASY), -257)},
    "60 rsa with e=3": {"public_key": cose_key(rsa.RSAPublicNumbers(3, EASY), -257)},
    "60 rsa of 1,024 bits": {"public_key": cose_key(rsa.RSAPublicNumbers(65537, (1 << 1023) + 1), -257)},
    "60 rsa of 16,384 bits": {"public_key": cose_key(rsa.RSAPublicNumbers(65537, (1 << 16383) + 1), -257)},
    "60 ed25519 of 31 bytes": {"public_key": cbor2.dumps({1: 1, 3: -8, -1: 6, -2: bytes(31)})},
}


@pytest.mark.slow
@each("name", LIES)
def test_a_lie(server: Server, name: str) -> None:
    """Rows 56 to 58 and 60: each is refused in the same words, makes no passkey, and takes no time."""
    ann, visitor = server.add_person(), Visitor(server)
    secret = link(server, ann)
    seconds = []
    for _ in range(3):  # the quickest counts: a garbage collection may fall into any
        options = visitor.ask("/enrol/options", secret=secret)
        credential = Authenticator(ORIGIN).make(options, **LIES[name])
        began = time.thread_time()
        answer = visitor.send("/enrol", secret=secret, credential=credential)
        seconds.append(time.thread_time() - began)
        assert (answer.status_int, error(answer)) == (403, "passkey_refused")
    assert min(seconds) < 0.05
    assert server.count(passkeys, passkeys.c.person_id == ann.id) == 0
    assert not visitor.is_signed_in()


TRUTHS: dict[str, dict[str, Any]] = {
    "an id of 1,023 bytes": {"credential_id": bytes(1023), "attested_id": bytes(1023)},
    "rsa of 2,048 bits": {"public_key": cose_key(rsa.RSAPublicNumbers(65537, EASY), -257)},
    "self-signed": {"fmt": "packed", "statement": self_signed},
    "synced": {"flags": UP | UV | BE | BS},
}


@each("name", TRUTHS)
def test_a_truth(server: Server, name: str) -> None:
    """Valid passkeys at the limits are accepted."""
    answer = Visitor(server).enrol(link(server, server.add_person()), Authenticator(ORIGIN), **TRUTHS[name])
    assert answer.status_int == 200


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no object": b"[]",
    "text": b'"x"',
    "nested": b"[" * 50_000,
    "not utf-8": b'{"credential": "\xff"}',
    "a list as credential": b'{"credential": []}',
    "no response": b'{"credential": {"rawId": "AA"}}',
    "response of text": b'{"credential": {"rawId": "AA", "response": "x"}}',
    "client data nested": b'{"credential": {"rawId": "AA", "response": {"clientDataJSON": "'
    + encoded(b"[" * 30_000).encode()
    + b'"}}}',
    "client data in utf-16": b'{"credential": {"rawId": "AA", "response": {"clientDataJSON": "'
    + encoded('{"challenge": "AA"}'.encode("utf-16")).encode()
    + b'"}}}',
    "an endless number": b'{"credential": ' + b"9" * 5_000 + b"}",
}


@each("name", BODIES)
@each("path", ["/sign-in", "/enrol"])
def test_a_body_that_is_none(server: Server, path: str, name: str) -> None:
    """Row 60: whatever is sent is refused with a sentence, and never with an error of ours."""
    visitor = Visitor(server)
    headers = {"Sec-Fetch-Site": "same-origin", "X-Clef-Token": visitor.token, "Content-Type": "application/json"}
    answer = visitor.web.post(path, BODIES[name], headers=headers, expect_errors=True)
    assert (answer.status_int, error(answer)) in {(400, "bad_request"), (403, "passkey_refused")}


def test_a_body_of_a_megabyte(server: Server) -> None:
    """Row 60: more than 64 KiB is not read."""
    answer = Visitor(server).send("/enrol", credential="x" * 1_000_000)
    assert (answer.status_int, error(answer)) == (413, "too_large")


@each("text", ["Ann", "Ann\x00", "<b>Ann</b>", "ü"])
def test_a_credential_id_in_other_spellings(server: Server, text: str) -> None:
    """Row 60: only base64url is read; what a lenient decoder would skip is refused."""
    visitor, ann = Visitor(server), server.add_person()
    secret = link(server, ann)
    passkey = Authenticator(ORIGIN)
    credential = passkey.make(visitor.ask("/enrol/options", secret=secret))
    credential["rawId"] = credential["id"] + "=" + text
    assert error(visitor.send("/enrol", secret=secret, credential=credential)) == "passkey_refused"


def test_without_a_script(server: Server) -> None:
    """The page says that it needs a script, and what the bare form sends is answered with the same."""
    visitor = Visitor(server)
    page = visitor.get("/enrol")
    assert "<noscript>" in page.text
    assert "JavaScript" in visitor.submit(page).text


def test_too_many_looks(tmp_path: Path) -> None:
    """Links can't be tried in a flood."""
    server = make_server(tmp_path / "clef.db", limits=Limits(enrolment=3))
    visitor = Visitor(server)
    assert [visitor.send("/enrol/look").status_int for _ in range(4)] == [403, 403, 403, 429]
    server.close()
