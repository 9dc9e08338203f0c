"""The webhook: a notification is verified, recorded once, and answered before the app. Forms are read up to a cap."""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.app import FakeProvider, ask, browser, make_app
from support.cases import each
from werkzeug.serving import make_server

from clef_wsgi.base.errors import LogoutRefused, ProviderUnavailable
from clef_wsgi.interfaces import Logout
from clef_wsgi.stores.memory import MemoryLogoutStore

WEBHOOK = "/clef/webhook"
FORM = "application/x-www-form-urlencoded"
CAP = 8 * 1024


class Body:
    """A request body that counts what is read of it, and ends where a socket would hang."""

    def __init__(self, content: bytes) -> None:
        self.taken = 0
        self._stream = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        assert 0 <= size <= CAP, "asked for more than the cap"
        chunk = self._stream.read(size)
        self.taken += len(chunk)
        return chunk


class CountingStore(MemoryLogoutStore):
    """Knows how often a logout was recorded."""

    def __init__(self) -> None:
        self.records: list[tuple[str, ...]] = []
        super().__init__()

    def record_logout(self, keys: Any, *, idempotency_key: str | None = None) -> bool:
        self.records.append(tuple(keys))
        return super().record_logout(keys, idempotency_key=idempotency_key)


def post(app: Any, body: bytes, **environ: Any) -> Any:
    """Send a notification made by hand; return the status and JSON of its answer, which must not be cached."""
    answer = ask(app, WEBHOOK, method="POST", body=body, **environ)
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("Set-Cookie") is None
    return answer


# -- R7, rows 20 to 24: what is a notification --------------------------------------------------------------


def test_r7_a_good_token_is_200_and_its_person_is_out() -> None:
    """R7: ``{"success": true}``, and the login is dead at the next request."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.sign_in("ann")
    answer = ann.notify(provider.logout_token("ann"), status=200)
    assert answer.json == {"success": True}
    assert answer.content_type == "application/json"
    assert ann.user is None


def test_r7_row_24_a_token_that_the_provider_rejects_is_400_and_changes_nothing() -> None:
    """R7, row 24: 400, the store unchanged, everybody still signed in; the token is not said back."""
    provider, store = FakeProvider(), CountingStore()
    ann = browser(make_app(provider=provider, store=store))
    ann.sign_in("ann")
    before = list(store.records)
    answer = ann.notify("1234567890", status=400)
    assert answer.json["error"] == "logout_refused"
    assert "1234567890" not in answer.text
    assert store.records == before
    assert ann.user is not None


@each(
    "body",
    [
        "",
        "x=y",
        "logout_token",
        "logout_token=",
        "logout_token=ann.1&logout_token=ann.1",
        "logout_token=&logout_token=ann.1",
    ],
)
def test_r7_row_23_no_token_an_empty_one_or_two_are_400(body: str) -> None:
    """R7, row 23: exactly one token that is not empty; the provider is not asked otherwise."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.sign_in("ann")
    answer = ann.post(WEBHOOK, body, status=400)
    assert answer.json["error"] == "malformed_form"
    assert provider.notifications == []
    assert ann.user is not None


