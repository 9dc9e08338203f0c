"""Things that happen at the same moment: each race is forced into its worst order, by hand, without sleeping."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from beaker.container import MemoryNamespaceManager
from support.app import BASE_URL, NOON, Browser, FakeClock, FakeProvider, WSGIApp, ask, browser, echo, make_app
from support.beaker_records import BACK_ENDS, BackEnd, Records, has_login

from clef_wsgi import EVERYONE, CodeRejected, LogoutStore, MemoryLogoutStore, SQLiteLogoutStore

PATIENCE_SECONDS = 15.0
DAY = 24 * 3600.0


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


def same_browser(ann: Browser) -> Browser:
    """Another tab: it sends the cookies that the first one has now, and keeps its own from then on."""
    tab = browser(ann.app)
    for name, value in ann.cookies.items():
        tab.set_cookie(name, value)
    return tab


class Gate:
    """A gate at which one thread stops until another opens it."""

    def __init__(self) -> None:
        self._reached, self._opened = threading.Event(), threading.Event()

    def stop(self) -> None:
        self._reached.set()
        assert self._opened.wait(PATIENCE_SECONDS), "nobody opened the gate"

    def wait_until_reached(self) -> None:
        assert self._reached.wait(PATIENCE_SECONDS), "nobody came to the gate"

    def open(self) -> None:
        self._opened.set()


@contextmanager
def meanwhile(gate: Gate, call: Callable[..., Any], *args: Any, **more: Any) -> Iterator[Future[Any]]:
    """Run a call that stops at the gate; the ``with`` block runs while it waits there."""
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(call, *args, **more)
        try:
            gate.wait_until_reached()
            yield under_way
        finally:
            gate.open()
        under_way.result(PATIENCE_SECONDS)


# -- row 33: a slow request that spans a logout -------------------------------------------------------------


def slow_app(gate: Gate, saves: bool) -> WSGIApp:
    """``/slow`` loads the session, and ends only when the gate opens; it may write something then."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            session = environ["beaker.session"]
            assert "diary" in session
            gate.stop()
            if saves:
                session["late"] = "yes"
                session.save()
        return echo(environ, start_response)

    return app


def by_webhook(ann: Browser, provider: FakeProvider, _store: LogoutStore) -> None:
    ann.notify(provider.logout_token("ann"))


def by_form(ann: Browser, _provider: FakeProvider, _store: LogoutStore) -> None:
    ann.sign_out()


def by_administrator(_ann: Browser, _provider: FakeProvider, store: LogoutStore) -> None:
    store.record_logout([EVERYONE])


WAYS_OUT = [by_webhook, by_form, by_administrator]


@pytest.mark.parametrize("way_out", WAYS_OUT)
@pytest.mark.parametrize(
    ("options", "saves"), [({}, True), ({"timeout": 600}, False)], ids=["a write", "a read with timeout"]
)
def test_row_33_a_slow_request_does_not_bring_a_login_back(
    records: Records,
    provider: FakeProvider,
    store: MemoryLogoutStore,
    options: dict[str, Any],
    saves: bool,
    way_out: Callable[..., None],
) -> None:
    """It loaded the session before the logout and writes the old content back after it: still signed out."""
    gate = Gate()
    app = make_app(slow_app(gate, saves), provider=provider, store=store, session={**records.options, **options})
    ann = browser(app)
    ann.sign_in("ann")
    ann.get("/session?diary=ann's")
    with meanwhile(gate, same_browser(ann).get, "/slow"):
        way_out(ann, provider, store)
        assert ann.user is None
        assert not has_login(records.read(ann.cookie))
    assert has_login(records.read(ann.cookie)), "the race did not happen"
    seen = ann.get("/session").json
    assert (seen["user"], seen["session"]) == (None, {})


