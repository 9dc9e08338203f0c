"""An outage of the logout store or the sessions' back-end: the answers, the claims never made, the recovery."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from beaker.container import MemoryNamespaceManager
from support.app import BASE_URL, SECRET, Browser, FakeProvider, WSGIApp, ask, browser, echo, make_app
from support.cases import each

from clef_wsgi import MemoryLogoutStore, SQLiteLogoutStore, StoreUnavailable, wrap


class FlakyStore(MemoryLogoutStore):
    """Can't be asked for the methods named in ``down``; counts what it was asked."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.asked: list[str] = []
        super().__init__()
        self.asked.clear()

    def tick(self) -> int:
        self._asked("tick")
        return super().tick()

    def record_logout(self, keys: Any, *, idempotency_key: str | None = None) -> bool:
        self._asked("record_logout")
        return super().record_logout(keys, idempotency_key=idempotency_key)

    def newest_logout(self, keys: Any) -> int:
        self._asked("newest_logout")
        return super().newest_logout(keys)

    def _asked(self, method: str) -> None:
        self.asked.append(method)
        if method in self.down:
            raise StoreUnavailable from OSError("redis://:hunter2@10.0.0.5 is down")


class BackEndDown(Exception):
    """The error of a client library, related to no built-in one."""


class BreakableSessions(MemoryNamespaceManager):  # type: ignore[misc]  # Beaker ships no types
    """Memory sessions whose back-end fails; made anew for each test by :func:`breakable`."""

    read_error: Exception | None = None
    write_error: Exception | None = None
    fails_once = False

    def __getitem__(self, key: str) -> Any:
        error, cls = self.read_error, type(self)
        if error is not None:
            cls.read_error = None if self.fails_once else error
            raise error
        return super().__getitem__(key)

    def __setitem__(self, key: str, value: Any) -> None:
        if self.write_error is not None:
            raise self.write_error
        super().__setitem__(key, value)


BACK_END_ERRORS = [OSError("no space left"), TimeoutError("10.0.0.5"), BackEndDown("redis://:hunter2@10.0.0.5")]


@pytest.fixture
def store() -> FlakyStore:
    return FlakyStore()


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider()


@pytest.fixture
def sessions() -> type[BreakableSessions]:
    class Sessions(BreakableSessions):
        pass

    return Sessions


@pytest.fixture
def app(store: FlakyStore, provider: FakeProvider, sessions: type[BreakableSessions]) -> WSGIApp:
    return make_app(store=store, provider=provider, session={"type": "memory", "namespace_class": sessions})


def signed_in(app: WSGIApp) -> Browser:
    ann = browser(app)
    ann.sign_in("ann")
    assert ann.get("/").json["user"]["id"] == "ann"
    return ann


def assert_unavailable(answer: Any, reason: str = "store_unavailable") -> None:
    """503 with a time to come back, not to be stored, and without a cookie."""
    assert answer.status_int == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers
    if answer.content_type == "application/json":
        assert answer.json["error"] == reason


# -- row 43: the store can't be read ------------------------------------------------------------------------


def test_row_43_who_carries_a_login_gets_503_and_nobody_else(app: WSGIApp, store: FlakyStore) -> None:
    """The app is not called for somebody whose login can't be checked; strangers see nothing of it."""
    ann = signed_in(app)
    store.down = {"newest_logout"}
    answer = ann.get("/", status=503)
    assert_unavailable(answer)
    assert b"echo" not in answer.body
    assert ask(app).status == 200
    assert ask(app, "/about").status == 200


def test_row_43_it_heals_and_the_cookie_is_kept(app: WSGIApp, store: FlakyStore) -> None:
    """Nobody has to log in again after an outage."""
    ann = signed_in(app)
    cookie = ann.cookie
    store.down = {"newest_logout"}
    for _ in range(3):
        ann.get("/", status=503)
    store.down = set()
    assert ann.user is not None
    assert ann.cookie == cookie


