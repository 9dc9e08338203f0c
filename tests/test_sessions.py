"""A login in a Beaker session of any state: forged, planted (session fixation), replayed, garbled, out of date."""

from __future__ import annotations

import copy
import json
import pickle
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from beaker.middleware import SessionMiddleware
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.app import BASE_URL, NOON, SECRET, Browser, FakeClock, FakeProvider, WSGIApp, ask, browser, echo, make_app
from support.beaker_records import (
    BACK_ENDS,
    WITH_ENVELOPE,
    BackEnd,
    FileRecords,
    MemoryRecords,
    Records,
    StartedLogin,
    has_login,
    login_entry,
    names,
    packed,
    unpacked,
)
from support.cases import each

from clef_wsgi import EVERYONE, ClefMiddleware, LoginRefused, MemoryLogoutStore, session_options

DAY = 24 * 3600.0
COOKIE = session_options(base_url=BASE_URL, secret=SECRET)["session.key"]
SETTINGS = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(params=BACK_ENDS)
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    back_end: BackEnd = request.param
    with back_end(tmp_path) as found:
        yield found


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider()


@pytest.fixture
def store() -> MemoryLogoutStore:
    return MemoryLogoutStore()


@pytest.fixture
def app(records: Records, provider: FakeProvider, store: MemoryLogoutStore) -> WSGIApp:
    return make_app(provider=provider, store=store, session=records.options)


def with_cookie(app: WSGIApp, cookie: str) -> Browser:
    """A browser that sends exactly this session cookie."""
    other = browser(app)
    name, _, value = cookie.partition("=")
    other.set_cookie(name, value)
    return other


def session_of(person: Browser) -> Any:
    return person.get("/session").json["session"]


def user_with(app: WSGIApp, cookie: str) -> Any:
    return with_cookie(app, cookie).user


# -- row 30: cookies that are not ours ----------------------------------------------------------------------


def test_row_30_a_forged_or_cut_cookie_is_nobody(app: WSGIApp) -> None:
    """A cookie whose signature does not fit is an anonymous visitor's: 200, and no new cookie."""
    ann = browser(app)
    ann.sign_in("ann")
    good = ann.cookie
    turned = good[:-1] + ("0" if good[-1] != "0" else "1")
    for bad in (good[:-1], good[: len(COOKIE) + 20], COOKIE + "=", turned, good + "0", COOKIE + "=" + "f" * 9000):
        answer = ask(app, HTTP_COOKIE=bad)
        assert (answer.status, answer.json["user"], answer.header("Set-Cookie")) == (200, None, None)
    assert ann.user is not None


def test_row_30_a_cookie_signed_with_an_old_secret_is_nobody(records: Records, provider: FakeProvider) -> None:
    """A new secret signs everybody out, without an error."""
    store = MemoryLogoutStore()
    old = browser(make_app(provider=provider, store=store, session={**records.options, "secret": "old " * 8}))
    old.sign_in("ann")
    answer = ask(make_app(provider=provider, store=store, session=records.options), HTTP_COOKIE=old.cookie)
    assert (answer.status, answer.json["user"]) == (200, None)


COOKIE_TEXT = st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n\0"), max_size=80)


@SETTINGS
@given(before=COOKIE_TEXT, value=COOKIE_TEXT, after=COOKIE_TEXT)
def test_row_30_no_cookie_header_is_an_error(before: str, value: str, after: str) -> None:
    """Whatever stands in the Cookie header (CVE-2023-28625): 200, and nobody."""
    answer = ask(ANY_APP, HTTP_COOKIE=f"{before}; {COOKIE}={value}; {after}")
    assert (answer.status, answer.json["user"]) == (200, None)


ANY_APP = make_app()


# -- row 31: fixation ---------------------------------------------------------------------------------------