def test_row_33_nor_does_one_that_spans_a_new_login(
    records: Records, provider: FakeProvider, store: MemoryLogoutStore
) -> None:
    """The old content comes back under the old id alone: the next person's session has nothing of it."""
    gate = Gate()
    app = make_app(slow_app(gate, True), provider=provider, store=store, session=records.options)
    person = browser(app)
    person.sign_in("ann")
    person.get("/session?diary=ann's")
    first = same_browser(person)
    with meanwhile(gate, first.get, "/slow"):
        person.notify(provider.logout_token("ann"))
        person.sign_in("bo")
    assert first.user is None
    seen = person.get("/session").json
    assert (seen["user"]["id"], seen["session"]) == ("bo", {})


def test_emptying_a_session_is_written_once(records: Records, provider: FakeProvider) -> None:
    """A slow request that found a login ended writes nothing more at its end, over what another tab wrote since."""
    gate = Gate()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            assert environ["clef.user"] is None
            gate.stop()
        return echo(environ, start_response)

    ann = browser(make_app(app, provider=provider, session=records.options))
    ann.sign_in("ann")
    ann.notify(provider.logout_token("ann"))
    with meanwhile(gate, same_browser(ann).get, "/slow"):
        ann.get("/session?basket=1")
    assert ann.get("/session").json["session"] == {"basket": "1"}


# -- row 50: a logout while the provider is asked -----------------------------------------------------------


@pytest.mark.parametrize("way_out", [by_webhook, by_administrator])
def test_row_50_a_logout_during_the_exchange_wins(
    records: Records, provider: FakeProvider, store: MemoryLogoutStore, way_out: Callable[..., None]
) -> None:
    """The login is refused, and says why; nothing was written, so no later request is signed in either."""
    ann = browser(make_app(provider=provider, store=store, session=records.options))
    state = ann.start_login()
    tab = same_browser(ann)
    provider.during_finish = lambda: way_out(tab, provider, store)
    answer = ann.come_back(state, status=400, headers={"Accept": "application/json"})
    assert answer.json["error"] == "logged_out_meanwhile"
    assert ann.user is None
    assert not has_login(records.read(ann.cookie))
    ann.sign_in("ann")
    assert ann.get("/").json["user"]["id"] == "ann"


def test_row_50_a_logout_while_on_login_runs_wins(provider: FakeProvider, store: MemoryLogoutStore) -> None:
    """A slow ``on_login`` of the app does not move the login's stamp, which is taken before it."""

    def on_login(_environ: dict[str, Any], _user: dict[str, Any]) -> None:
        store.record_logout([provider.user_key("ann")])

    ann = browser(make_app(provider=provider, store=store, on_login=on_login))
    ann.come_back(ann.start_login(), status=400)
    assert ann.user is None


class LogsOutAfterLook(MemoryLogoutStore):
    """Records a logout right after the next look-up has been answered."""

    next_logout: str | None = None

    def newest_logout(self, keys: Iterable[str]) -> int:
        newest = super().newest_logout(keys)
        if self.next_logout is not None:
            key, self.next_logout = self.next_logout, None
            self.record_logout([key])
        return newest


def test_row_50_a_logout_between_the_check_and_the_writing_wins(provider: FakeProvider) -> None:
    """The last moment: the login was checked, and is about to be written. It is dead at its first request."""
    store = LogsOutAfterLook()
    ann = browser(make_app(provider=provider, store=store))
    state = ann.start_login()
    store.next_logout = provider.user_key("ann")
    ann.come_back(state, status=303)
    assert not store.next_logout, "the race did not happen"
    assert ann.user is None


def test_row_50_somebody_elses_logout_refuses_nothing(provider: FakeProvider, store: MemoryLogoutStore) -> None:
    """Only the person's own keys count."""
    ann = browser(make_app(provider=provider, store=store))
    state = ann.start_login()
    provider.during_finish = lambda: store.record_logout([provider.user_key("bo"), "login:of-another"])
    ann.come_back(state, status=303)
    assert ann.user is not None


