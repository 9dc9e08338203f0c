"""States: each belongs to one browser and one login, is spent once, and starts over once where that can help."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.app import (
    BASE_URL,
    PROVIDER_URL,
    Browser,
    FakeClock,
    FakeProvider,
    ask,
    browser,
    echo,
    is_at_home,
    make_app,
    state_of,
)
from support.cases import each

from clef_wsgi.base.errors import CodeRejected

CALLBACK = "/clef/callback"
HOME = BASE_URL + "/"
JSON = {"Accept": "application/json"}
HOUR = 3600.0


def refusal(visitor: Browser, state: str, **query: str) -> str:
    """The reason for which a callback with this state is refused with 400."""
    url = CALLBACK + "?" + urlencode({"code": "ann", "state": state, **query})
    reason: str = visitor.get(url, headers=JSON, status=400).json["error"]
    return reason


# -- R3, rows 12 and 13: several logins at a time -----------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["older first", "newer first"])
def test_r3_row_12_two_tabs_finish_in_any_order(order: tuple[int, int]) -> None:
    """R3, row 12: both tabs succeed, each at its own return address."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    tabs = [("/first", ann.start_login("/first")), ("/second", ann.start_login("/second"))]
    for number in order:
        path, state = tabs[number]
        assert ann.come_back(state, "ann", status=303).location == BASE_URL + path
        assert ann.user is not None
    assert len(provider.finishes) == 2


def test_r3_the_state_of_an_older_tab_is_accepted_once() -> None:
    """R3: the older tab's state works, and only once."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    older = ann.start_login("/older")
    ann.start_login("/newer")
    assert ann.come_back(older, "ann", status=303).location == BASE_URL + "/older"
    assert ann.come_back(older, "eve", status=303).location == BASE_URL + "/older"
    assert len(provider.finishes) == 1


def test_row_13_twenty_logins_may_be_under_way_and_the_oldest_goes_first() -> None:
    """Row 13: the 21st start drops the oldest state; the other twenty all work."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    states = [ann.start_login(f"/{number}") for number in range(21)]
    assert ann.come_back(states[0], status=303).location.startswith(PROVIDER_URL)
    for number in range(2, 21):  # starting over was a 22nd start
        assert ann.come_back(states[number], status=303).location == f"{BASE_URL}/{number}"
    assert len(provider.finishes) == 19


def test_row_13_no_number_of_starts_makes_the_session_grow() -> None:
    """Row 13: after the 20th, each start costs what it frees, so the 10,000th is like the 21st."""
    sizes: list[int] = []

    def weighing(environ: Any, start_response: Any) -> Any:
        sizes.append(len(json.dumps(dict(environ["beaker.session"]))))
        return echo(environ, start_response)

    app = make_app(weighing, validated=False)
    ann = browser(app)
    ann.start_login("/1000")
    cookie = ann.cookie
    for number in range(1001, 1400):
        answer = ask(app, "/clef/login", query=f"next=/{number}", HTTP_COOKIE=cookie)
        assert answer.status == 303
        if number % 20 == 19:
            ask(app, HTTP_COOKIE=cookie)
    assert sizes[0] < 6000
    assert max(sizes) - min(sizes) < 200


# -- R2 and rows 9 to 11, 14: states that are not good ------------------------------------------------------


def test_r2_row_9_an_unknown_state_starts_over_once() -> None:
    """R2, row 9: unknown state with a session: no provider call, back to the provider with a marked state, then 400."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.start_login("/notes")
    answer = ann.come_back("unknown", status=303)
    again = state_of(answer.location)
    assert again.startswith("r.")
    assert provider.starts[-1] == (again, BASE_URL + CALLBACK)
    assert refusal(ann, "r.unknown") == "cookies_blocked"
    assert provider.finishes == []
    assert ann.come_back(again, "ann", status=303).location == HOME
    assert ann.user is not None


def test_row_9_a_browser_without_cookies_is_told_so() -> None:
    """Row 9: without a cookie nothing starts over; an unknown second try says that cookies seem to be blocked."""
    provider = FakeProvider()
    stranger = browser(make_app(provider=provider))
    assert refusal(stranger, "unknown") == "state_mismatch"
    assert refusal(stranger, "r.unknown") == "cookies_blocked"
    assert (provider.starts, provider.finishes) == ([], [])


def test_row_9_a_browser_that_drops_its_cookies_does_not_loop() -> None:
    """Row 9: each step sent back without a cookie ends in a 400 page, never at the provider again."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    ann = browser(app)
    ann.start_login()
    again = state_of(ann.come_back("unknown", status=303).location)
    ann.reset()
    starts = len(provider.starts)
    assert refusal(ann, again) == "cookies_blocked"
    assert len(provider.starts) == starts


