"""A login from its start to its end: what the callback takes, whom it believes, what it writes."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlencode

import pytest
from support.app import BASE_URL, PROVIDER_URL, FakeClock, FakeProvider, ask, browser, echo, make_app, state_of
from support.cases import each

from clef_wsgi.base.errors import ClaimRejected, CodeRejected, LoginRefused, ProviderUnavailable, StoreUnavailable
from clef_wsgi.interfaces import Identity
from clef_wsgi.stores.memory import MemoryLogoutStore

CALLBACK = "/clef/callback"


class TiedStore:
    """A store whose clock stands still: a login and a logout get the same stamp."""

    def __init__(self) -> None:
        self.logouts: dict[str, int] = {"everyone": 1}

    def tick(self) -> int:
        return 5

    def record_logout(self, keys: Any, *, idempotency_key: str | None = None) -> bool:
        self.logouts.update(dict.fromkeys(keys, 5))
        return True

    def newest_logout(self, keys: Any) -> int:
        return max(self.logouts.get(key, 0) for key in [*keys, "everyone"])

    def prune(self, older_than: float) -> int:
        return 0


# -- the good way -----------------------------------------------------------------------------------------


def test_r1_a_good_code_signs_in_under_a_new_session_id_and_leads_to_a_clean_url() -> None:
    """R1: state equal and code good: login written, new session id, 303 to an address without code and state."""
    clock = FakeClock()
    ann = browser(make_app(clock=clock))
    state = ann.start_login("/notes?page=2")
    old_cookie = ann.cookie
    answer = ann.come_back(state, "ann", status=303)
    assert answer.location == BASE_URL + "/notes?page=2"
    assert ann.cookie != old_cookie
    now = clock.now
    assert ann.user == {"id": "ann", "email": "ann@example.org", "logged_in_at": now, "authenticated_at": now}


def test_r1_the_provider_is_given_the_state_the_memo_and_the_callback_url() -> None:
    """R1: the provider gets the same state and redirect URL at both ends, and its own state back."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    state = ann.start_login()
    ann.come_back(state, "ann", status=303)
    assert provider.starts == [(state, BASE_URL + CALLBACK)]
    assert provider.finishes == [({"code": "ann", "state": state}, {"nonce": "n"}, BASE_URL + CALLBACK)]


def test_r1_a_login_starts_with_a_303_to_the_provider() -> None:
    """R1: the browser is sent to the provider with GET, and nobody keeps the answer."""
    answer = browser(make_app()).get("/clef/login", status=303)
    assert answer.location.startswith(PROVIDER_URL + "/authorize?")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_r1_states_are_long_and_never_the_same() -> None:
    """R1: a state holds 256 random bits, new for each login."""
    ann = browser(make_app())
    states = {ann.start_login() for _ in range(20)}
    assert len(states) == 20
    assert min(map(len, states)) >= 43


def test_r1_the_old_session_id_sees_nobody() -> None:
    """R1: who knew the session id of before the login has nothing of it."""
    app = make_app()
    ann = browser(app)
    ann.start_login()
    old_cookie = ann.cookie
    ann.sign_in("ann")
    assert ask(app, HTTP_COOKIE=old_cookie).json["user"] is None
    assert ask(app, HTTP_COOKIE=ann.cookie).json["user"]["id"] == "ann"


def test_what_an_anonymous_visitor_had_stays_at_login() -> None:
    """A basket filled before the login is still there after it."""
    ann = browser(make_app())
    ann.get("/session?basket=apples")
    ann.sign_in("ann")
    assert ann.get("/session").json["session"] == {"basket": "apples"}


def test_a_new_login_has_a_new_id() -> None:
    """``clef.login.id`` is new at each login, and None for nobody."""
    ann = browser(make_app())
    ids = [ann.get("/").json["login_id"]]
    for _ in range(2):
        ann.sign_in("ann")
        ids += [ann.get("/").json["login_id"], ann.get("/").json["login_id"]]
    assert ids[0] is None
    assert ids[1] == ids[2] != ids[3] == ids[4]