def test_row_43_a_logout_during_the_outage_is_seen_afterwards(
    app: WSGIApp, store: FlakyStore, provider: FakeProvider
) -> None:
    """Reads fail, writes work: what was recorded counts as soon as it can be read."""
    ann = signed_in(app)
    store.down = {"newest_logout"}
    ann.notify(provider.logout_token("ann"), status=200)
    store.down = set()
    assert ann.user is None


def test_row_43_scripts_get_json(app: WSGIApp, store: FlakyStore) -> None:
    """Accept decides, as for all errors."""
    ann = signed_in(app)
    store.down = {"newest_logout"}
    answer = ann.get("/", headers={"Accept": "application/json"}, status=503)
    assert answer.content_type == "application/json"
    assert_unavailable(answer)


def test_row_43_anonymous_goes_on_with_nobody(store: FlakyStore) -> None:
    """store_failure="anonymous": the app is called with nobody signed in, and sees the reason; then it heals."""
    ann = signed_in(make_app(store=store, store_failure="anonymous", protect=["/private"]))
    store.down = {"newest_logout"}
    seen = ann.get("/", status=200).json
    assert (seen["user"], seen["login_id"], seen["error"]) == (None, None, "store_unavailable")
    assert_unavailable(ann.get("/private", status=503))
    store.down = set()
    assert ann.user is not None
    assert ann.get("/").json["error"] is None


def test_row_43_a_protected_page_is_503_too(store: FlakyStore) -> None:
    """By default nobody is sent to log in again because the store is down."""
    ann = signed_in(make_app(store=store, protect=["/"]))
    store.down = {"newest_logout"}
    assert_unavailable(ann.get("/private", status=503))


@each("accept", ["text/html", "application/json"])
@each("path", ["/notes", "/notes/1", "//notes", "/x/../notes"])
@each("method", ["GET", "POST"])
def test_row_103_anonymous_shows_no_protected_page_to_who_carries_a_login(
    store: FlakyStore, method: str, path: str, accept: str
) -> None:
    """Row 103: 503, not the start of a login that can't be finished; what is not protected goes on with nobody."""
    store.down = set()
    app = make_app(store=store, store_failure="anonymous", protect=["/notes"], validated=False)
    ann = signed_in(app)
    store.down = {"newest_logout"}
    answer = ask(app, path, method=method, HTTP_COOKIE=ann.cookie, HTTP_ACCEPT=accept)
    assert (answer.status, answer.header("Cache-Control")) == (503, "no-store")
    assert ask(app, path, HTTP_ACCEPT="text/html").status == 303
    seen = ann.get("/", status=200).json
    assert (seen["user"], seen["error"]) == (None, "store_unavailable")
    store.down = set()
    assert ann.get("/notes", status=200).json["user"]["id"] == "ann"


def test_row_103_sessions_that_cant_be_read_show_no_protected_page(sessions: type[BreakableSessions]) -> None:
    """Row 103: without the session's back-end, too, the login's owner is unknown: no protected page is shown."""
    back_end = {"type": "memory", "namespace_class": sessions}
    ann = signed_in(make_app(session=back_end, store_failure="anonymous", protect=["/notes"]))
    sessions.read_error = OSError("down")
    assert_unavailable(ann.get("/notes", status=503), "session_unavailable")
    sessions.read_error = None
    assert ann.get("/notes", status=200).json["user"]["id"] == "ann"


def test_row_43_ignored_paths_do_not_notice(store: FlakyStore) -> None:
    """A health check answers whatever the store does."""
    ann = signed_in(make_app(store=store, ignore=["/static"]))
    store.down = {"newest_logout", "tick", "record_logout"}
    asked = len(store.asked)
    ann.get("/static/x", status=200)
    assert len(store.asked) == asked


@contextmanager
def locked(path: Path, how: str) -> Iterator[None]:
    """Hold a SQLite file as another process would: ``writes`` blocks writers, ``all`` readers as well."""
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        if how == "all":
            holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN IMMEDIATE")
        holder.execute("UPDATE mark SET stamp = stamp")
        if how == "all":
            holder.execute("COMMIT")
        yield
        if how == "writes":
            holder.execute("ROLLBACK")