def test_row_31_a_planted_session_id_is_worth_nothing(app: WSGIApp, records: Records) -> None:
    """A login gets a new session id, and who knows the old one sees nobody and nothing of the new session."""
    attacker = browser(app)
    attacker.get("/session?planted=yes")
    planted = attacker.cookie
    victim = with_cookie(app, planted)
    victim.sign_in("ann")
    victim.get("/session?secret=ann's")
    assert victim.cookie != planted
    assert session_of(victim) == {"planted": "yes", "secret": "ann's"}
    assert attacker.user is None
    assert session_of(attacker) == {}


def test_row_31_the_record_under_the_old_id_is_emptied(app: WSGIApp, records: Records) -> None:
    """Beaker's regenerate_id leaves the old content in the store: it is emptied."""
    visitor = browser(app)
    visitor.get("/session?basket=3")
    before = visitor.cookie
    visitor.sign_in("ann")
    assert records.read(before) == {}
    assert records.read(visitor.cookie)["basket"] == "3"


def test_row_31_the_login_that_was_replaced_is_over(app: WSGIApp, records: Records) -> None:
    """A login that replaces another in the same browser ends the old one, even if its record comes back."""
    ann = browser(app)
    ann.sign_in("ann")
    first, content = ann.cookie, records.value(ann.cookie)
    ann.sign_in("ann")
    assert user_with(app, first) is None
    records.put(first, content)
    assert user_with(app, first) is None
    assert ann.user is not None


# -- row 32: old cookies ------------------------------------------------------------------------------------


def by_webhook(ann: Browser, provider: FakeProvider, _store: MemoryLogoutStore) -> None:
    ann.notify(provider.logout_token("ann"))


def by_form(ann: Browser, _provider: FakeProvider, _store: MemoryLogoutStore) -> None:
    ann.sign_out()


def by_administrator(_ann: Browser, _provider: FakeProvider, store: MemoryLogoutStore) -> None:
    store.record_logout([EVERYONE])


WAYS_OUT = [by_webhook, by_form, by_administrator]


@pytest.mark.parametrize("way_out", WAYS_OUT)
def test_row_32_an_old_cookie_is_nobody_after_a_logout(
    app: WSGIApp, records: Records, provider: FakeProvider, store: MemoryLogoutStore, way_out: Callable[..., None]
) -> None:
    """A cookie that was copied before the logout is nobody after it, even when the old record comes back."""
    ann = browser(app)
    ann.sign_in("ann")
    copied, content = ann.cookie, records.value(ann.cookie)
    assert user_with(app, copied) is not None
    way_out(ann, provider, store)
    assert user_with(app, copied) is None
    records.put(copied, content)
    assert user_with(app, copied) is None


@pytest.mark.parametrize("way_out", WAYS_OUT)
def test_r11_the_next_person_in_this_browser_finds_nothing(
    app: WSGIApp, records: Records, provider: FakeProvider, store: MemoryLogoutStore, way_out: Callable[..., None]
) -> None:
    """R11: signed out, then another person signs in: at no moment is anything of the first one left."""
    person = browser(app)
    person.sign_in("ann")
    person.get("/session?diary=ann's")
    way_out(person, provider, store)
    first = person.cookie
    person.sign_in("bo")
    assert person.user is not None
    assert person.user["id"] == "bo"
    assert session_of(person) == {}
    assert "diary" not in records.read(first)


@pytest.mark.parametrize("next_person", ["bo", "ann"])
def test_r11_nothing_is_left_when_the_callback_is_the_next_request(
    app: WSGIApp, provider: FakeProvider, next_person: str
) -> None:
    """R11: the next login was under way already when the first one was ended, whoever's it is."""
    person = browser(app)
    person.sign_in("ann")
    person.get("/session?diary=ann's")
    state = person.start_login()
    person.notify(provider.logout_token("ann"))
    person.come_back(state, next_person, status=303)
    assert session_of(person) == {}


def test_r11_nothing_is_left_when_somebody_else_signs_in_over_a_living_login(app: WSGIApp) -> None:
    """R11: without any logout, a change of person empties the session, too."""
    person = browser(app)
    person.sign_in("ann")
    person.get("/session?diary=ann's")
    first = person.cookie
    person.sign_in("bo")
    assert session_of(person) == {}
    assert user_with(app, first) is None


