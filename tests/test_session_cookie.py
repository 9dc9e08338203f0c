"""The session cookie among others: found by its name and signature, whatever stands around it; secrets that change."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

import pytest
from beaker.middleware import SessionMiddleware
from beaker.session import Session, SessionObject
from hypothesis import given, settings
from hypothesis import strategies as st
from support.app import BASE_URL, SECRET, FakeProvider, WSGIApp, ask, browser, echo, make_app
from support.beaker_records import MemoryRecords, session_id
from support.cases import each

from clef_wsgi import (
    ClefMiddleware,
    ConfigurationError,
    MemoryLogoutStore,
    from_settings,
    session_options,
    wrap,
)
from clef_wsgi.beaker import login_record
from clef_wsgi.beaker.cookie import SessionCookie

NAME = "__Host-clef-www-example-com"
NEW_SECRET = "a newer secret for tests, 32 bytes or more"
MEMORY = MemoryRecords().options


def signed(secret: str, session_id: str) -> str:
    """A cookie's value as Beaker writes it (HMAC-SHA1 in hex, then the id)."""
    return hmac.new(secret.encode(), session_id.encode(), "sha1").hexdigest() + session_id


def sees(app: WSGIApp, cookie: str) -> Any:
    """Return the id of the user signed in for a request with exactly this Cookie header."""
    answer = ask(app, HTTP_COOKIE=cookie)
    assert answer.status == 200
    user = answer.json["user"]
    return user and user["id"]


# -- row 72: cookies of others -------------------------------------------------------------------------------

FOREIGN = [
    '{"a": 1, "b": [2, 3]}',
    'consent={"version":"1.0","purposes":[1,2,3]}',
    "a[]=1; b[x]=2",
    "[]",
    "name[]",
    "caf\u00e9=cr\u00e8me",
    "caf\u00c3\u00a9=cr\u00c3\u00a8me",
    "smile=\u00f0\u009f\u0098\u0080",
    "\u00f0\u009f\u0098\u0080",
    "=v",
    "=",
    "novalue",
    "a=",
    "two words",
    "a b=c d",
    'quote="',
    'a="b; c"d',
    '"',
    "a=b,c=d",
    "@@=1",
    "a=b=c",
    ";;; ;",
    "$Version=1; $Path=/",
    "expires=Thu, 01 Jan 1970 00:00:00 GMT; path=/; secure",
    f"x{NAME}=1",
    f"{NAME}2=1",
    f"{NAME.lower()}=1",
    f"a={NAME}",
    NAME,
    f"{NAME}=",
    f'{NAME}="',
    f"{NAME}={'f' * 72}",
    f"{NAME}=\u00e9{'f' * 71}",
    f"{NAME}={'f' * 9000}",
    "; ".join(f"junk{number}={{}}[]" for number in range(500)),
    "a=\x7f\x01\x80",
]


@each("foreign", FOREIGN)
def test_row_72_a_cookie_of_somebody_else_hides_nothing(foreign: str) -> None:
    """Row 72: JSON, brackets, non-ASCII, no name, no value, spaces, quotes, 8 KB: ours is found on either side."""
    ann = browser(APP)
    ann.sign_in("ann")
    for header in (f"{foreign}; {ann.cookie}", f"{ann.cookie}; {foreign}", f"{foreign};{ann.cookie};{foreign}"):
        assert sees(APP, header) == "ann"


@each("foreign", FOREIGN)
def test_row_72_a_login_finishes_among_them(foreign: str) -> None:
    """Row 72: the callback finds its state; no "this browser does not keep cookies"."""
    ann = browser(APP)
    state = ann.start_login("/notes")
    answer = ask(APP, "/clef/callback", query=f"code=ann&state={state}", HTTP_COOKIE=f"{foreign}; {ann.cookie}")
    assert (answer.status, answer.header("Location")) == (303, BASE_URL + "/notes")


@each("foreign", FOREIGN)
def test_row_72_the_app_gets_the_header_untouched(foreign: str) -> None:
    """Row 72: the app reads its own cookies from the header as it came."""
    seen: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        dict(environ["beaker.session"])
        seen.append(environ["HTTP_COOKIE"])
        return echo(environ, start_response)

    header = f"{foreign}; {browser(APP).cookie}"
    ask(make_app(app, session=MEMORY, validated=False), HTTP_COOKIE=header)
    assert seen == [header]


ANYTHING = st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n\0"), max_size=60)


@settings(max_examples=100)
@given(before=st.lists(ANYTHING, max_size=4), after=st.lists(ANYTHING, max_size=4))
def test_row_72_whatever_stands_around_it(before: list[str], after: list[str]) -> None:
    """Row 72: any text that a header can hold, before and after."""
    assert sees(APP, "; ".join([*before, SIGNED_IN.cookie, *after])) == "ann"