@pytest.mark.slow
def test_row_43_a_store_that_hangs_costs_its_limit_and_no_more(tmp_path: Path) -> None:
    """Nobody waits for a store that does not answer: 503 after its own limit, which is half a second by default."""
    path, limit = tmp_path / "logouts.db", 0.5
    store = SQLiteLogoutStore(path, read_timeout_seconds=limit)
    ann = signed_in(make_app(store=store))
    store.close()  # who holds the file alone must have come first

    def seconds() -> float:
        began = time.monotonic()
        assert_unavailable(ann.get("/", status=503))
        return time.monotonic() - began

    with locked(path, "all"):  # a busy machine may hold up one request, and not each of five
        assert any(0.9 * limit < seconds() < 1.9 * limit for _ in range(5))
    assert ann.user is not None
    assert signature(SQLiteLogoutStore).parameters["read_timeout_seconds"].default <= 0.5


# -- rows 44 and 45: the store can't be written -------------------------------------------------------------


def test_row_44_a_webhook_that_can_not_be_recorded_is_503_and_its_retry_counts(
    app: WSGIApp, store: FlakyStore, provider: FakeProvider
) -> None:
    """An unrecorded logout is never answered 200, and the notification sent again is not taken for a repetition."""
    ann = signed_in(app)
    token = provider.logout_token("ann")
    store.down = {"record_logout"}
    answer = ann.notify(token, status=503)
    assert_unavailable(answer)
    assert ann.user is not None
    store.down = set()
    ann.notify(token, status=200)
    assert ann.user is None


def test_row_44_a_sign_out_that_can_not_be_recorded_is_503(app: WSGIApp, store: FlakyStore) -> None:
    """The login lives on, and the page says so; the next try ends it."""
    ann = signed_in(app)
    store.down = {"record_logout"}
    assert_unavailable(ann.sign_out(status=503))
    assert ann.user is not None
    store.down = set()
    ann.sign_out(status=303)
    assert ann.user is None


def test_row_44_end_raises_when_it_can_not_be_recorded(store: FlakyStore) -> None:
    """clef.login.end() never pretends: it raises StoreUnavailable, and the user is still there."""
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["PATH_INFO"] == "/end":
            try:
                environ["clef.login"].end()
            except StoreUnavailable as error:
                seen.extend([error.reason, environ["clef.user"]["id"]])
        return echo(environ, start_response)

    ann = signed_in(make_app(app, store=store))
    store.down = {"record_logout"}
    ann.get("/end")
    assert seen == ["store_unavailable", "ann"]
    assert ann.user is not None
    store.down = set()
    assert ann.get("/end").json["user"] is None
    assert ann.get("/").json["user"] is None


def test_row_45_a_locked_file_is_503_in_time_and_nothing_is_lost(tmp_path: Path) -> None:
    """Another process holds the file: 503 within the limit, readers go on, and the retry is recorded."""
    path = tmp_path / "logouts.db"
    provider, store = FakeProvider(), SQLiteLogoutStore(path, write_timeout_seconds=0.25)
    app = make_app(store=store, provider=provider)
    ann, token = signed_in(app), provider.logout_token("ann")
    with locked(path, "writes"):
        began = time.monotonic()
        assert_unavailable(ann.notify(token, status=503))
        assert time.monotonic() - began < 3
        assert ann.user is not None
    ann.notify(token, status=200)
    assert ann.get("/").json["user"] is None
    assert signed_in(app).user is not None


# -- a login, while the store can't be asked ----------------------------------------------------------------


@pytest.mark.parametrize(("method", "asks_provider"), [("tick", False), ("newest_logout", True)])
def test_no_login_is_written_that_can_not_be_checked(
    app: WSGIApp, store: FlakyStore, provider: FakeProvider, method: str, asks_provider: bool
) -> None:
    """503, nobody signed in, the state spent; without a stamp the code is not even sent."""
    ann = browser(app)
    state = ann.start_login()
    store.down = {method}
    assert_unavailable(ann.come_back(state, status=503))
    assert bool(provider.finishes) is asks_provider
    store.down = set()
    assert ann.user is None
    ann.come_back(state)
    assert len(provider.finishes) == asks_provider, "the state was spent twice"