def test_r11_a_record_that_makes_no_sense_counts_as_somebody_elses(app: WSGIApp, records: Records) -> None:
    """R11: the login's owner can't be determined, so nothing of that session is kept."""
    person = browser(app)
    person.sign_in("ann")
    person.get("/session?diary=ann's")
    state = person.start_login()
    records.change(person.cookie, **{login_entry(records.read(person.cookie)): "garbage"})
    person.come_back(state, "ann", status=303)
    assert session_of(person) == {}


def test_what_an_anonymous_visitor_had_stays_at_login(app: WSGIApp) -> None:
    """The shop's basket is still there after the login, and after the same person's next login."""
    visitor = browser(app)
    visitor.get("/session?basket=3")
    visitor.sign_in("ann")
    assert session_of(visitor) == {"basket": "3"}
    visitor.sign_in("ann")
    assert session_of(visitor) == {"basket": "3"}


@pytest.mark.parametrize("options", [{}, {"timeout": 600}], ids=["plain", "timeout"])
def test_a_login_that_is_found_ended_empties_the_session(
    records: Records, provider: FakeProvider, options: dict[str, Any]
) -> None:
    """The first request after a logout empties the whole session, and nothing brings it back at its end."""
    ann = browser(make_app(provider=provider, session={**records.options, **options}))
    ann.sign_in("ann")
    ann.get("/session?diary=ann's")
    ann.notify(provider.logout_token("ann"))
    assert ann.user is None
    assert records.read(ann.cookie) == {}


def test_login_id_is_new_at_each_login(app: WSGIApp) -> None:
    """``clef.login.id`` changes with each login, for an app's own session; it is None when nobody is signed in."""
    ann = browser(app)
    seen = [ann.get("/").json["login_id"]]
    for _ in range(2):
        ann.sign_in("ann")
        seen += [ann.get("/").json["login_id"], ann.get("/").json["login_id"]]
    ann.sign_out()
    seen.append(ann.get("/").json["login_id"])
    assert seen[0] is None
    assert seen[-1] is None
    assert seen[1] == seen[2] != seen[3] == seen[4]
    assert None not in seen[1:-1]


# -- row 100: what is nested ---------------------------------------------------------------------------------

NESTED = {"groups": ["staff"], "address": {"city": "Oslo", "tags": [{"a": [1]}]}, "nothing": {}, "deep": [[[["x"]]]]}


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_row_100_what_a_view_does_to_nested_values_is_not_kept(kind: str, tmp_path: Path) -> None:
    """Row 100: the app's own copy at each request, though a view saves the session with it."""
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        user, session = environ["clef.user"], environ["beaker.session"]
        seen.append(json.loads(json.dumps(user)))
        user["groups"].append("admin")
        user["address"]["city"] = "Rome"
        user["address"]["tags"][0]["a"].clear()
        user["deep"][0][0][0].append("y")
        user["nothing"]["is_admin"] = True
        session["visits"] = len(seen)
        session.save()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    folder = {"data_dir": str(tmp_path)} if kind == "file" else {}
    ann = browser(make_app(app, on_login=lambda environ, user: user.update(NESTED), session={"type": kind, **folder}))
    ann.sign_in("ann")
    for _ in range(3):
        ann.get("/", status=200)
    assert len(seen) == 3
    for user in seen:
        assert {name: user[name] for name in NESTED} == NESTED


# -- row 34: records that are not of the shape --------------------------------------------------------------

NUMBERS_THAT_ARE_NO_TIME = ["1800000000", float("nan"), float("inf"), float("-inf"), -1.0, 0, None, True, [], {}]
FUTURE = NOON + 10 * DAY
HUGE = 10**400


def change_record(records: Records, cookie: str, field: str, value: Any) -> None:
    content = copy.deepcopy(records.read(cookie))
    name = login_entry(content)
    assert field in content[name]
    records.change(cookie, **{name: {**content[name], field: value}})