@each("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_r7_row_20_only_post_is_a_notification(method: str) -> None:
    """R7, row 20: any other method is 405 with Allow, whatever its query says."""
    provider = FakeProvider()
    token = provider.logout_token("ann")
    answer = ask(make_app(provider=provider), WEBHOOK, method=method, query=urlencode({"logout_token": token}))
    assert (answer.status, answer.header("Allow")) == (405, "POST")
    assert provider.notifications == []


def test_a_token_in_the_query_does_not_count() -> None:
    """A notification is a form: a token in the address is ignored, since addresses are in every log."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    query = urlencode({"logout_token": provider.logout_token("ann")})
    assert post(app, b"x=y", query=query).status == 400
    assert provider.notifications == []


def test_other_fields_of_a_notification_are_handed_on_and_do_no_harm() -> None:
    """R7: a notification may hold more than its token."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    assert post(app, urlencode({"logout_token": "ann.1", "x": "é"}).encode()).status == 200
    assert provider.notifications == [{"logout_token": "ann.1", "x": "é"}]


@each(
    ("body", "media_type"),
    [
        (b'{"logout_token": "ann.1"}', "application/json"),
        (
            b'--x\r\nContent-Disposition: form-data; name="logout_token"\r\n\r\nann.1\r\n--x--',
            "multipart/form-data; boundary=x",
        ),
        (b"logout_token=ann.1", "text/plain"),
        (b"logout_token=ann.1", "application/x-www-form-urlencoded-not"),
        (b"logout_token=ann.1", ""),
        (b"logout_token=ann.1", None),
    ],
    ids=["JSON", "multipart", "text", "almost", "empty", "none"],
)
def test_r7_row_22_only_forms_are_read(body: bytes, media_type: str | None) -> None:
    """R7, row 22: anything else is 415 before a byte is read."""
    provider, stream = FakeProvider(), Body(body)
    app = make_app(provider=provider, validated=False)
    answer = post(app, body, CONTENT_TYPE=media_type, stream=stream)
    assert (answer.status, answer.json["error"]) == (415, "not_a_form")
    assert stream.taken == 0
    assert provider.notifications == []


@each("media_type", [FORM, FORM + "; charset=UTF-8", FORM.upper(), f" {FORM} ;x=y"])
def test_r7_a_forms_media_type_may_have_parameters(media_type: str) -> None:
    """R7: the type alone counts, in any case (RFC 9110, section 8.3.1)."""
    answer = post(make_app(), b"logout_token=ann.1", CONTENT_TYPE=media_type)
    assert answer.status == 200


def test_r8_a_notification_needs_no_cookie_and_never_meets_the_app() -> None:
    """R8: no cookie, no CSRF token, an app behind it that refuses everything: 200 all the same."""
    asked: list[str] = []

    def refusing(environ: Any, start_response: Any) -> Any:
        asked.append(environ["PATH_INFO"])
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"CSRF token missing"]

    provider = FakeProvider()
    app = make_app(refusing, provider=provider, protect=["/"])
    headers = {"HTTP_ORIGIN": "null", "HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_USER_AGENT": "Clef/1.0"}
    assert post(app, b"logout_token=ann.1", **headers).status == 200
    assert asked == []