def test_row_72_a_foreign_cookie_is_no_session_of_ours() -> None:
    """A name that holds ours, or a forged value, is as none: a callback does not start over, nothing is set."""
    for cookie in (f"x{NAME}=1", f"{NAME}2=x", f"{NAME}={'f' * 72}", f"a={NAME}=b"):
        answer = ask(APP, "/clef/callback", query="code=ann&state=unknown", HTTP_COOKIE=cookie)
        assert (answer.status, answer.header("Set-Cookie")) == (400, None)


# -- row 73: several of our name ---------------------------------------------------------------------------


def test_row_73_the_last_that_verifies_wins() -> None:
    """Row 73: of two signed ones the last; a forged one after it, or a hundred, changes nothing."""
    ann, bo = browser(APP), browser(APP)
    ann.sign_in("ann")
    bo.sign_in("bo")
    forged = f"{NAME}={'f' * 72}"
    assert sees(APP, f"{ann.cookie}; {bo.cookie}") == "bo"
    assert sees(APP, f"{bo.cookie}; {ann.cookie}") == "ann"
    assert sees(APP, f"{bo.cookie}; {ann.cookie}; {forged}") == "ann"
    assert sees(APP, f"{forged}; {ann.cookie}; {forged}; {NAME}=; {NAME}") == "ann"


def test_row_73_a_value_in_quotes_is_the_same() -> None:
    """Quotes around a value, which some clients and proxies add, are none of its own (RFC 6265, section 4.1.1)."""
    name, _, value = SIGNED_IN.cookie.partition("=")
    assert sees(APP, f'{name}="{value}"') == "ann"
    assert sees(APP, f'a="b; {name}="{value}"; c"') == "ann"


# -- what Beaker itself reads and writes --------------------------------------------------------------------


def test_beakers_own_class_and_ours_read_each_others_cookies() -> None:
    """The format is Beaker's: a stock session with the same options finds what ours wrote, and the other way round."""
    ann = browser(APP)
    ann.get("/session?color=blue")
    options = {"key": NAME, "secret": SECRET, "data_serializer": "json", "type": "memory"}
    stock = Session({"cookie": ann.cookie}, **options)
    assert stock["color"] == "blue"
    request: dict[str, Any] = {"cookie": None}
    written = Session(request, **options)
    written["color"] = "red"
    written.save()
    cookie = request["cookie_out"].strip().partition(";")[0]
    assert ask(APP, "/session", HTTP_COOKIE=cookie).json["session"] == {"color": "red"}


@each("option", [{"session_class": None}, {"session_class": Session}, {"use_cookies": False}, {"use_cookies": "false"}])
def test_a_session_that_reads_its_cookie_otherwise_is_refused(option: dict[str, Any]) -> None:
    """At construction, and in a Beaker of one's own at the first request, with the line to write."""
    with pytest.raises(ConfigurationError) as caught:
        session_options(base_url=BASE_URL, secret=SECRET, **option)
    [fault] = caught.value.faults
    assert ("SessionMiddleware(app, session_options(base_url='https://www.example.com', secret=...))" in fault) is (
        "session_class" in option
    )
    inner = ClefMiddleware(echo, provider=FakeProvider(), logout_store=MemoryLogoutStore(), base_url=BASE_URL)
    given = session_options(base_url=BASE_URL, secret=SECRET)
    app = SessionMiddleware(inner, {**given, **{f"session.{name}": value for name, value in option.items()}})
    for _ in range(2):
        with pytest.raises(ConfigurationError) as caught:
            ask(app)
        assert caught.value.faults == (fault,)


# -- row 74: a secret that changes --------------------------------------------------------------------------


def test_row_74_a_secret_is_changed_without_a_gap() -> None:
    """Row 74: with [new, old] old cookies go on; a login after that is signed with the new one; [new] ends the rest."""
    provider, store = FakeProvider(), MemoryLogoutStore()

    def site(secret: Any) -> WSGIApp:
        return make_app(provider=provider, store=store, session={**MEMORY, "secret": secret})

    before, between, after = site(SECRET), site([NEW_SECRET, SECRET]), site([NEW_SECRET])
    ann = browser(before)
    ann.sign_in("ann")
    assert sees(between, ann.cookie) == "ann"
    assert sees(after, ann.cookie) is None
    bo = browser(between)
    bo.sign_in("bo")
    assert bo.cookie == f"{NAME}={signed(NEW_SECRET, session_id(bo.cookie))}"
    assert [sees(app, bo.cookie) for app in (before, between, after)] == [None, "bo", "bo"]
    ann.app = between
    ann.sign_in("ann")
    assert sees(after, ann.cookie) == "ann"