def signed_in_at_noon(records: Records, **options: Any) -> Browser:
    ann = browser(make_app(session=records.options, clock=FakeClock(), **options))
    ann.sign_in("ann")
    records.change(ann.cookie)  # what is written here is what Beaker reads
    assert ann.user is not None
    return ann


@each("time", [*NUMBERS_THAT_ARE_NO_TIME, FUTURE, HUGE, -HUGE], ids=lambda value: repr(value)[:12])
def test_row_34_a_login_time_that_is_none_is_signed_out(time: Any) -> None:
    """A stored login time that is no number, not finite, negative, or days ahead: signed out, no exception."""
    records = MemoryRecords()
    ann = signed_in_at_noon(records, max_login_age=100 * 365 * DAY)
    change_record(records, ann.cookie, "logged_in_at", time)
    assert ann.user is None
    assert records.read(ann.cookie) == {}


@each("time", ["x", float("nan"), float("-inf"), -1.0, 0, None, True, [], -HUGE], ids=repr)
def test_row_34_an_end_that_is_no_time_is_signed_out(time: Any) -> None:
    """The same for the stored end of the login."""
    records = MemoryRecords()
    ann = signed_in_at_noon(records)
    change_record(records, ann.cookie, "expires_at", time)
    assert ann.user is None


@pytest.mark.parametrize("end", [float("inf"), HUGE], ids=["inf", "huge"])
def test_row_34_a_stored_end_far_away_does_not_outlive_max_login_age(end: Any) -> None:
    """The end stored in a record can shorten a login, never extend it."""
    records, clock = MemoryRecords(), FakeClock()
    ann = browser(make_app(session=records.options, clock=clock, max_login_age=3600))
    ann.sign_in("ann")
    change_record(records, ann.cookie, "expires_at", end)
    clock.advance(3601)
    assert ann.user is None


@each("stamp", ["1", 1.0, None, True, 0, -1, [], float("nan")], ids=repr)
def test_row_34_a_stamp_that_is_none_is_signed_out(stamp: Any) -> None:
    """The store's stamp is a positive int, and no other number."""
    records = MemoryRecords()
    ann = signed_in_at_noon(records)
    change_record(records, ann.cookie, "started", stamp)
    assert ann.user is None


@each("keys", [None, [], {}, "login:", ["ann"], [["login:"]], [None], [1, "login:1"], ["login:1", 1]], ids=repr)
def test_row_34_keys_that_are_none_are_signed_out(keys: Any) -> None:
    """The keys are a list of text, the login's own first: a login that nothing could end is no login."""
    records = MemoryRecords()
    ann = signed_in_at_noon(records)
    change_record(records, ann.cookie, "keys", keys)
    assert ann.user is None


@each(
    "user",
    [None, [], {}, "ann", ["id"], {"id": None}, {"id": ""}, {"id": 7}, {"id": True}, {"id": "x" * 513}],
    ids=repr,
)
def test_row_34_a_user_that_is_none_is_signed_out(user: Any) -> None:
    """The user has an id of the right kind."""
    records = MemoryRecords()
    ann = signed_in_at_noon(records)
    change_record(records, ann.cookie, "user", user)
    assert ann.user is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ["user", "keys", "started", "logged_in_at", "expires_at"]


@SETTINGS
@given(field=st.sampled_from([*FIELDS, "more"]), value=JSON)
def test_row_34_no_record_is_an_error(field: str, value: Any) -> None:
    """One field of a record is anything JSON can hold: 200, and nobody, unless it is a later end or a lower stamp."""
    records = MemoryRecords()
    ann = signed_in_at_noon(records)
    content = records.read(ann.cookie)
    name = login_entry(content)
    records.change(ann.cookie, **{name: {**content[name], field: value}})
    user = ann.user
    if field in ("started", "expires_at", "logged_in_at"):
        assert user is None or type(value) in (int, float)
    else:
        assert user is None