def test_a_login_that_replaces_another_ends_it() -> None:
    """A second login in the same browser ends the first: its cookie is worth nothing."""
    app = make_app()
    ann = browser(app)
    ann.sign_in("ann")
    first = ann.cookie
    ann.sign_in("ann")
    assert ask(app, HTTP_COOKIE=first).json["user"] is None
    assert ann.user is not None


def test_clef_user_is_a_fresh_plain_dict_at_each_request() -> None:
    """Changes that an app makes to ``clef.user`` are gone at the next request."""
    users: list[Any] = []

    def scribbler(environ: Any, start_response: Any) -> Any:
        users.append((type(environ["clef.user"]), dict(environ["clef.user"])))
        environ["clef.user"]["id"] = "mallory"
        environ["clef.user"]["role"] = "root"
        return echo(environ, start_response)

    ann = browser(make_app(scribbler))
    ann.sign_in("ann")
    ann.get("/session?save=yes")
    ann.get("/")
    assert [kind for kind, _ in users] == [dict, dict]
    assert users[0] == users[1]


# -- R4 and the shape of a callback -----------------------------------------------------------------------

BAD_CALLBACKS = {
    "empty": "",
    "no state": "code=ann",
    "no code": "state={state}",
    "both empty": "code=&state=",
    "empty code": "code=&state={state}",
    "empty state": "code=ann&state=",
    "bare names": "code&state",
    "two codes": "code=ann&code=eve&state={state}",
    "two equal codes": "code=ann&code=ann&state={state}",
    "second code empty": "code=ann&code=&state={state}",
    "two states": "code=ann&state={state}&state={state}",
    "second state empty": "code=ann&state={state}&state=",
    "two errors": "error=a&error=b&state={state}",
    "two issuers": "code=ann&state={state}&iss=a&iss=b",
    "empty error": "error=&state={state}",
    "error without state": "error=access_denied",
    "code of 100 kB": "code=" + "a" * 100_000 + "&state={state}",
    "code of 8,193": "code=" + "a" * 8193 + "&state={state}",
    "error of 2,049": "error=" + "a" * 2049 + "&state={state}",
    "issuer of 2,049": "code=ann&state={state}&iss=" + "a" * 2049,
    "state of 2,049": "code=ann&state=" + "a" * 2049,
    "state of 100 kB": "code=ann&state=" + "a" * 100_000,
    "code with NUL": "code=an%00n&state={state}",
    "code with CRLF": "code=ann%0D%0ASet-Cookie:x&state={state}",
    "code with DEL": "code=ann%7f&state={state}",
    "code not UTF-8": "code=%ff&state={state}",
    "code not ASCII": "code=%C3%A9&state={state}",
    "state with CRLF": "code=ann&state={state}%0D%0A",
    "issuer with tab": "code=ann&state={state}&iss=%09",
    "something else not UTF-8": "code=ann&state={state}&x=%ff",
    "10,000 fields": "code=ann&state={state}&" + "&".join(["x="] * 10_000),
}


@each("query", BAD_CALLBACKS.values(), ids=BAD_CALLBACKS)
def test_r4_rows_1_3_6_a_garbled_callback_is_refused_and_spends_nothing(query: str) -> None:
    """R4, rows 1, 3, 6: exactly one code and state, in visible ASCII; else 400, no provider call, state kept."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    ann = browser(app)
    state = ann.start_login()
    cookie = ann.cookie
    answer = ask(app, CALLBACK, query=query.format(state=state), HTTP_COOKIE=cookie, HTTP_ACCEPT="application/json")
    assert (answer.status, answer.json["error"]) == (400, "malformed_callback")
    assert answer.header("Set-Cookie") is None
    assert provider.finishes == []
    ann.come_back(state, "ann", status=303)
    assert ann.user is not None


@each("length", [2049, 8000, 8192])
def test_row_84_a_long_code_is_passed_on(length: int) -> None:
    """Row 84: 8 KiB of code are no garbage; the other parameters keep their 2 KiB."""
    provider = FakeProvider()
    provider.identity = Identity({"id": "ann"})
    ann = browser(make_app(provider=provider))
    state = ann.start_login()
    ann.come_back(state, "c" * length, status=303)
    assert [query["code"] for query, _, _ in provider.finishes] == ["c" * length]
    assert ann.user["id"] == "ann"


@each("error", ["temporarily_unavailable", "server_error"])
@each("more", [{}, {"code": "ann"}])
def test_row_4_an_error_that_means_later_is_503(error: str, more: dict[str, str]) -> None:
    """Row 4: the login service has trouble of its own: 503 with a time to come back, and nobody signed in."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    url = CALLBACK + "?" + urlencode({"error": error, "state": ann.start_login(), **more})
    answer = ann.get(url, headers={"Accept": "application/json"}, status=503)
    assert (answer.json["error"], answer.headers["Retry-After"]) == ("provider_error", "5")
    assert provider.finishes == []
    assert ann.user is None