@pytest.mark.parametrize("parameter", [{"error": "access_denied"}, {"error": "x"}])
def test_row_9_an_error_with_an_unknown_state_does_not_start_over(parameter: dict[str, str]) -> None:
    """Row 9: what the provider refused would be refused again: 400."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.start_login()
    assert refusal(ann, "unknown", **parameter) == "state_mismatch"
    assert len(provider.starts) == 1


def test_row_9_the_state_of_another_browser_is_unknown() -> None:
    """Row 9: a state is bound to the browser that started it; trying it elsewhere does not spend it."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    ann, eve = browser(app), browser(app)
    eve_state = eve.start_login("/eves")
    ann.start_login()
    answer = ann.come_back(eve_state, "eve", status=303)
    assert answer.location.startswith(PROVIDER_URL)
    assert provider.finishes == []
    assert ann.user is None
    assert eve.come_back(eve_state, "eve", status=303).location == BASE_URL + "/eves"


@pytest.mark.parametrize("state", ["", None])
def test_row_9_empty_never_equals_empty(state: str | None) -> None:
    """Row 9: an empty or missing state is refused, also where nothing is stored."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.get("/session?color=blue")
    query = {"code": "ann"} if state is None else {"code": "ann", "state": state}
    answer = ann.get(CALLBACK + "?" + urlencode(query), headers=JSON, status=400)
    assert answer.json["error"] == "malformed_callback"
    assert provider.finishes == []


@pytest.mark.parametrize("succeeds", [True, False])
def test_row_10_a_state_is_spent_whatever_the_outcome(succeeds: bool) -> None:
    """Row 10: used once, it is unknown: no provider call; who is signed in already goes to its page."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    state = ann.start_login("/notes")
    provider.raises = None if succeeds else CodeRejected()
    ann.come_back(state, status=303 if succeeds else 400)
    provider.raises = None
    answer = ann.come_back(state, status=303)
    assert (answer.location == BASE_URL + "/notes") is succeeds
    assert answer.location.startswith(PROVIDER_URL) is not succeeds
    assert len(provider.finishes) == 1


def test_row_10_a_state_is_spent_before_the_network_is_asked() -> None:
    """Row 10: while the provider is being asked, the same state is unknown already: spend before you speak."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    ann = browser(app)
    state = ann.start_login()
    cookie = ann.cookie
    meanwhile: list[str | None] = []

    def same_again() -> None:
        answer = ask(app, CALLBACK, query=f"code=ann&state={state}", HTTP_COOKIE=cookie)
        meanwhile.append(answer.header("Location"))

    provider.during_finish = same_again
    ann.come_back(state, status=303)
    assert len(provider.finishes) == 1
    assert len(meanwhile) == 1
    assert (meanwhile[0] or "").startswith(PROVIDER_URL)


def test_what_another_tab_writes_while_the_network_is_asked_stays() -> None:
    """The session is loaded again after the network: another tab's basket and started login are not overwritten."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    ann = browser(app)
    state = ann.start_login()
    other = browser(app)
    other.cookiejar = ann.cookiejar
    started: list[str] = []

    def another_tab() -> None:
        other.get("/session?basket=apples")
        started.append(other.start_login("/other"))

    provider.during_finish = another_tab
    ann.come_back(state, status=303)
    assert ann.get("/session").json["session"] == {"basket": "apples"}
    assert ann.come_back(started[0], status=303).location == BASE_URL + "/other"


@pytest.mark.parametrize("options", [{"type": "memory"}, {"type": "memory", "timeout": 3600}], ids=repr)
def test_what_another_tab_writes_stays_when_the_callback_is_refused(options: dict[str, Any]) -> None:
    """A refused callback writes nothing more, also where Beaker notes the time of every request."""
    provider = FakeProvider()
    app = make_app(provider=provider, session=options)
    ann = browser(app)
    state = ann.start_login()
    cookie = ann.cookie

    def another_tab() -> None:
        ask(app, "/session", query="basket=apples", HTTP_COOKIE=cookie)
        provider.raises = CodeRejected()

    provider.during_finish = another_tab
    ann.come_back(state, status=400)
    assert ann.get("/session").json["session"] == {"basket": "apples"}