def test_r8_the_cookie_of_a_notification_does_not_matter() -> None:
    """R8: a notification with another person's cookie ends its own person's login and leaves that session alone."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    bob = browser(app)
    bob.sign_in("bob")
    assert post(app, b"logout_token=ann.1", HTTP_COOKIE=bob.cookie).status == 200
    assert bob.user is not None


# -- row 21: lengths --------------------------------------------------------------------------------------

LENGTHS = {
    "letters": ("abc", 400),
    "negative": ("-5", 400),
    "signed": ("+18", 400),
    "spaces": (" 18 ", 400),
    "underscore": ("1_8", 400),
    "a fraction": ("18.0", 400),
    "exponent": ("1e1", 400),
    "hexadecimal": ("0x12", 400),
    "other digits": ("١٨", 400),
    "two lengths": ("18, 18", 400),
    "5,000 digits": ("1" * 5000, 400),
    "a line break": ("18\n", 400),
    "one byte too many": (str(CAP + 1), 413),
    "a gigabyte": ("1000000000", 413),
    "twenty digits": ("9" * 20, 413),
    "empty": ("", 411),
    "missing": (None, 411),
    "zero": ("0", 400),
}


@each(("length", "status"), LENGTHS.values(), ids=LENGTHS)
def test_row_21_a_length_that_makes_no_sense_is_refused_unread(length: str | None, status: int) -> None:
    """Row 21: 400, 411 or 413, before a byte of the body is read or the provider asked."""
    provider, stream = FakeProvider(), Body(b"logout_token=ann.1")
    app = make_app(provider=provider, validated=False)
    answer = post(app, b"x", CONTENT_LENGTH=length, stream=stream)
    assert answer.status == status
    assert stream.taken == 0
    assert provider.notifications == []


class Chunks:
    """A body in chunks, as a server hands it over that says where the input ends: a read may give less than asked."""

    def __init__(self, *chunks: bytes, breaks: bool = False) -> None:
        self.taken, self._chunks, self._breaks = 0, list(chunks), breaks

    def read(self, size: int) -> bytes:
        assert 0 < size <= CAP, "asked for more than the cap"
        if not self._chunks and self._breaks:
            raise ConnectionResetError
        chunk = self._chunks.pop(0) if self._chunks else b""
        if chunk[size:]:
            self._chunks.insert(0, chunk[size:])
        self.taken += len(chunk[:size])
        return chunk[:size]


ENDED = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_TYPE": FORM}


@each("terminated", [{}, {"wsgi.input_terminated": False}])
@each("length", ["", None])
def test_row_21_a_chunked_body_is_411_where_nobody_says_its_end(length: str | None, terminated: Any) -> None:
    """Row 21: chunked, and the server does not end the input: reading it could hang, so 411, unread."""
    stream = Body(b"logout_token=ann.1")
    chunked = {**terminated, "HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_TYPE": FORM}
    answer = post(make_app(validated=False), b"", CONTENT_LENGTH=length, stream=stream, **chunked)
    assert (answer.status, answer.json["error"]) == (411, "length_required")
    assert stream.taken == 0


@each(
    "chunks",
    [(b"logout_token=ann.1",), (b"logout_", b"token=an", b"n.1"), tuple(b"%c" % b for b in b"logout_token=ann.1")],
)
def test_row_21_a_chunked_body_is_read_where_the_server_ends_it(chunks: tuple[bytes, ...]) -> None:
    """Row 21: ``wsgi.input_terminated``: all of it, however small the pieces."""
    provider = FakeProvider()
    app = make_app(provider=provider, validated=False)
    for length in (None, ""):
        assert post(app, b"", CONTENT_LENGTH=length, stream=Chunks(*chunks), **ENDED).status == 200
    assert provider.notifications == [{"logout_token": "ann.1"}] * 2


@each("media_type", ["", None, "application/json", "text/plain"])
def test_row_21_a_chunked_body_must_be_a_form(media_type: str | None) -> None:
    """Row 21: what says of itself no type, or another one, is 415, unread."""
    stream = Chunks(b"logout_token=ann.1")
    answer = post(make_app(validated=False), b"", stream=stream, **{**ENDED, "CONTENT_TYPE": media_type})
    assert (answer.status, answer.json["error"], stream.taken) == (415, "not_a_form", 0)


@each("size", [CAP + 1, 1024 * 1024])
def test_row_21_a_chunked_body_is_read_up_to_the_cap(size: int) -> None:
    """Row 21: a byte more than the cap is 413, and no more than that byte is read; the cap itself is fine."""
    head = b"logout_token=ann.1&x="
    app = make_app(validated=False)
    assert post(app, b"", stream=Chunks(head + b"y" * (CAP - len(head))), **ENDED).status == 200
    stream = Chunks(*[head + b"y" * (size - len(head))])
    answer = post(app, b"", stream=stream, **ENDED)
    assert (answer.status, answer.json["error"]) == (413, "form_too_long")
    assert stream.taken == CAP + 1


@each("chunks", [(), (b"logout_token=ann.1",), (b"logout_token=an",)])
def test_row_21_a_chunked_body_that_breaks_off_is_not_believed(chunks: tuple[bytes, ...]) -> None:
    """Row 21: half a token is not a token, and what came may be half of it."""
    provider = FakeProvider()
    answer = post(make_app(provider=provider, validated=False), b"", stream=Chunks(*chunks, breaks=True), **ENDED)
    assert (answer.status, answer.json["error"]) == (400, "malformed_form")
    assert provider.notifications == []


def test_row_21_a_chunked_notification_over_a_real_server() -> None:
    """Row 21: Werkzeug's server says where the input ends."""
    provider = FakeProvider()
    server = make_server("127.0.0.1", 0, make_app(provider=provider, base_url="http://localhost:1", validated=False))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)) as connection:
            pieces = iter([b"logout_token", b"=ann.1"])
            connection.request("POST", WEBHOOK, pieces, {"Content-Type": FORM}, encode_chunked=True)
            assert connection.getresponse().status == 200
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert provider.notifications == [{"logout_token": "ann.1"}]