@SETTINGS
@given(value=JSON)
def test_row_34_no_content_under_our_keys_is_an_error(value: Any) -> None:
    """Anything JSON can hold in place of the record, or of the logins under way: no exception, nobody."""
    records = MemoryRecords()
    ann = signed_in_at_noon(records)
    before = names()
    state = ann.start_login()
    started = StartedLogin(before)
    started.place.update(login=packed(json.dumps(value).encode()), next=value)
    records.change(ann.cookie, **{"clef.earlier": value, login_entry(records.read(ann.cookie)): value})
    ann.come_back(state, status=303)
    assert ann.user is None


@SETTINGS
@given(field=st.sampled_from(["next", "provider_state", "at", "more"]), value=JSON)
def test_row_34_no_login_under_way_is_an_error(field: str, value: Any) -> None:
    """One field of a login under way is anything JSON can hold: it goes on, or it starts over, without exception."""
    records, provider = MemoryRecords(), FakeProvider()
    ann = browser(make_app(provider=provider, session=records.options, clock=FakeClock()))
    before = names()
    state = ann.start_login()
    StartedLogin(before).change(**{field: value})
    ann.come_back(state, status=303)
    assert field != "more" or provider.finishes == []


@each("field", FIELDS)
def test_row_34_a_record_with_a_field_less_is_signed_out(field: str) -> None:
    """A record is exactly of its shape, or it is no login."""
    records = MemoryRecords()
    ann = signed_in_at_noon(records)
    content = records.read(ann.cookie)
    name = login_entry(content)
    del content[name][field]
    records.change(ann.cookie, **{name: content[name]})
    assert ann.user is None


@each("at", [None, "x", True, float("nan"), float("inf"), HUGE, -HUGE, FUTURE], ids=lambda v: repr(v)[:9])
def test_row_34_a_login_under_way_whose_time_is_none_is_expired(at: Any) -> None:
    """A login under way that was started at no time, or days ahead, is not finished, and no exception."""
    records, provider = MemoryRecords(), FakeProvider()
    ann = browser(make_app(provider=provider, session=records.options, clock=FakeClock()))
    before = names()
    state = ann.start_login()
    StartedLogin(before).change(at=at)
    ann.come_back(state, status=303)
    assert provider.finishes == []
    assert ann.user is None


@each(
    ("field", "value"),
    [
        ("provider_state", None),
        ("provider_state", []),
        ("provider_state", "x"),
        ("next", 7),
        ("next", []),
        ("next", True),
    ],
)
def test_row_34_a_login_under_way_that_is_not_of_the_shape_starts_over(field: str, value: Any) -> None:
    """A record of ours that somebody changed is not taken to the provider."""
    records, provider = MemoryRecords(), FakeProvider()
    ann = browser(make_app(provider=provider, session=records.options))
    before = names()
    state = ann.start_login()
    StartedLogin(before).change(**{field: value})
    ann.come_back(state, status=303)
    assert provider.finishes == []


# -- clocks -------------------------------------------------------------------------------------------------


def test_a_clock_may_give_ints() -> None:
    """Seconds are seconds: a clock that counts whole ones signs in as any other."""
    ann = browser(make_app(clock=lambda: int(NOON)))
    ann.sign_in("ann")
    assert ann.user is not None


def test_row_48_a_clock_a_day_back_refuses_no_login() -> None:
    """The clock is for ages alone: set back a day during the login or after it, the login lives."""
    clock = FakeClock()
    ann = browser(make_app(clock=clock))
    state = ann.start_login()
    clock.advance(-DAY)
    ann.come_back(state, status=303)
    assert ann.user is not None
    clock.advance(-DAY)
    assert ann.user is not None


