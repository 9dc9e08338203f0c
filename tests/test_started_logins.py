"""Started logins in the session's back-end: small, few, of one session, and never lost when several start at once."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from beaker.container import MemoryNamespaceManager
from support.app import BASE_URL, PROVIDER_URL, FakeClock, FakeProvider, WSGIApp, ask, browser, make_app, state_of
from support.beaker_records import BACK_ENDS, BackEnd, MemoryRecords, Records, StartedLogin, names, redis_records
from support.cases import each
from support.services import require

from clef_wsgi.beaker.backends import MemoryPlace

PATIENCE_SECONDS = 30.0
ROUNDS = 120
TABS = 4


@pytest.fixture(params=BACK_ENDS)
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    back_end: BackEnd = request.param
    with back_end(tmp_path) as found:
        yield found


@pytest.fixture
def database(tmp_path: Path) -> dict[str, Any]:
    """Beaker's options for sessions in a database, without lock files."""
    require("SQLAlchemy", find_spec("sqlalchemy") is not None, 'pip install ".[sql]"')
    return {"type": "ext:database", "url": f"sqlite:///{tmp_path / 'sessions.db'}"}


def incompressible(length: int, seed: int) -> str:
    """A path that no compression makes much smaller."""
    signs = string.ascii_letters + string.digits + "-_.~"
    return "/" + "".join(random.Random(seed).choices(signs, k=length - 1))


# -- row 79: four tabs at once ------------------------------------------------------------------------------


def start_at_once(app: WSGIApp, cookie: str | None, number: int) -> list[tuple[str, str]]:
    """Four tabs with the same cookie start in the same moment: each one's page and state."""
    barrier = Barrier(TABS)

    def start(page: str) -> tuple[str, str]:
        barrier.wait(PATIENCE_SECONDS)
        answer = ask(app, "/clef/login", query=f"next={page}", HTTP_COOKIE=cookie)
        assert answer.status == 303
        return page, state_of(answer.header("Location") or "")

    with ThreadPoolExecutor(TABS) as pool:
        return list(pool.map(start, [f"/{number}/{tab}" for tab in range(TABS)]))


def assert_no_state_is_lost(session: dict[str, Any]) -> None:
    """Each of the tabs finishes at its own page, whatever cookie it has by then, with and without a session before."""
    provider = FakeProvider()
    app = make_app(provider=provider, session=session, validated=False)
    for number in range(ROUNDS):
        ann = browser(app)
        ann.get("/session?color=blue") if number % 2 else ann.start_login()
        old_cookie = ann.cookie
        for tab, (page, state) in enumerate(start_at_once(app, old_cookie, number)):
            if tab == TABS - 1:
                answer = ask(app, "/clef/callback", query=f"code=ann&state={state}", HTTP_COOKIE=old_cookie)
                assert (answer.status, answer.header("Location")) == (303, BASE_URL + page)
            else:
                assert ann.come_back(state, status=303).location == BASE_URL + page
        assert ann.user["id"] == "ann"
    assert len(provider.finishes) == ROUNDS * TABS


@pytest.mark.slow
def test_row_79_no_start_loses_anothers_state(records: Records) -> None:
    """Row 79: memory, file and Redis sessions."""
    assert_no_state_is_lost(records.options)


@pytest.mark.slow
def test_row_79_no_start_loses_anothers_state_in_a_database(database: dict[str, Any]) -> None:
    """Row 79: sessions in a database."""
    assert_no_state_is_lost(database)


def test_row_79_a_start_writes_nothing_of_the_session(records: Records) -> None:
    """A started login does not rewrite the app's data, so it can't lose any."""
    ann = browser(make_app(session=records.options))
    ann.get("/session?basket=1")
    before = records.value(ann.cookie)
    ann.start_login("/notes")
    assert records.value(ann.cookie) == before


# -- consumed once ------------------------------------------------------------------------------------------


def test_a_state_is_consumed_by_one_of_many(records: Records) -> None:
    """Eight callbacks with one state at once: the provider is asked once."""
    provider = FakeProvider()
    app = make_app(provider=provider, session=records.options, validated=False)
    ann = browser(app)
    query, cookie = f"code=ann&state={ann.start_login('/notes')}", ann.cookie
    barrier = Barrier(8)

    def come_back(_number: int) -> Any:
        barrier.wait(PATIENCE_SECONDS)
        return ask(app, "/clef/callback", query=query, HTTP_COOKIE=cookie)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(come_back, range(8)))
    assert len(provider.finishes) == 1
    assert [answer.header("Location") for answer in answers].count(BASE_URL + "/notes") == 1
    assert {answer.status for answer in answers} <= {303, 400}