# -- tabs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_r3_two_tabs_may_finish_in_any_order(records: Records, provider: FakeProvider, order: tuple[int, int]) -> None:
    """R3, row 12: each state has its own way back, and neither tab disturbs the other."""
    ann = browser(make_app(provider=provider, session=records.options))
    states = [ann.start_login("/page/0"), ann.start_login("/page/1")]
    for tab in order:
        assert ann.come_back(states[tab], status=303).location.endswith(f"/page/{tab}")
    assert len(provider.finishes) == 2
    assert ann.user is not None


def test_a_tab_that_comes_back_with_the_old_cookie_finishes(provider: FakeProvider, records: Records) -> None:
    """Both callbacks were sent before either was answered: the second one's state waits under the old id."""
    ann = browser(make_app(provider=provider, session=records.options))
    first, second = ann.start_login("/1"), ann.start_login("/2")
    tab = same_browser(ann)
    ann.come_back(first, status=303)
    assert tab.come_back(second, status=303).location.endswith("/2")
    assert tab.user is not None


def test_another_tabs_writes_during_a_callback_are_kept(provider: FakeProvider, records: Records) -> None:
    """The session is read again after the network: a basket that was filled meanwhile is in the new session."""
    ann = browser(make_app(provider=provider, session=records.options))
    ann.get("/session?basket=1")
    state = ann.start_login()
    tab = same_browser(ann)
    provider.during_finish = lambda: tab.get("/session?basket=2")
    ann.come_back(state, status=303)
    seen = ann.get("/session").json
    assert (seen["user"]["id"], seen["session"]) == ("ann", {"basket": "2"})


def test_a_login_started_in_another_tab_during_a_callback_is_kept(provider: FakeProvider, records: Records) -> None:
    """The other tab's state is still known afterwards."""
    ann = browser(make_app(provider=provider, session=records.options))
    state = ann.start_login()
    tab, started = same_browser(ann), []
    provider.during_finish = lambda: started.append(tab.start_login("/other"))
    ann.come_back(state, status=303)
    assert ann.come_back(started[0], status=303).location.endswith("/other")
    assert len(provider.finishes) == 2


def test_r11_two_people_in_two_tabs_do_not_mix(provider: FakeProvider, records: Records) -> None:
    """R11: one person's callback overtakes the other's in the same browser: the last one has it, alone."""
    person = browser(make_app(provider=provider, session=records.options))
    for_ann, for_bo = person.start_login(), person.start_login()
    tab = same_browser(person)

    def overtake() -> None:
        tab.come_back(for_bo, "bo", status=303)
        tab.get("/session?diary=bo's")

    provider.during_finish = overtake
    person.come_back(for_ann, "ann", status=303)
    seen = person.get("/session").json
    assert (seen["user"]["id"], seen["session"]) == ("ann", {})
    assert tab.get("/").json["user"]["id"] == "bo"


# -- two parallel callbacks with one state ------------------------------------------------------------------


class SingleUse(FakeProvider):
    """A provider that takes each code once; the second attempt fails only after the first one's login was written."""

    def __init__(self) -> None:
        super().__init__()
        self.winner_is_done = threading.Event()
        self._used: set[str] = set()
        self._lock = threading.Lock()

    def finish_login(self, query: Any, provider_state: Any, redirect_url: str) -> Any:
        with self._lock:
            is_used = query["code"] in self._used
            self._used.add(query["code"])
        if is_used:
            assert self.winner_is_done.wait(PATIENCE_SECONDS)
            raise CodeRejected
        return super().finish_login(query, provider_state, redirect_url)


class TwoAtOnce(MemoryNamespaceManager):  # type: ignore[misc]  # Beaker ships no types
    """Memory sessions whose next two readers wait for each other, so that both read before either writes."""

    barrier: threading.Barrier | None = None
    waiting = 0

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        cls = type(self)
        if cls.barrier is not None and cls.waiting < 2:
            cls.waiting += 1
            cls.barrier.wait(PATIENCE_SECONDS)
        return value