@each(("first", "second"), [(+10, -10), (-10, +10), (+300, -300)])
def test_row_48_clocks_that_differ_between_hosts_refuse_no_login(first: float, second: float) -> None:
    """A login that starts on one host, ends on another and is checked on both, with clocks apart: lives on both."""
    store, provider = MemoryLogoutStore(), FakeProvider()
    apps = [make_app(provider=provider, store=store, clock=FakeClock(NOON + skew)) for skew in (first, second)]
    for here, there in (apps, reversed(apps)):
        ann = browser(here)
        state = ann.start_login()
        ann.app = there
        ann.come_back(state, status=303)
        assert ann.user is not None
        ann.app = here
        assert ann.user is not None
        ann.notify(provider.logout_token("ann"))
        assert [user_with(app, ann.cookie) for app in apps] == [None, None]


# -- records that can't be decoded --------------------------------------------------------------------------


def poison(path: Path) -> bytes:
    """A pickle that makes a file when somebody loads it."""

    class Poison:
        def __reduce__(self) -> Any:
            return path.touch, ()

    return pickle.dumps(Poison())


GARBAGE: dict[str, Any] = {
    "no base64": "%" * 33,
    "base64 of nothing": "",
    "base64 of garbage": b64encode(b"garbage").decode(),
    "cut": packed(b'{"a": 1}')[:-8],
    "not zlib": b64encode(b'{"a": 1}').decode(),
    "no JSON": packed(b"{a: 1}"),
    "not UTF-8": packed(b'"\xff"'),
    "deep JSON": packed(b"[" * 100_000),
    "a JSON list": packed(b'["a", "b"]'),
    "a JSON number": packed(b"7"),
    "a JSON text": packed(b'"_accessed_time"'),
    "JSON null": packed(b"null"),
    "an int": 7,
    "a list": ["a"],
    "non-ASCII text": "é",
}


def assert_starts_afresh(person: Browser) -> None:
    """Nobody is signed in, no error, and the browser can go on: keep something, sign in."""
    old = person.cookie
    assert person.user is None
    assert person.get("/session?a=1").json["session"] == {"a": "1"}
    person.sign_in("bo")
    seen = person.get("/session").json
    assert (seen["user"]["id"], seen["session"]) == ("bo", {"a": "1"})
    assert person.cookie != old


def assert_garbage_is_a_fresh_session(records: Records, garbage: Any) -> None:
    ann = browser(make_app(session=records.options))
    ann.sign_in("ann")
    records.put(ann.cookie, garbage)
    assert_starts_afresh(ann)