def test_a_login_is_not_replaced_when_the_old_one_can_not_be_ended(app: WSGIApp, store: FlakyStore) -> None:
    """Nothing is written then: the old login goes on."""
    ann = signed_in(app)
    state, cookie = ann.start_login(), ann.cookie
    store.down = {"record_logout"}
    assert_unavailable(ann.come_back(state, "bo", status=503))
    assert ann.cookie == cookie
    assert ann.get("/").json["user"]["id"] == "ann"


@each("accept", ["text/html", "application/json", "*/*", None])
@each("signed_in_before", [False, True])
def test_row_104_nobody_is_sent_away_to_a_login_that_cant_be_finished(
    app: WSGIApp, store: FlakyStore, provider: FakeProvider, signed_in_before: bool, accept: str | None
) -> None:
    """Row 104: ``/clef/login`` with the store down is 503, for scripts too, and afterwards works as before."""
    visitor = signed_in(app) if signed_in_before else browser(app)
    starts, store.down = len(provider.starts), {"newest_logout"}
    answer = visitor.get("/clef/login?next=/notes", headers={"Accept": accept} if accept else {}, status=503)
    assert_unavailable(answer)
    assert len(provider.starts) == starts
    store.down = set()
    visitor.come_back(visitor.start_login("/notes"), status=303)
    assert visitor.user is not None


@each("goes_on", ["unavailable", "anonymous"])
def test_row_104_it_is_a_read_and_writes_nothing(store: FlakyStore, goes_on: str) -> None:
    """Row 104: an anonymous start looks once and stamps nothing: it costs no turn of the store's clock."""
    store.asked.clear()
    store.down = {"tick", "record_logout"}
    browser(make_app(store=store, store_failure=goes_on)).start_login()
    assert store.asked == ["newest_logout"]
    store.down = {"newest_logout"}
    answer = browser(make_app(store=store, store_failure=goes_on)).get("/clef/login", status=503)
    assert_unavailable(answer)


def test_row_104_a_login_is_not_started_over_either(app: WSGIApp, store: FlakyStore, provider: FakeProvider) -> None:
    """Row 104: an unknown state of somebody with a session leads nowhere while the store is down."""
    visitor = browser(app)
    visitor.start_login()
    starts, store.down = len(provider.starts), {"newest_logout"}
    assert_unavailable(visitor.come_back("unknown", status=503))
    assert len(provider.starts) == starts


def test_an_unknown_state_is_not_started_over_when_the_login_can_not_be_checked(
    app: WSGIApp, store: FlakyStore, provider: FakeProvider
) -> None:
    """The next step depends on the login, which can't be checked, so the answer is 503."""
    ann = signed_in(app)
    starts = len(provider.starts)
    store.down = {"newest_logout"}
    assert_unavailable(ann.come_back("unknown", status=503))
    assert len(provider.starts) == starts


# -- the sessions' back-end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", BACK_END_ERRORS, ids=lambda error: type(error).__name__)
def test_sessions_that_can_not_be_read_are_503_for_who_has_one(
    app: WSGIApp, sessions: type[BreakableSessions], provider: FakeProvider, error: Exception
) -> None:
    """A time-out of the back-end is not an end of the session: it heals, and the person is still signed in."""
    ann = signed_in(app)
    cookie = ann.cookie
    sessions.read_error = error
    for path in ("/", "/clef/callback?code=a&state=b"):
        answer = ann.get(path, headers={"Accept": "application/json"}, status=503)
        assert_unavailable(answer, "session_unavailable")
    assert_unavailable(ann.sign_out(status=503))
    assert ask(app).status == 200
    assert ann.notify(provider.logout_token("bo")).status_int == 200, "the webhook needs no session"
    sessions.read_error = None
    assert ann.user is not None
    assert ann.cookie == cookie


@pytest.mark.parametrize("error", BACK_END_ERRORS, ids=lambda error: type(error).__name__)
def test_one_time_out_of_the_sessions_signs_nobody_out_for_good(
    app: WSGIApp, sessions: type[BreakableSessions], error: Exception
) -> None:
    """A single failure is a single 503: the session is not taken for a corrupt one, and not begun anew."""
    ann = signed_in(app)
    sessions.read_error, sessions.fails_once = error, True
    assert_unavailable(ann.get("/", status=503))
    assert ann.user is not None


