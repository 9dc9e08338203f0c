"""Row 75: a login belongs to its site. Two middlewares in one session, two sites on one back-end with one secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from beaker.middleware import SessionMiddleware
from support.app import BASE_URL, PROVIDER_URL, SECRET, Browser, FakeProvider, WSGIApp, ask, browser, echo, make_app
from support.beaker_records import BACK_ENDS, BackEnd, MemoryRecords, Records, has_login
from support.cases import each

from clef_wsgi import (
    ClefMiddleware,
    ClefProvider,
    ConfigurationError,
    LoginRefused,
    LogoutStore,
    MemoryLogoutStore,
    session_options,
    wrap,
)

OTHER_URL = "https://shop.example.com"
SHARED_KEY = {"key": "shared"}
STAFF = "/staff/"


@pytest.fixture(params=BACK_ENDS)
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    back_end: BackEnd = request.param
    with back_end(tmp_path) as found:
        yield found


# -- two middlewares in one session -------------------------------------------------------------------------


class Doorman(FakeProvider):
    """A second provider, whose paths lie below /staff/."""

    def __init__(self) -> None:
        super().__init__("doorman")


def two_doors(records: Records, customers: FakeProvider, staff: FakeProvider, **options: Any) -> WSGIApp:
    """One site, one Beaker session, two providers: customers' paths as ever, the staff's below /staff/."""
    store = MemoryLogoutStore()
    common: dict[str, Any] = {"logout_store": store, "base_url": BASE_URL, **options}
    own: dict[str, Any] = {f"{name}_path": f"/staff/clef/{name}" for name in ("login", "callback", "webhook", "logout")}
    inside = ClefMiddleware(echo, provider=customers, **common)
    behind = ClefMiddleware(echo, provider=staff, **own, **common)

    def by_path(environ: dict[str, Any], start_response: Any) -> Any:
        return (behind if environ["PATH_INFO"].startswith(STAFF) else inside)(environ, start_response)

    app: WSGIApp = SessionMiddleware(by_path, session_options(base_url=BASE_URL, secret=SECRET, **records.options))
    return app


def staff_start(ann: Browser) -> str:
    location = ann.get("/staff/clef/login", status=303).location
    return str(location.partition("state=")[2].partition("&")[0])


def staff_sign_in(ann: Browser, person: str) -> None:
    ann.get(f"/staff/clef/callback?code={person}&state={staff_start(ann)}", status=303)


def people(ann: Browser) -> tuple[Any, Any]:
    users = [ann.get(path).json["user"] for path in ("/", STAFF)]
    return users[0] and users[0]["id"], users[1] and users[1]["id"]


def test_row_75_two_providers_in_one_session_live_side_by_side(records: Records) -> None:
    """Both signed in, a hundred requests each in turns; a sign-out at one leaves the other, whichever comes first."""
    ann = browser(two_doors(records, FakeProvider(), Doorman()))
    ann.sign_in("ann")
    assert people(ann) == ("ann", None)
    staff_sign_in(ann, "dr-ann")
    for _ in range(100):
        assert people(ann) == ("ann", "dr-ann")
    ann.get("/session?diary=ann's")
    ann.sign_out()
    assert people(ann) == (None, "dr-ann")
    assert ann.get("/session").json["session"] == {}
    ann.sign_in("bo")
    assert people(ann) == ("bo", "dr-ann")
    ann.post("/staff/clef/logout", headers={"Sec-Fetch-Site": "same-origin"})
    assert people(ann) == ("bo", None)
    ann.sign_out()
    assert people(ann) == (None, None)
    assert not has_login(records.read(ann.cookie))


def test_row_75_a_change_of_person_and_a_notification_end_no_other_login() -> None:
    """A person signed in over another, a webhook and a dead login empty the session but for the other's login."""
    customers, staff = FakeProvider(), Doorman()
    ann = browser(two_doors(MemoryRecords(), customers, staff))
    staff_sign_in(ann, "dr-ann")
    for is_notification in (False, True):
        ann.sign_in("ann")
        ann.get("/session?diary=ann's")
        if is_notification:
            ann.notify(customers.logout_token("ann"))
        else:
            ann.sign_in("bo")
        assert people(ann)[0] in ("bo", None)
        assert people(ann)[1] == "dr-ann"
        assert ann.get("/session").json["session"] == {}