@each("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_an_undecodable_record_is_a_fresh_session(garbage: Any) -> None:
    """A record that makes no sense is an anonymous visitor's 200 and a fresh session."""
    assert_garbage_is_a_fresh_session(MemoryRecords(), garbage)


@pytest.mark.parametrize("garbage", ["not zlib", "a JSON list", "an int"])
def test_an_undecodable_record_is_a_fresh_session_in_each_back_end(records: Records, garbage: str) -> None:
    """The same wherever the sessions are."""
    assert_garbage_is_a_fresh_session(records, GARBAGE[garbage])


@pytest.mark.parametrize("records", WITH_ENVELOPE, indirect=True)
@pytest.mark.parametrize(
    "garbage",
    [b"", b"garbage", pickle.dumps({"session": b"x" * 99})[:-50], pickle.dumps(["x"]), pickle.dumps(7), b"\x80\x05N."],
    ids=["empty", "garbage", "cut pickle", "a list", "a number", "None"],
)
def test_an_undecodable_envelope_is_a_fresh_session(records: Records, garbage: bytes) -> None:
    """The same for the pickle around it, which file and Redis sessions have: a cut file after a crash, say."""
    ann = browser(make_app(session=records.options))
    ann.sign_in("ann")
    records.break_envelope(ann.cookie, garbage)
    assert_starts_afresh(ann)


def test_a_poisoned_record_does_not_execute(app: WSGIApp, records: Records, tmp_path: Path) -> None:
    """CVE-2013-7489: the session's data is never unpickled, so a pickle in its place runs no code."""
    trace = tmp_path / "executed"
    ann = browser(app)
    ann.sign_in("ann")
    for poisoned in (b64encode(poison(trace)).decode(), packed(poison(trace)), poison(trace)):
        records.put(ann.cookie, poisoned)
        assert ann.user is None
        assert not trace.exists()
        ann.sign_in("ann")
    pickle.loads(poison(trace))
    assert trace.exists(), "the poison itself is no good"


@SETTINGS
@given(at=st.integers(0, 400), byte=st.binary(min_size=1, max_size=3))
def test_no_byte_of_a_session_file_is_an_error(at: int, byte: bytes, tmp_path: Path) -> None:
    """A few bytes of a session's file change, as a bad disk does it: never an error."""
    records = FileRecords(tmp_path / "sessions")
    ann = browser(make_app(session=records.options))
    ann.sign_in("ann")
    path = records.path(ann.cookie)
    content = path.read_bytes()
    path.write_bytes(content[:at] + byte + content[at + len(byte) :])
    ann.get("/", status=200)


# -- time-outs of Beaker's own ------------------------------------------------------------------------------


def test_timeout_signs_out_who_was_idle(tmp_path: Path) -> None:
    """Beaker's timeout works with session_options: idle for longer is signed out, in use is not."""
    records = FileRecords(tmp_path)
    ann = browser(make_app(session={**records.options, "timeout": 600}))
    ann.sign_in("ann")
    for idle, is_signed_in in ((300, True), (300, True), (601, False)):
        accessed_at = json.loads(unpacked(records.value(ann.cookie)))["_accessed_time"]
        records.change(ann.cookie, _accessed_time=accessed_at - idle)
        assert (ann.user is not None) is is_signed_in


def test_timeout_is_renewed_by_each_request(tmp_path: Path) -> None:
    """With a timeout each request of a signed-in person writes its time; without one it writes nothing."""
    for options, is_written in (({"timeout": 600}, True), ({}, False)):
        records = FileRecords(tmp_path / str(is_written))
        ann = browser(make_app(session={**records.options, **options}))
        ann.sign_in("ann")
        before = records.path(ann.cookie).stat().st_ino  # each write of Beaker's is a new file
        assert ann.user is not None
        assert (records.path(ann.cookie).stat().st_ino != before) is is_written


@pytest.mark.parametrize("options", [{}, {"timeout": 600}], ids=["plain", "timeout"])
def test_a_refused_callback_writes_nothing_more(
    records: Records, provider: FakeProvider, options: dict[str, Any]
) -> None:
    """The state stays spent, and what another tab wrote meanwhile stays written, with a timeout too."""
    ann = browser(make_app(provider=provider, session={**records.options, **options}))
    ann.get("/session?color=red")
    state = ann.start_login()
    tab = with_cookie(ann.app, ann.cookie)

    def meanwhile() -> None:
        assert state not in str(records.read(ann.cookie))
        tab.get("/session?color=blue")
        provider.raises = LoginRefused()

    provider.during_finish = meanwhile
    answer = ann.come_back(state, status=400)
    provider.raises = None
    assert "Set-Cookie" not in answer.headers
    assert session_of(tab) == {"color": "blue"}
    ann.come_back(state)
    assert len(provider.finishes) == 1
    assert ann.user is None


# -- inside somebody's own Beaker ---------------------------------------------------------------------------


def test_the_middleware_alone_works_inside_a_beaker_of_ones_own() -> None:
    """ClefMiddleware works inside an app's own Beaker, under any environ key."""
    seen: list[Any] = []

    def remember(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        seen.append(environ["my.session"])
        return echo(environ, start_response)

    inner = ClefMiddleware(
        remember,
        provider=FakeProvider(),
        logout_store=MemoryLogoutStore(),
        base_url="https://www.example.com",
        session_key="my.session",
    )
    options = session_options(base_url="https://www.example.com", secret=SECRET)
    ann = browser(SessionMiddleware(inner, options, environ_key="my.session"))
    ann.sign_in("ann")
    assert ann.user is not None
    assert has_login(seen[-1])