def test_row_10_signed_in_already_an_unknown_state_leads_home() -> None:
    """Row 10: nobody who is signed in is sent through a login again, nor shown an error."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.sign_in("ann")
    for query in ({"code": "x"}, {"error": "access_denied"}):
        for state in ("unknown", "r.unknown"):
            answer = ann.get(CALLBACK + "?" + urlencode({**query, "state": state}), status=303)
            assert answer.location == HOME
    assert len(provider.finishes) == 1


def test_row_11_an_expired_state_starts_over_and_keeps_its_return_address() -> None:
    """Row 11: too old: no provider call; the second start goes where the first one would have gone."""
    clock, provider = FakeClock(), FakeProvider()
    ann = browser(make_app(provider=provider, clock=clock))
    state = ann.start_login("/notes?page=2")
    clock.advance(HOUR)
    again = state_of(ann.come_back(state, status=303).location)
    assert again.startswith("r.")
    assert provider.finishes == []
    assert ann.come_back(again, status=303).location == BASE_URL + "/notes?page=2"


def test_row_11_the_second_try_that_expires_is_refused() -> None:
    """Row 11: a login starts over once: a second try that took too long as well is a 400 page."""
    clock, provider = FakeClock(), FakeProvider()
    ann = browser(make_app(provider=provider, clock=clock))
    state = ann.start_login()
    clock.advance(HOUR)
    again = state_of(ann.come_back(state, status=303).location)
    clock.advance(HOUR)
    assert refusal(ann, again) == "state_expired"
    assert provider.finishes == []
    assert len(provider.starts) == 2


def test_row_11_an_expired_state_with_an_error_is_refused() -> None:
    """Row 11: the provider's error does not start over, however late."""
    clock, provider = FakeClock(), FakeProvider()
    ann = browser(make_app(provider=provider, clock=clock))
    state = ann.start_login()
    clock.advance(HOUR)
    assert refusal(ann, state, error="access_denied") == "state_expired"
    assert len(provider.starts) == 1


def test_row_11_a_moment_before_its_end_a_state_is_good() -> None:
    """Row 11: the lifetime is an hour by default, to the second; a clock set back a little does no harm."""
    clock, provider = FakeClock(), FakeProvider()
    ann = browser(make_app(provider=provider, clock=clock))
    first, second = ann.start_login("/first"), ann.start_login("/second")
    clock.advance(HOUR - 1)
    assert ann.come_back(first, status=303).location == BASE_URL + "/first"
    clock.advance(-HOUR - 600)
    assert ann.come_back(second, status=303).location == BASE_URL + "/second"


@each("state", ["é", "\u202e", "日本", "a\x00b", "a\nb", "\xff"])
def test_row_14_a_state_that_is_not_ascii_is_refused(state: str) -> None:
    """Row 14: 400, without an exception and without a start."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    ann.start_login()
    assert refusal(ann, state) == "malformed_callback"
    assert provider.finishes == []
    assert len(provider.starts) == 1


def test_what_is_no_list_of_earlier_ids_is_none() -> None:
    """A foreign value under the middleware's session key matches no started login, and raises nothing."""
    shapes: list[Any] = [None, "x", 7, [], {}, ["xy"], [["x"]], [[1, 2.0]], [["x", "1"]], [["x", 9e9, 1]], [["x", 9e9]]]

    def planting(environ: Any, start_response: Any) -> Any:
        environ["beaker.session"]["clef.earlier"] = shapes[int(environ["QUERY_STRING"])]
        environ["beaker.session"].save()
        return echo(environ, start_response)

    provider = FakeProvider()
    ann = browser(make_app(planting, provider=provider))
    for number in range(len(shapes)):
        ann.get(f"/?{number}")
        assert ann.come_back("s", status=303).location.startswith(PROVIDER_URL)
    assert provider.finishes == []


# -- any callback at all ----------------------------------------------------------------------------------

_NAMES = st.sampled_from(["code", "state", "error", "iss", "next", "", "código"])
_VALUES = st.one_of(st.sampled_from(["ann", "{state}", "r.{state}", "", "access_denied"]), st.text(max_size=12))
_PAIRS = st.lists(st.tuples(_NAMES, _VALUES), max_size=5).map(lambda pairs: urlencode(pairs, errors="replace"))
_RAW = st.text(st.characters(max_codepoint=255), max_size=30)
_FUZZ = settings(max_examples=70)


@_FUZZ
@given(query=st.one_of(_PAIRS, _RAW), carries_cookie=st.booleans())
def test_any_query_at_the_callback_has_a_plain_answer(query: str, carries_cookie: bool) -> None:
    """Rows 1, 3, 6, 9, 14: no exception leaves; 303 at home or to the provider, or 400; the app is not asked."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    ann = browser(app)
    state = ann.start_login("/notes")
    query = query.replace(quote("{state}"), state)
    answer = ask(app, CALLBACK, query=query, HTTP_COOKIE=ann.cookie if carries_cookie else None)
    assert answer.status in (303, 400)
    assert b"echo" not in answer.body
    if answer.status == 303:
        location = answer.header("Location") or ""
        assert is_at_home(location) or location.startswith(PROVIDER_URL + "/")
    if provider.finishes:
        sent = parse_qs(query, keep_blank_values=True)
        assert (sent["state"], len(sent["code"]), carries_cookie) == ([state], 1, True)


def test_the_provider_gets_what_the_callback_says_and_no_more() -> None:
    """Other parameters of the callback reach the provider, decoded; the return address is not among them."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    state = ann.start_login("/notes")
    url = CALLBACK + "?" + urlencode({"code": "a b", "state": state, "session_state": "é", "next": "//evil.example"})
    location = ann.get(url, status=303).location
    assert provider.finishes[0][0] == {"code": "a b", "state": state, "session_state": "é", "next": "//evil.example"}
    assert urlsplit(location).path == "/notes"