def test_row_6_nothing_of_a_callback_stands_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    """Row 6: neither code nor state nor error text reaches a log line, good or bad."""
    caplog.set_level(logging.DEBUG, logger="clef_wsgi")
    provider = FakeProvider()
    app = make_app(provider=provider)
    ann = browser(app)
    state = ann.start_login()
    for query in (f"code=C0DE%0AC0DE&state={state}", f"error=C0DE&state={state}", "code=C0DE&state=ST4TE"):
        ask(app, CALLBACK, query=query, HTTP_COOKIE=ann.cookie)
    second = ann.start_login()
    provider.raises = CodeRejected()
    ann.come_back(second, "C0DE", status=400)
    provider.raises = None
    ann.sign_in("C0DE")
    assert [record.levelname for record in caplog.records].count("WARNING") == 3
    assert not any(word in caplog.text for word in ("C0DE", "ST4TE", state))


@each("method", ["POST", "PUT", "HEAD", "DELETE", "OPTIONS"])
def test_row_2_only_get_comes_back(method: str) -> None:
    """Row 2: any other method is 405 with Allow, and the state is not spent."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    state = ann.start_login()
    url = CALLBACK + "?" + urlencode({"code": "ann", "state": state})
    answer = ann.request(url, method=method, status=405)
    assert answer.headers["Allow"] == "GET"
    assert provider.finishes == []
    assert ann.get(url, status=303).location == BASE_URL + "/"


@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_only_get_starts_a_login(method: str) -> None:
    """The login's path starts nothing but by GET."""
    provider = FakeProvider()
    answer = browser(make_app(provider=provider)).request("/clef/login", method=method, status=405)
    assert answer.headers["Allow"] == "GET"
    assert provider.starts == []


@pytest.mark.parametrize(("error", "reason"), [("access_denied", "access_denied"), ("<b>0ops</b>", "provider_error")])
def test_row_4_an_error_of_the_provider_is_a_clean_page(error: str, reason: str) -> None:
    """Row 4: 400 without the provider's text, state spent, no provider call, nobody signed in."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    state = ann.start_login()
    url = CALLBACK + "?" + urlencode({"error": error, "error_description": "<b>0ops</b>", "state": state})
    answer = ann.get(url, headers={"Accept": "application/json"}, status=400)
    assert answer.json["error"] == reason
    assert "0ops" not in answer.text
    assert "0ops" not in ann.get(url, status=400).text
    assert state_of(ann.come_back(state, status=303).location).startswith("r.")
    assert provider.finishes == []
    assert ann.user is None


def test_an_error_beside_a_code_is_an_error() -> None:
    """Row 4: who sends both an error and a code has not signed in."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    state = ann.start_login()
    ann.get(CALLBACK + "?" + urlencode({"error": "x", "code": "ann", "state": state}), status=400)
    assert provider.finishes == []
    assert ann.user is None