def test_row_75_a_state_of_one_provider_is_unknown_to_the_other() -> None:
    """Mix-up (RFC 9700, section 4.4): a code is never taken to the provider whose state it does not carry."""
    customers, staff = FakeProvider(), Doorman()
    ann = browser(two_doors(MemoryRecords(), customers, staff))
    ann.get("/session?color=blue")
    state, staff_state = ann.start_login(), staff_start(ann)
    assert ann.come_back(staff_state, status=303).location.startswith(PROVIDER_URL)
    ann.get(f"/staff/clef/callback?code=eve&state={state}", status=303)
    assert (customers.finishes, staff.finishes, people(ann)) == ([], [], (None, None))
    assert ann.come_back(state, status=303).location == BASE_URL + "/"
    ann.get(f"/staff/clef/callback?code=dr-ann&state={staff_state}", status=303)
    assert people(ann) == ("ann", "dr-ann")


class Client(FakeProvider):
    """A client of an issuer that has several."""

    def __init__(self, client_id: str) -> None:
        super().__init__()
        self.client_id = client_id


def test_two_clients_of_one_issuer_have_logins_of_their_own() -> None:
    """An ID token for one client is none for the other (OpenID Connect Core 1.0, section 3.1.3.7, ``aud``)."""
    ann = browser(two_doors(MemoryRecords(), Client("customers"), Client("staff")))
    ann.sign_in("ann")
    assert people(ann) == ("ann", None)
    staff_sign_in(ann, "dr-ann")
    assert people(ann) == ("ann", "dr-ann")


def test_row_75_a_record_of_another_is_not_malformed() -> None:
    """Whatever stands under another middleware's name stays there, and means nothing here."""
    records = MemoryRecords()
    ann = browser(two_doors(records, FakeProvider(), Doorman()))
    ann.sign_in("ann")
    for value in ("garbage", None, 7, {"user": {"id": "ann"}}):
        records.change(ann.cookie, **{"clef.login.0123": value})
        assert people(ann) == ("ann", None)
        assert records.read(ann.cookie)["clef.login.0123"] == value
    ann.sign_out()
    assert records.read(ann.cookie).keys() - {"clef.earlier"} == {"clef.login.0123"}


# -- two sites on one back-end ------------------------------------------------------------------------------


def refuse(_environ: dict[str, Any], _user: dict[str, Any]) -> None:
    raise LoginRefused("This site is for members.", reason="not_a_member")


@each("shared", [{}, SHARED_KEY], ids=["cookie renamed", "one key"])
def test_row_75_a_cookie_of_one_site_is_a_strangers_at_the_other(shared: dict[str, str]) -> None:
    """One back-end, secret and store: the other site's on_login and provider are never skipped."""
    records, store = MemoryRecords(), MemoryLogoutStore()
    site, shop = sites(records, store, shared, on_login=refuse)
    ann = browser(site)
    ann.sign_in("ann")
    taken = moved(ann, shop)
    assert ask(shop, HTTP_COOKIE=taken.cookie).json["user"] is None
    taken.come_back(taken.start_login(), status=400)
    assert taken.user is None
    assert ann.user["id"] == "ann"


def test_row_75_neither_site_ends_or_empties_the_others(records: Records) -> None:
    """Same back-end, secret and an explicit session key: logins, states and what an app keeps stay each site's own."""
    store = MemoryLogoutStore()
    site, shop = sites(records, store, SHARED_KEY)
    ann = browser(site)
    ann.sign_in("ann")
    ann.get("/session?color=blue")
    started = ann.start_login("/notes")
    taken = moved(ann, shop)
    assert taken.come_back(started, status=303).location.startswith(PROVIDER_URL)
    taken.sign_in("ann-of-the-shop")
    assert (taken.user["id"], ann.user["id"]) == ("ann-of-the-shop", "ann")
    assert ann.get("/session").json["session"] == {"color": "blue"}
    taken.sign_out()
    assert (taken.user, ann.user["id"]) == (None, "ann")
    assert ann.come_back(started, status=303).location == BASE_URL + "/notes"
    ann.sign_out()
    assert ann.user is None