@each(
    "body",
    [
        {},
        {"CONTENT_LENGTH": None, "wsgi.input_terminated": True},
        {"CONTENT_LENGTH": "1000000"},
        {"CONTENT_LENGTH": ""},
    ],
)
def test_r7_row_22_json_is_415_whatever_its_length(body: dict[str, Any]) -> None:
    """R7, row 22: of a megabyte, in chunks or without a length: what is wrong is that it is no form."""
    stream = Body(b'{"logout_token": "ann.1"}')
    app = make_app(validated=False)
    answer = post(app, b"x", stream=stream, CONTENT_TYPE="application/json; charset=utf-8", **body)
    assert (answer.status, answer.json["error"]) == (415, "not_a_form")
    assert stream.taken == 0


@each("content", [b"", b"logout_token=ann.", b"logout_token=ann.1"])
def test_row_21_a_body_shorter_than_its_length_is_cut_off(content: bytes) -> None:
    """Row 21: a form that ends early is 400: half a token is not a token."""
    provider = FakeProvider()
    answer = post(make_app(provider=provider), content, CONTENT_TYPE=FORM, CONTENT_LENGTH="19")
    assert answer.status == 400
    assert answer.json["error"] == "malformed_form"
    assert provider.notifications == []


def test_row_21_a_peer_that_leaves_is_no_exception() -> None:
    """Row 21: a connection that breaks while the form is read is a form cut off."""

    class Broken:
        def read(self, size: int) -> bytes:
            raise ConnectionResetError

    app = make_app(validated=False)
    answer = post(app, b"x", CONTENT_LENGTH="18", stream=Broken())
    assert (answer.status, answer.json["error"]) == (400, "malformed_form")


def test_row_21_no_more_is_read_than_the_length_says() -> None:
    """Row 21: what follows on the connection is not this request's."""
    provider, stream = FakeProvider(), Body(b"logout_token=ann.1GET / HTTP/1.1")
    app = make_app(provider=provider, validated=False)
    assert post(app, b"x", CONTENT_LENGTH="18", stream=stream).status == 200
    assert stream.taken == 18
    assert provider.notifications == [{"logout_token": "ann.1"}]


def test_r7_row_21_a_form_may_be_8_kib_and_not_a_byte_more() -> None:
    """R7, row 21: 8,192 bytes are read, 8,193 and a megabyte are 413."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    head = b"logout_token=ann.1&x="
    assert post(app, head + b"y" * (CAP - len(head))).status == 200
    for length in (CAP + 1, 1024 * 1024):
        answer = post(app, head + b"y" * (length - len(head)))
        assert (answer.status, answer.json["error"]) == (413, "form_too_long")
    assert len(provider.notifications) == 1


@pytest.mark.parametrize("fields", [101, 4000])
def test_row_22_a_form_of_many_fields_is_refused(fields: int) -> None:
    """Row 22: a hundred fields are more than any notification has; 10,000 don't fit under the cap."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    assert post(app, b"&".join([b"a="] * (fields - 1) + [b"logout_token=ann.1"])[:CAP]).status in (400, 413)
    assert post(app, b"&".join([b"a="] * 10_000)).status == 413
    assert provider.notifications == []
    assert post(app, b"&".join([b"a="] * 99 + [b"logout_token=ann.1"])).status == 200


@each("body", [b"logout_token=%ff", b"logout_token=ann.1&x=%80", b"logout_token=ann.1&%ff="])
def test_row_22_a_form_that_is_not_utf_8_is_refused(body: bytes) -> None:
    """Row 22: bytes that are no text are 400, not guessed at."""
    provider = FakeProvider()
    answer = post(make_app(provider=provider), body)
    assert (answer.status, answer.json["error"]) == (400, "malformed_form")
    assert provider.notifications == []