def test_row_74_a_login_under_way_survives_the_change() -> None:
    """Row 74: started with the old secret, finished with both."""
    provider, store = FakeProvider(), MemoryLogoutStore()
    ann = browser(make_app(provider=provider, store=store, session=MEMORY))
    state = ann.start_login("/notes")
    ann.app = make_app(provider=provider, store=store, session={**MEMORY, "secret": [NEW_SECRET, SECRET]})
    assert ann.come_back(state, status=303).location == BASE_URL + "/notes"
    assert ann.user["id"] == "ann"


@each("secret", [[], (), [SECRET, ""], [SECRET, "short"], ["short"], [SECRET, b"x" * 32], [SECRET, None], {SECRET: 1}])
def test_row_74_each_secret_of_the_list_is_checked(secret: Any) -> None:
    """An old secret that is short, empty or no text is refused as a new one."""
    with pytest.raises(ConfigurationError) as caught:
        wrap(
            echo,
            provider=FakeProvider(),
            logout_store=MemoryLogoutStore(),
            base_url=BASE_URL,
            session={"secret": secret},
        )
    assert "secret" in str(caught.value)
    assert "short" not in str(caught.value)


def test_row_74_a_list_that_beaker_made_one_text_of_is_refused() -> None:
    """Beaker itself takes ``str()`` of a list: a secret that nobody meant, and nothing rotates."""
    inner = ClefMiddleware(echo, provider=FakeProvider(), logout_store=MemoryLogoutStore(), base_url=BASE_URL)
    given = session_options(base_url=BASE_URL, secret=SECRET)
    with pytest.raises(ConfigurationError, match="give the list to session_options"):
        ask(SessionMiddleware(inner, {**given, "session.secret": [NEW_SECRET, SECRET]}))


@pytest.fixture
def texts(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "secret").write_text(f"{NEW_SECRET}\n{SECRET}\n")
    return {
        "base_url": BASE_URL,
        "provider": "clef_wsgi.testing:FakeProvider",
        "store": "memory",
        "session.type": "memory",
    }


def test_row_74_several_secrets_as_text(texts: dict[str, str], tmp_path: Path) -> None:
    """In settings: each secret on a line of its own, in the value or in ``secret_file``, the newest first."""
    visitor = browser(make_app(session=MEMORY))
    visitor.get("/session?color=blue")
    ways = [{"session.secret": f"{NEW_SECRET}\n{SECRET}"}]
    ways += [{"session.secret_file": str(tmp_path / "secret")}]
    for way in ways:
        app = from_settings(echo, {**texts, **way})
        assert ask(app, "/session", HTTP_COOKIE=visitor.cookie).json["session"] == {"color": "blue"}
        fresh = browser(app)
        fresh.get("/session?color=red")
        assert fresh.cookie == f"{NAME}={signed(NEW_SECRET, session_id(fresh.cookie))}"


# -- verified once in a request -------------------------------------------------------------------------------


class CountedCookie(SessionCookie):
    """Counts how often a header was read."""

    readings = 0

    def session_id(self, header: str | None) -> str | None:
        self.readings += 1
        return super().session_id(header)


def test_a_cookie_is_verified_once_by_the_same_secrets_for_the_same_header() -> None:
    """An outcome counts for its own header alone, an equal text included, and for nobody with other secrets."""
    reader, header = CountedCookie(NAME, (SECRET,)), f"{NAME}={signed(SECRET, 'a')}"
    verified = reader.verify(header)
    assert reader.verify(header, verified) is verified
    assert (verified.session_id, reader.readings) == ("a", 1)
    assert reader.verify(f"{NAME}={signed(SECRET, 'b')}", verified).session_id == "b"
    assert reader.verify("".join(list(header)), verified) is not verified
    assert reader.verify(f"{NAME}={'0' * 40}a", verified).session_id is None
    assert SessionCookie(NAME, (NEW_SECRET,)).verify(header, verified).session_id is None
    for odd in (None, "a", ("a", header), (reader, header, "z")):
        assert reader.verify(header, odd).session_id == "a"


def test_a_session_behind_another_header_is_not_that_of_the_verified_one() -> None:
    """The header changes between the middleware and the session: then the session's own is verified."""
    ann, bob = browser(make_app(session=MEMORY)), browser(make_app(session=MEMORY))
    ann.sign_in("ann")
    bob.sign_in("bob")
    beaker = SessionMiddleware(echo, session_options(base_url=BASE_URL, secret=SECRET, **MEMORY))
    reader = login_record.cookie(beaker.options)
    for ours, theirs in ((ann.cookie, bob.cookie), (ann.cookie, f"{NAME}={'0' * 40}x"), (ann.cookie, "")):
        session = SessionObject({"HTTP_COOKIE": theirs}, **beaker.options)
        assert login_record.carries_cookie(session, reader, ours)
        assert session.id != session_id(ours)
        assert session.is_new == (theirs != bob.cookie)


APP = make_app(session=MEMORY, validated=False)
SIGNED_IN = browser(APP)
SIGNED_IN.sign_in("ann")