def test_row_5_a_double_click_is_one_login() -> None:
    """Row 5: the same code twice: one login, the provider asked once, the second answer a harmless redirect."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    state = ann.start_login("/notes")
    assert ann.come_back(state, "ann", status=303).location == BASE_URL + "/notes"
    login = ann.get("/").json["login_id"]
    assert ann.come_back(state, "ann", status=303).location == BASE_URL + "/notes"
    assert len(provider.finishes) == 1
    assert ann.get("/").json["login_id"] == login


def test_row_7_the_issuer_reaches_the_provider_who_refuses_it() -> None:
    """Row 7: ``iss`` is handed over with the code, missing or not; a provider that finds it wrong is obeyed."""

    class MixUp(FakeProvider):
        def finish_login(self, query: Any, provider_state: Any, redirect_url: str) -> Identity:
            if query.get("iss") != PROVIDER_URL:
                raise ClaimRejected(reason="wrong_issuer")
            return super().finish_login(query, provider_state, redirect_url)

    provider = MixUp()
    ann = browser(make_app(provider=provider))
    for iss in ({}, {"iss": "https://evil.example"}):
        url = CALLBACK + "?" + urlencode({"code": "ann", "state": ann.start_login(), **iss})
        assert ann.get(url, headers={"Accept": "application/json"}, status=400).json["error"] == "wrong_issuer"
        assert ann.user is None
    assert provider.finishes == []
    ann.get(CALLBACK + "?" + urlencode({"code": "ann", "state": ann.start_login(), "iss": PROVIDER_URL}), status=303)
    assert ann.user is not None


@each("path", ["/clef", "/clef/callbacks", "/clef/callback/x", "/callback", "/x/clef/callback"])
def test_row_8_only_the_exact_path_is_ours(path: str) -> None:
    """Row 8: what only begins like the callback goes to the app."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    ann = browser(app)
    answer = ask(app, path, query=f"code=ann&state={ann.start_login()}", HTTP_COOKIE=ann.cookie)
    assert (answer.status, answer.json["path"]) == (200, path)
    assert provider.finishes == []


def test_row_8_under_a_prefix_the_callback_is_found_and_named_with_it() -> None:
    """Row 8: mounted at /app, PATH_INFO is compared, and what browsers see carries the prefix."""
    base_url = "https://www.example.com/app"
    provider = FakeProvider()
    ann = browser(make_app(provider=provider, base_url=base_url), base_url)
    answer = ann.sign_in("ann", "/app/notes")
    assert provider.starts[0][1] == base_url + "/clef/callback"
    assert answer.location == base_url + "/notes"
    assert ann.sign_in("ann", "/notes").location == base_url + "/"
    assert ann.sign_out(status=303).location == base_url + "/"
    inside = ask(ann.app, "/app/clef/callback", SCRIPT_NAME="/app", query="code=ann&state=x")
    assert inside.json["path"] == "/app/clef/callback"


# -- whom the callback believes ---------------------------------------------------------------------------

BAD_IDS: tuple[Any, ...] = (
    None,
    "",
    12345,
    1.0,
    True,
    False,
    float("nan"),
    b"ann",
    [],
    ["ann"],
    {},
    {"id": "ann"},
    ("ann",),
    "a" * 513,
)


@each("user_id", BAD_IDS, ids=lambda value: f"{value!r}"[:16])
def test_r6_an_id_that_is_not_plain_text_is_refused(user_id: Any) -> None:
    """R6, row 28: whatever a provider of somebody else answers, an id is a ``str`` of 1 to 512 characters."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    provider.people["ann"] = {"id": user_id}
    answer = ann.come_back(ann.start_login(), "ann", headers={"Accept": "application/json"}, status=400)
    assert answer.json["error"] == "claim_rejected"
    assert ann.user is None


def test_r6_no_id_at_all_is_refused() -> None:
    """R6: a person without an id is nobody."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    provider.people["ann"] = {"email": "ann@example.org"}
    ann.come_back(ann.start_login(), "ann", status=400)
    assert ann.user is None