def test_nothing_is_left_of_a_login_that_finished() -> None:
    """Neither the started login nor the list that counts it."""
    before = names()
    ann = browser(make_app())
    for outcome in (303, 400):
        state = ann.start_login("/notes")
        provider_says = {"code": "ann"} if outcome == 303 else {"error": "access_denied"}
        ann.get("/clef/callback", {"state": state, **provider_says}, status=outcome)
    assert [name for name in names() - before if "session" not in _content(name)] == []


def _content(name: str) -> dict[str, Any]:
    content: dict[str, Any] = MemoryNamespaceManager.namespaces.dict[name]
    return content


def test_logins_of_before_a_login_count_no_longer_than_they_live() -> None:
    """Session fixation: a session's old id starts no login for its new one after the earlier logins expired."""
    clock, provider = FakeClock(), FakeProvider()
    app = make_app(provider=provider, clock=clock)
    ann = browser(app)
    ann.start_login()
    planted = ann.cookie
    ann.sign_in("ann")
    clock.advance(3601)
    answer = ask(app, "/clef/login", HTTP_COOKIE=planted)
    assert ann.come_back(state_of(answer.header("Location") or ""), "eve", status=303).location == BASE_URL + "/"
    assert (ann.user["id"], len(provider.finishes)) == ("ann", 1)


# -- row 76: small and few ----------------------------------------------------------------------------------