def test_sessions_that_can_not_be_read_are_nobodys_if_told_so(
    store: FlakyStore, sessions: type[BreakableSessions]
) -> None:
    """store_failure="anonymous" is about the sessions' back-end, too."""
    # Without validators: the inner one shows environ in a message that it never uses, which loads the session.
    app = wrap(
        echo,
        provider=FakeProvider(),
        logout_store=store,
        base_url=BASE_URL,
        session={"secret": SECRET, "namespace_class": sessions},
        store_failure="anonymous",
    )
    ann = signed_in(app)
    sessions.read_error = BackEndDown()
    seen = ann.get("/", status=200).json
    assert (seen["user"], seen["error"]) == (None, "session_unavailable")
    sessions.read_error = None
    assert ann.user is not None


@pytest.mark.parametrize("error", BACK_END_ERRORS, ids=lambda error: type(error).__name__)
def test_sessions_that_can_not_be_written_start_no_login(
    app: WSGIApp, sessions: type[BreakableSessions], error: Exception
) -> None:
    """A state that was not kept would never be known again: 503, and no cookie for nothing."""
    visitor = browser(app)
    sessions.write_error = error
    assert_unavailable(visitor.get("/clef/login", status=503))
    sessions.write_error = None
    visitor.sign_in("ann")
    assert visitor.user is not None


def test_a_state_that_can_not_be_spent_is_not_used(
    app: WSGIApp, sessions: type[BreakableSessions], provider: FakeProvider
) -> None:
    """Spend before you speak: the provider is not asked."""
    ann = browser(app)
    state = ann.start_login()
    sessions.write_error = OSError()
    assert_unavailable(ann.come_back(state, status=503))
    assert provider.finishes == []
    sessions.write_error = None
    ann.come_back(state, status=303)
    assert ann.user is not None


def test_a_login_that_can_not_be_written_is_none(
    app: WSGIApp, sessions: type[BreakableSessions], provider: FakeProvider
) -> None:
    """The back-end fails between the exchange and the writing: 503, nobody signed in, no new cookie."""
    ann = browser(app)
    state, cookie = ann.start_login(), ann.cookie
    provider.during_finish = lambda: setattr(sessions, "write_error", OSError())
    assert_unavailable(ann.come_back(state, status=503))
    sessions.write_error = None
    assert ann.cookie == cookie
    assert ann.user is None


def test_a_sign_out_counts_though_the_session_can_not_be_emptied(
    app: WSGIApp, sessions: type[BreakableSessions]
) -> None:
    """Emptying the session is a courtesy: the record in the store is what ends the login."""
    ann = signed_in(app)
    sessions.write_error = OSError()
    ann.sign_out(status=303)
    assert ann.user is None
    sessions.write_error = None
    assert ann.user is None


def test_a_dead_login_shows_nothing_though_the_session_can_not_be_emptied(
    app: WSGIApp, sessions: type[BreakableSessions], provider: FakeProvider
) -> None:
    """The app sees an empty session at this request, whatever the back-end still holds."""
    ann = signed_in(app)
    ann.get("/session?diary=ann's")
    ann.notify(provider.logout_token("ann"))
    sessions.write_error = OSError()
    seen = ann.get("/session", status=200).json
    assert (seen["user"], seen["session"]) == (None, {})


def test_an_outage_tells_no_secret(
    app: WSGIApp, store: FlakyStore, sessions: type[BreakableSessions], caplog: pytest.LogCaptureFixture
) -> None:
    """An error of a client library may hold an address with a password: only its name goes into the log."""
    ann = signed_in(app)
    pages = []
    with caplog.at_level(logging.DEBUG, "clef_wsgi"):
        store.down = {"newest_logout"}
        pages.append(ann.get("/", status=503).text)
        store.down = set()
        sessions.read_error = BackEndDown("redis://:hunter2@10.0.0.5")
        pages.append(ann.get("/", status=503).text)
    assert "BackEndDown" in caplog.text
    assert "hunter2" not in caplog.text + "".join(pages)