@each("user_id", ["0", "12345", " ", "a" * 512, "é", "\x00", "../../etc/passwd", "\ud800"])
def test_r6_any_text_of_512_characters_is_an_id(user_id: str) -> None:
    """R6: an id is opaque: what it holds is nobody's business."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    provider.people["ann"] = {"id": user_id}
    ann.sign_in("ann")
    assert ann.user is not None
    assert ann.user["id"] == user_id


BAD_IDENTITIES = {
    "a user that JSON can't hold": Identity({"id": "ann", "picture": object()}),
    "a user that JSON changes": Identity({"id": "ann", "roles": ("a", "b")}),
    "NaN": Identity({"id": "ann", "score": float("nan")}),
}


@each("identity", BAD_IDENTITIES.values(), ids=BAD_IDENTITIES)
def test_row_28_a_person_who_is_not_json_is_not_signed_in(identity: Identity) -> None:
    """Row 28: what a session can't hold unchanged is a 503, and no login."""
    provider = FakeProvider()
    provider.identity = identity
    ann = browser(make_app(provider=provider))
    ann.come_back(ann.start_login(), status=503)
    assert ann.user is None


@each("keys", [(True,), ([],), (None,), "everyone", None], ids=repr)
def test_row_28_further_keys_that_are_not_text_are_refused(keys: Any) -> None:
    """Row 28: the logout keys of somebody else's provider are a tuple of text; else nobody is signed in."""
    provider = FakeProvider()
    provider.identity = Identity({"id": "ann"}, keys=keys)
    ann = browser(make_app(provider=provider))
    ann.come_back(ann.start_login(), status=[400, 503])
    assert ann.user is None


# -- refusals ---------------------------------------------------------------------------------------------

REFUSALS = {
    "code rejected": (CodeRejected(), 400, "code_rejected"),
    "claim rejected": (ClaimRejected(), 400, "claim_rejected"),
    "refused with a reason": (LoginRefused("No.", reason="not_today"), 400, "not_today"),
    "provider away": (ProviderUnavailable(), 503, "provider_unavailable"),
    "store away": (StoreUnavailable(), 503, "store_unavailable"),
}