def room_of_files(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@pytest.mark.slow
def test_row_76_a_thousand_starts_with_long_addresses_take_three_kib_each(tmp_path: Path) -> None:
    """Row 76: without a cookie, with 2 KiB that don't compress; all the session files together."""
    app = make_app(session={"type": "file", "data_dir": str(tmp_path)}, validated=False)
    for number in range(1000):
        answer = ask(app, "/clef/login", query=f"next={incompressible(2048, number)}")
        assert answer.status == 303
    assert room_of_files(tmp_path) < 1000 * 3072


@pytest.mark.services
def test_row_76_in_redis_too() -> None:
    """Row 76: what Redis itself says that the keys take."""
    with redis_records() as records:
        client = records.options["url"]
        before = set(client.scan_iter("beaker_cache:*", count=1000))
        app = make_app(session=records.options, validated=False)
        for number in range(100):
            ask(app, "/clef/login", query=f"next={incompressible(2048, number)}")
        made = set(client.scan_iter("beaker_cache:*", count=1000)) - before
        sizes = [size for size in map(client.memory_usage, made) if size is not None]  # others' keys come and go
        assert len(sizes) >= 100
        assert sum(sizes) < len(sizes) * 3072


def test_row_76_one_session_has_twenty(tmp_path: Path) -> None:
    """Row 76: whatever starts 200 logins with one cookie keeps 20, and 2 KiB of return addresses."""
    app = make_app(session={"type": "file", "data_dir": str(tmp_path)}, validated=False)
    ann = browser(app)
    ann.start_login()
    for number in range(200):
        ask(app, "/clef/login", query=f"next={incompressible(2000, number)}", HTTP_COOKIE=ann.cookie)
    assert len(list(tmp_path.rglob("*.cache"))) == 21  # and their list
    assert room_of_files(tmp_path) < 2000 + 20 * 200 + 2048


def test_row_76_an_older_address_makes_room_and_its_login_still_works() -> None:
    """Beyond 2 KiB in all the oldest return address goes: that tab comes home, the newer ones to their pages."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider))
    pages = [incompressible(900, number) for number in range(3)]
    states = [ann.start_login(page) for page in pages]
    homes = [ann.come_back(state, status=303).location for state in states]
    assert homes == [BASE_URL + "/", BASE_URL + pages[1], BASE_URL + pages[2]]
    assert len(provider.finishes) == 3


def test_row_76_making_room_does_not_bring_a_lost_login_back(tmp_path: Path) -> None:
    """Writing makes a file: none is written where the record whose address was to go is gone itself."""
    provider = FakeProvider()
    ann = browser(make_app(provider=provider, session={"type": "file", "data_dir": str(tmp_path)}))
    lost = ann.start_login(incompressible(900, 0))
    (file,) = tmp_path.rglob("*.cache")
    ann.start_login(incompressible(900, 1))
    file.unlink()
    ann.start_login(incompressible(900, 2))
    assert not file.exists()
    ann.come_back(lost, status="*")
    assert provider.finishes == []
    assert ann.user is None


def test_row_76_a_login_that_finished_takes_no_room() -> None:
    """Spent ones are not counted: an abandoned tab keeps its page while another signs in again and again."""
    ann = browser(make_app())
    waiting = ann.start_login("/waiting")
    cookie = ann.cookie
    for number in range(30):
        tab = browser(ann.app)
        tab.set_cookie(*cookie.split("=", 1))
        tab.come_back(tab.start_login(incompressible(1900, number)), status=303)
    assert ann.come_back(waiting, status=303).location == BASE_URL + "/waiting"


# -- what somebody wrote over it ----------------------------------------------------------------------------


@each("garbage", [b"", b"garbage", "text", 7, None, ["x"], b"x\x9c\x03\x00\x00\x00\x00\x01"], ids=repr)
@each("key", ["login", "next"])
def test_an_undecodable_started_login_is_unknown(key: str, garbage: Any) -> None:
    """It starts over, and no exception; nor does a garbled list of them keep anybody from starting."""
    provider, before = FakeProvider(), names()
    ann = browser(make_app(provider=provider, session=MemoryRecords.options))
    ann.start_login()
    first = names()
    state = ann.start_login("/notes")
    started = StartedLogin(first)
    lists = [_content(name) for name in names() - before if "started" in _content(name)]
    assert len(lists) == 1
    lists[0]["started"] = garbage
    started.place[key] = garbage
    assert ann.come_back(state, status=303).location.startswith(PROVIDER_URL)
    assert provider.finishes == []
    ann.sign_in("ann")
    assert ann.user["id"] == "ann"


ENCRYPTING = {"encrypt_key": "k" * 32, "validate_key": "v" * 32}


def test_encrypted_sessions_keep_started_logins_encrypted() -> None:
    """With Beaker's ``encrypt_key`` nothing of them is readable in the back-end."""
    require("cryptography", find_spec("cryptography") is not None, "pip install cryptography")
    before = names()
    ann = browser(make_app(session={**MemoryRecords.options, **ENCRYPTING}))
    state = ann.start_login("/notes")
    with pytest.raises(Exception):  # noqa: B017, PT011  whichever of its layers is no JSON
        StartedLogin(before).read()
    assert ann.come_back(state, status=303).location == BASE_URL + "/notes"


# -- records in this process --------------------------------------------------------------------------------


def test_row_76_a_record_in_memory_ends_by_itself() -> None:
    """Row 76: what has had its time goes when another is written, unless it was written again since."""
    before = names()
    ended, renewed, later = (MemoryPlace(f"{name}-{len(before)}", timeout=0) for name in ("a", "b", "c"))
    ended["x"] = 1
    assert names() == before
    renewed.timeout = 1e-6
    renewed["x"] = 1
    renewed.timeout = 60
    renewed["x"] = 2
    later.timeout = 60
    later["x"] = 3
    assert names() - before == {renewed.namespace, later.namespace}
    del renewed["x"], later["x"]
    assert names() == before


def test_a_record_in_memory_without_a_time_to_live_stays() -> None:
    """Where Beaker was given no time-out, only a removal ends a record."""
    before = names()
    kept, ended = MemoryPlace(f"d-{len(before)}"), MemoryPlace(f"e-{len(before)}", timeout=0)
    kept["x"] = 1
    ended["x"] = 2
    assert names() - before == {kept.namespace}
    del kept["x"]
    assert names() == before


def test_row_76_reading_makes_no_record_in_memory() -> None:
    """Neither a session id without a record, nor states that nobody started."""
    ann = browser(make_app())
    ann.start_login()
    before = names()
    for number in range(10):
        assert ann.user is None
        ann.come_back(f"r.unknown{number}", status=400)
    assert names() == before


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\x80\x05N."])
def test_a_garbled_file_keeps_nobody_from_starting(tmp_path: Path, garbage: bytes) -> None:
    """The list or a started login in a file that a bad disk garbled: starts go on, and what is whole finishes."""
    ann = browser(make_app(session={"type": "file", "data_dir": str(tmp_path)}))
    for _ in range(3):
        ann.start_login(incompressible(900, 1))
    for path in tmp_path.rglob("*.cache"):
        path.write_bytes(garbage)
    states = [ann.start_login(incompressible(900, number)) for number in range(3)]
    assert ann.come_back(states[-1], status=303).location == BASE_URL + incompressible(900, 2)
    assert ann.user["id"] == "ann"