def test_two_parallel_callbacks_with_one_state_are_one_login() -> None:
    """Both read the session before either spent the state: one goes on, and the loser writes no session."""

    class Sessions(TwoAtOnce):
        pass

    provider = SingleUse()
    app = make_app(provider=provider, session={"type": "memory", "namespace_class": Sessions})
    ann = browser(app)
    ann.get("/session?basket=1")
    state, cookie = ann.start_login(), ann.cookie
    Sessions.barrier = threading.Barrier(2)

    def come_back() -> Any:
        answer = ask(app, "/clef/callback", query=f"code=ann&state={state}", HTTP_COOKIE=cookie)
        if answer.header("Set-Cookie"):
            provider.winner_is_done.set()
        return answer

    with ThreadPoolExecutor(2) as pool:
        answers = [future.result(PATIENCE_SECONDS) for future in [pool.submit(come_back) for _ in range(2)]]
    assert Sessions.waiting == 2, "the race did not happen"
    winner, loser = sorted(answers, key=lambda answer: not answer.header("Set-Cookie"))
    assert (winner.header("Location"), loser.header("Set-Cookie")) == (BASE_URL + "/", None)
    assert loser.status == 400 or "state=r." in loser.header("Location")
    assert len(provider.finishes) == 1
    new_cookie = winner.header("Set-Cookie").partition(";")[0]
    assert ask(app, HTTP_COOKIE=cookie).json["user"] is None
    seen = ask(app, "/session", HTTP_COOKIE=new_cookie).json
    assert (seen["user"]["id"], seen["session"]) == ("ann", {"basket": "1"})


# -- row 49: the store's clock ------------------------------------------------------------------------------


def memory_store(clock: FakeClock, _directory: Path) -> LogoutStore:
    return MemoryLogoutStore(clock=clock)


def sqlite_store(clock: FakeClock, directory: Path) -> LogoutStore:
    return SQLiteLogoutStore(directory / "logouts.db", clock=clock)


STORES = pytest.mark.parametrize("make_store", [memory_store, sqlite_store])
JUMPS = pytest.mark.parametrize("jump", [0, -DAY, DAY], ids=["same tick", "back", "ahead"])


@STORES
@JUMPS
def test_row_49_r10_the_store_orders_logins_and_logouts_whatever_the_clock_does(
    make_store: Callable[..., LogoutStore], jump: float, provider: FakeProvider, tmp_path: Path
) -> None:
    """The clock stands still or jumps between login, logout and login; R10: a repeated notification ends nothing."""
    clock = FakeClock()
    app = make_app(provider=provider, store=make_store(clock, tmp_path))
    old, new = browser(app), browser(app)
    old.sign_in("ann")
    assert old.get("/").json["user"]["id"] == "ann"
    token = provider.logout_token("ann")
    clock.advance(jump)
    old.notify(token)
    assert old.get("/").json["user"] is None
    clock.advance(jump)
    new.sign_in("ann")
    old.notify(token, status=200)
    assert new.user is not None
    assert old.get("/").json["user"] is None


def test_row_49_the_order_survives_a_restart_with_the_clock_set_back(
    provider: FakeProvider, records: Records, tmp_path: Path
) -> None:
    """A new process whose clock is a day behind: logins of before live, and its own logouts end them."""
    before = make_app(provider=provider, store=sqlite_store(FakeClock(NOON), tmp_path), session=records.options)
    ann, bo = browser(before), browser(before)
    ann.sign_in("ann")
    bo.sign_in("bo")
    after = make_app(provider=provider, store=sqlite_store(FakeClock(NOON - DAY), tmp_path), session=records.options)
    ann.app = bo.app = after
    assert ann.get("/").json["user"]["id"] == "ann"
    ann.notify(provider.logout_token("ann"))
    assert ann.get("/").json["user"] is None
    assert bo.get("/").json["user"]["id"] == "bo"
    ann.sign_in("ann")
    assert ann.get("/").json["user"]["id"] == "ann"