@each(("error", "status", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_what_the_provider_raises_is_answered_and_signs_nobody_in(error: Any, status: int, reason: str) -> None:
    """R5, row 10: a clean answer, no login, the state spent; the next login works."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    state = ann.start_login()
    provider.raises = error
    answer = ann.come_back(state, headers={"Accept": "application/json"}, status=status)
    assert answer.json["error"] == reason
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert ann.user is None
    provider.raises = None
    assert ann.come_back(state, status=303).location.startswith(PROVIDER_URL)
    assert ann.user is None
    ann.sign_in("ann")
    assert ann.user is not None


def test_a_provider_that_is_away_at_the_start_is_a_503() -> None:
    """R5: a login that can't start says so, and when to try again."""
    provider = FakeProvider()
    provider.raises = ProviderUnavailable(retry_after=7)
    answer = browser(make_app(provider=provider)).get("/clef/login", status=503)
    assert answer.headers["Retry-After"] == "7"


def test_a_refused_callback_leaves_the_login_of_before() -> None:
    """A callback that is refused writes nothing more: who was signed in still is."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.sign_in("ann")
    login = ann.get("/").json["login_id"]
    state = ann.start_login()
    provider.raises = CodeRejected()
    answer = ann.come_back(state, "eve", status=400)
    assert "Set-Cookie" not in answer.headers
    provider.raises = None
    assert ann.get("/").json["login_id"] == login


# -- a logout meanwhile -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["person", "everyone"])
def test_row_50_a_logout_during_the_exchange_wins(key: str) -> None:
    """Row 50: ``started`` is taken before the network, so a logout that comes in meanwhile ends the login."""
    provider, store = FakeProvider(), MemoryLogoutStore()
    keys = [provider.user_key("ann")] if key == "person" else ["everyone"]
    ann = browser(make_app(provider=provider, store=store))
    state = ann.start_login()
    cookie = ann.cookie
    provider.during_finish = lambda: store.record_logout(keys)
    answer = ann.come_back(state, headers={"Accept": "application/json"}, status=400)
    assert answer.json["error"] == "logged_out_meanwhile"
    assert ann.cookie == cookie
    assert ann.user is None
    ann.sign_in("ann")
    assert ann.user is not None


def test_row_50_the_keys_of_the_providers_session_count_too() -> None:
    """Row 50: a logout under one of the provider's further keys ends the login, during the exchange and later."""
    provider, store = FakeProvider(), MemoryLogoutStore()
    provider.identity = Identity({"id": "ann"}, keys=("sid:7",))
    ann = browser(make_app(provider=provider, store=store))
    provider.during_finish = lambda: store.record_logout(["sid:7"])
    ann.come_back(ann.start_login(), status=400)
    ann.sign_in("ann")
    assert ann.user is not None
    store.record_logout(["sid:7"])
    assert ann.user is None


def test_a_login_that_lost_to_a_logout_leaves_the_visitor_as_before() -> None:
    """The record is written after the check alone: who came with a basket still has it, under the same session id."""
    provider, store = FakeProvider(), MemoryLogoutStore()
    ann = browser(make_app(provider=provider, store=store))
    ann.get("/session?basket=apples")
    cookie = ann.cookie
    provider.during_finish = lambda: store.record_logout([provider.user_key("ann")])
    ann.come_back(ann.start_login(), status=400)
    assert ann.cookie == cookie
    assert ann.get("/session").json["session"] == {"basket": "apples"}


def test_a_login_that_lost_to_a_logout_leaves_the_login_of_before() -> None:
    """The record is written after the check alone: a login that the logout does not name lives on."""
    provider, store = FakeProvider(), MemoryLogoutStore()
    ann = browser(make_app(provider=provider, store=store))
    provider.identity = Identity({"id": "ann"}, keys=("sid:1",))
    ann.sign_in()
    login = ann.get("/").json["login_id"]
    provider.identity = Identity({"id": "ann"}, keys=("sid:2",))
    provider.during_finish = lambda: store.record_logout(["sid:2"])
    ann.come_back(ann.start_login(), status=400)
    assert login is not None
    assert ann.get("/").json["login_id"] == login


def test_row_49_a_tie_ends_the_session() -> None:
    """Row 49: login and logout with the same stamp: the logout wins, at the callback and later."""
    provider, store = FakeProvider(), TiedStore()
    ann = browser(make_app(provider=provider, store=store))
    ann.sign_in("ann")
    assert ann.user is not None
    store.record_logout([provider.user_key("ann")])
    assert ann.user is None
    answer = ann.come_back(ann.start_login(), headers={"Accept": "application/json"}, status=400)
    assert answer.json["error"] == "logged_out_meanwhile"


def test_row_49_a_clock_set_back_a_day_revives_nobody() -> None:
    """Row 49: the site's and the store's clock go back a day between login and logout: logged out all the same."""
    clock, provider = FakeClock(), FakeProvider()
    store = MemoryLogoutStore(clock=clock)
    ann = browser(make_app(provider=provider, store=store, clock=clock))
    ann.sign_in("ann")
    clock.advance(-24 * 3600)
    assert ann.user is not None
    ann.notify(provider.logout_token("ann"), status=200)
    assert ann.user is None
    ann.sign_in("ann")
    login = ann.get("/").json["login_id"]
    assert login is not None
    clock.advance(24 * 3600)
    assert ann.get("/").json["login_id"] == login


@each("skew", [300, -300, 10, -10])
def test_row_48_hosts_with_clocks_that_differ_agree(skew: float) -> None:
    """Row 48: two hosts of a site, one skewed: a login here is good there, a logout there is good here, no loop."""
    provider, store, here, there = FakeProvider(), MemoryLogoutStore(), FakeClock(), FakeClock()
    there.advance(skew)
    one = make_app(provider=provider, store=store, clock=here)
    two = make_app(provider=provider, store=store, clock=there)
    ann = browser(one)
    state = ann.start_login("/notes")
    ann.app = two
    assert ann.come_back(state, "ann", status=303).location == BASE_URL + "/notes"
    for app in (one, two, one):
        ann.app = app
        assert ann.user is not None
    ann.notify(provider.logout_token("ann"), status=200)
    for app in (two, one, two):
        ann.app = app
        assert ann.user is None
    ann.sign_in("ann")
    ann.app = one
    assert ann.user is not None