# -- R9, R10, rows 25 to 28: what a notification does -----------------------------------------------------


def test_r9_one_notification_ends_every_login_of_the_person_and_no_other() -> None:
    """R9: two browsers signed in, one notification: both out at their next request; others stay signed in."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    phone, desk, bob = browser(app), browser(app), browser(app)
    phone.sign_in("ann")
    desk.sign_in("ann")
    bob.sign_in("bob")
    assert post(app, urlencode({"logout_token": provider.logout_token("ann")}).encode()).status == 200
    assert (phone.user, desk.user) == (None, None)
    assert bob.user is not None


def test_r9_one_notification_ends_logins_on_all_sites_that_share_a_store_and_only_there() -> None:
    """R9: keys name their provider: two sites of one provider share a logout, one of another provider does not."""
    store, provider = MemoryLogoutStore(), FakeProvider()
    here, there, other = (
        browser(make_app(provider=p, store=store)) for p in (provider, FakeProvider(), FakeProvider("x"))
    )
    for visitor in (here, there, other):
        visitor.sign_in("ann")
    here.notify(provider.logout_token("ann"), status=200)
    assert (here.user, there.user) == (None, None)
    assert other.user is not None


def test_r10_row_25_the_same_notification_again_does_not_end_a_newer_login() -> None:
    """R10, row 25: a logout, a new login at once, the same notification again: the new login lives, the old is dead."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    ann = browser(app)
    ann.sign_in("ann")
    old_cookie = ann.cookie
    token = provider.logout_token("ann")
    ann.notify(token, status=200)
    ann.sign_in("ann")
    new = ann.get("/").json["login_id"]
    assert ann.notify(token, status=200).json == {"success": True}
    assert ann.get("/").json["login_id"] == new
    assert ask(app, HTTP_COOKIE=old_cookie).json["user"] is None


def test_row_25_a_hundred_deliveries_at_once_are_one_logout() -> None:
    """Row 25: a token 100 times in parallel, before and after a new login: all 200, one effect."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    ann = browser(app)
    ann.sign_in("ann")
    body = urlencode({"logout_token": provider.logout_token("ann")}).encode()
    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(lambda _: post(app, body).status, range(50)))
        assert ann.user is None
        ann.sign_in("ann")
        second = list(pool.map(lambda _: post(app, body).status, range(50)))
    assert set(first + second) == {200}
    assert ann.user is not None


def test_row_26_a_person_never_seen_here_is_a_plain_200_and_is_recorded() -> None:
    """Row 26: the site need not know anybody: the logout stands in the store."""
    provider, store = FakeProvider(), CountingStore()
    app = make_app(provider=provider, store=store)
    assert post(app, b"logout_token=stranger.1").status == 200
    assert store.records[-1] == (provider.user_key("stranger"),)
    assert store.newest_logout([provider.user_key("stranger")]) > store.newest_logout([])


def test_row_27_a_late_first_delivery_ends_the_newer_login_of_that_person_alone() -> None:
    """Row 27: a late first notification fails closed and also ends newer logins; nobody else is touched."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    ann, bob = browser(app), browser(app)
    ann.sign_in("ann")
    late = provider.logout_token("ann")
    ann.sign_in("ann")
    bob.sign_in("bob")
    ann.notify(late, status=200)
    assert ann.user is None
    assert bob.user is not None


def test_a_notification_without_a_digest_counts_each_time() -> None:
    """A provider that gives no ``idempotency_key`` wants every delivery to count."""
    provider = FakeProvider()
    provider.logout = Logout((provider.user_key("ann"),))
    ann = browser(make_app(provider=provider))
    for _ in range(2):
        ann.sign_in("ann")
        ann.notify("ann.1", status=200)
        assert ann.user is None