def sites(records: Records, store: LogoutStore, shared: dict[str, str], **options: Any) -> tuple[WSGIApp, WSGIApp]:
    """Two sites with the same provider, back-end and secret; ``options`` are those of the second."""
    session = {**records.options, **shared}
    return (
        make_app(provider=FakeProvider(), store=store, session=session),
        make_app(provider=FakeProvider(), store=store, session=session, base_url=OTHER_URL, **options),
    )


def moved(ann: Browser, shop: WSGIApp) -> Browser:
    """A browser that sends the first site's cookie to the second, under the second one's name."""
    taken = browser(shop, OTHER_URL)
    name = taken.get("/session?a=1").headers["Set-Cookie"].partition("=")[0]
    taken.reset()
    [value] = ann.cookies.values()
    taken.set_cookie(name, value)
    return taken


# -- who answers for the identities -------------------------------------------------------------------------


def test_the_issuer_of_clef_is_its_server_and_its_application() -> None:
    """``server_url`` and ``app_id`` together, as JSON; a slash at the end makes no other one."""
    make: dict[str, Any] = {"app_secret": "s" * 32}
    issuers = [
        ClefProvider(app_id=app_id, server_url=url, **make).issuer
        for url in ("https://a.example", "https://a.example/", "https://a.example/b")
        for app_id in ("1", "2")
    ]
    assert issuers[0] == '["https://a.example","1"]'
    assert issuers[0] == issuers[2]
    assert len(set(issuers)) == 4


class Nameless(FakeProvider):
    """A provider of before there was an ``issuer``."""

    def __init__(self) -> None:
        super().__init__()
        del self.issuer


def test_a_provider_without_issuer_is_used_alone() -> None:
    """It works as ever in a session of its own; where a second middleware comes in, that is refused with a sentence."""
    ann = browser(make_app(provider=Nameless()))
    ann.sign_in("ann")
    assert ann.user["id"] == "ann"
    for pair in ((Nameless(), Doorman()), (FakeProvider(), Nameless()), (Nameless(), Nameless())):
        app = two_doors(MemoryRecords(), *pair)
        assert ask(app).status == 200
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="give each provider an `issuer`"):
                ask(app, STAFF)


def wrapped_twice(inner: dict[str, Any]) -> Browser:
    """One site that is wrapped in both layers twice, by two providers without issuer."""
    own: dict[str, Any] = {f"{name}_path": f"/staff/clef/{name}" for name in ("login", "callback", "webhook", "logout")}
    common: dict[str, Any] = {"logout_store": MemoryLogoutStore(), "base_url": BASE_URL}
    app = wrap(echo, provider=Nameless(), session={"secret": SECRET, **inner}, **own, **common)
    return Browser(wrap(app, provider=Nameless(), session={"secret": SECRET}, **common))


def test_row_75_a_site_wrapped_twice_without_issuers_is_refused() -> None:
    """Whoever signed in by one of them would be signed in by the other, too; with a cookie of its own each is alone."""
    ann = wrapped_twice({})
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="give each provider an `issuer`"):
            ann.get("/")
    ann = wrapped_twice({"key": "__Host-staff"})
    ann.sign_in("ann")
    seen = [ann.user]
    staff_sign_in(ann, "bob")
    seen.append(ann.user["id"])
    assert seen == [None, "bob"]


@each("issuer", ["", 7, b"x", ["x"]])
def test_an_issuer_is_text(issuer: Any) -> None:
    """Anything else is refused at construction."""
    provider = FakeProvider()
    provider.issuer = issuer
    with pytest.raises(ConfigurationError, match=r"provider\.issuer must be a text"):
        make_app(provider=provider)


# -- sessions of before -------------------------------------------------------------------------------------


def test_a_login_of_before_is_over_and_its_session_emptied() -> None:
    """A login that named no site is not read any more; the next person finds nothing of its session."""
    records = MemoryRecords()
    person = browser(make_app(session=records.options))
    person.get("/session?diary=ann's")
    old = {"user": {"id": "ann"}, "keys": ["login:1"], "started": 1, "logged_in_at": 1.0, "expires_at": 9e9}
    records.change(person.cookie, **{"clef.record": old})
    assert person.user is None
    assert records.read(person.cookie) == {}
    records.change(person.cookie, **{"clef.record": old, "diary": "ann's"})
    person.sign_in("bo")
    assert person.get("/session").json["session"] == {}