def test_row_28_a_notification_that_names_nobody_is_503_and_nothing_is_recorded() -> None:
    """Row 28: a provider that vouches for a logout of nobody makes no sense: never a 200 for what did not happen."""
    provider, store = FakeProvider(), CountingStore()
    provider.logout = Logout(())
    before = list(store.records)
    answer = post(make_app(provider=provider, store=store), b"logout_token=ann.1")
    assert (answer.status, answer.json["error"]) == (503, "provider_answer")
    assert answer.header("Retry-After") == "5"
    assert store.records == before


@each("keys", [(True,), ([],), ({},), (None,), (1.0,), "everyone", None], ids=repr)
def test_row_28_keys_that_are_not_text_are_503_and_nothing_is_recorded(keys: Any) -> None:
    """Row 28: logout keys of somebody else's provider are text, and a list of it; else 503, and no exception leaves."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.sign_in("ann")
    provider.logout = Logout(keys)
    ann.notify("ann.1", status=503)
    assert ann.user is not None


REFUSALS = {
    "not genuine": (LogoutRefused(), 400, "logout_refused"),
    "not genuine, with a reason": (LogoutRefused("No.", reason="expired"), 400, "expired"),
    "provider away": (ProviderUnavailable(), 503, "provider_unavailable"),
}


@each(("error", "status", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_rows_24_28_what_the_provider_raises_is_the_answer(error: Any, status: int, reason: str) -> None:
    """Rows 24, 28: the answer claims nothing that did not happen; the same notification works later."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.sign_in("ann")
    token = provider.logout_token("ann")
    provider.raises = error
    answer = ann.notify(token, status=status)
    assert answer.json["error"] == reason
    assert ("Retry-After" in answer.headers) == (status == 503)
    provider.raises = None
    assert ann.user is not None
    ann.notify(token, status=200)
    assert ann.user is None


def test_no_token_stands_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    """A logout token is a secret while it can be used: no log line holds it, valid or not."""
    caplog.set_level(logging.DEBUG, logger="clef_wsgi")
    app = make_app()
    assert post(app, b"logout_token=T0KEN").status == 400
    assert post(app, b"logout_token=T0KEN.1").status == 200
    assert len(caplog.records) == 2
    assert "T0KEN" not in caplog.text


def test_the_reference_of_a_refused_notification_stands_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever runs the provider can quote the reference to whoever runs the site."""
    answer = post(make_app(), b"logout_token=x")
    assert set(answer.json) == {"error", "message", "reference"}
    assert len(answer.json["reference"]) == 8
    assert answer.json["reference"] in caplog.text


# -- any body at all --------------------------------------------------------------------------------------

_BODIES = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.tuples(st.sampled_from(["logout_token", "x", ""]), st.sampled_from(["ann.1", "x", "", "%ff", "\x00"])),
        max_size=4,
    )
    .map(urlencode)
    .map(str.encode),
)
_LENGTHS = st.one_of(st.none(), st.text(max_size=4), st.integers(-10, 9000).map(str))
_TYPES = st.one_of(st.just(FORM), st.none(), st.text(st.characters(max_codepoint=255), max_size=12))
_FUZZ = settings(max_examples=70)


@_FUZZ
@given(
    body=_BODIES,
    length=st.one_of(st.just("true"), _LENGTHS),
    media_type=_TYPES,
    method=st.sampled_from(["POST", "POST", "PUT"]),
)
def test_any_notification_has_a_plain_answer(
    body: bytes, length: str | None, media_type: str | None, method: str
) -> None:
    """Rows 20 to 23: no exception escapes, the status is a known one, and only a whole notification is verified."""
    provider, stream = FakeProvider(), Body(body)
    length = str(len(body)) if length == "true" else length
    answer = ask(
        make_app(provider=provider, validated=False),
        WEBHOOK,
        method=method,
        CONTENT_LENGTH=length,
        CONTENT_TYPE=media_type,
        stream=stream,
    )
    assert answer.status in (200, 400, 405, 411, 413, 415)
    assert isinstance(answer.json, dict)
    assert (answer.status == 200) == (
        len(provider.notifications) == 1 and "." in provider.notifications[0]["logout_token"]
    )
