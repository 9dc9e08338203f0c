"""Strangers at the webhook: junk holds no thread for long, is not remembered, and keeps out no true notification."""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from support.app import Answer, FakeProvider, ask, browser, make_app
from support.cases import each
from support.https_proxy import served
from support.peers import Peer, hangs

from clef_wsgi import ClefProvider, LogoutRefused
from clef_wsgi.interfaces import Logout
from clef_wsgi.testing import LocalClef

WEBHOOK = "/clef/webhook"
SITE_URL = "http://localhost:8401"
PATIENCE_SECONDS = 10.0


def post(app: Any, token: str) -> Answer:
    return ask(app, WEBHOOK, method="POST", body=urlencode({"logout_token": token}).encode())


class SlowProvider(FakeProvider):
    """A plug of somebody's own, whose login service answers when the test says so."""

    bounds_exchanges = False

    def __init__(self) -> None:
        super().__init__()
        self.answers, self.asked = threading.Event(), threading.Semaphore(0)

    def read_logout(self, form: Mapping[str, str]) -> Logout:
        self.asked.release()
        assert self.answers.wait(PATIENCE_SECONDS)
        return super().read_logout(form)

    def wait_for_calls(self, count: int) -> None:
        for _ in range(count):
            assert self.asked.acquire(timeout=PATIENCE_SECONDS)


@pytest.fixture
def slow() -> Iterator[SlowProvider]:
    provider = SlowProvider()
    yield provider
    provider.answers.set()


# -- what is asked about ----------------------------------------------------------------------------------


@each("token", ["", "x" * 2049, "a\0b", "a\nb", "a\x7f", "caf\xe9", "\u2603", "a\u2028b", "\x80", "\t"])
def test_what_is_no_token_is_refused_unasked(token: str) -> None:
    """Anything but printable ASCII of 1 to 2,048 characters is 400 before a plug of anybody's sees it."""
    provider = FakeProvider()
    answer = post(make_app(provider=provider), token)
    assert (answer.status, answer.json["error"]) == (400, "malformed_form")
    assert provider.notifications == []


@each("token", ["x", ".", "x" * 2048, "a b", "~!"])
def test_what_could_be_a_token_is_asked_about(token: str) -> None:
    """The longest, the shortest and the oddest that a login service could give."""
    provider = FakeProvider()
    post(make_app(provider=provider), token)
    assert provider.notifications == [{"logout_token": token}]


def test_a_refusal_is_not_remembered() -> None:
    """A login service may be wrong for a moment, and a retry carries the same token."""
    provider = FakeProvider()
    app = make_app(provider=provider)
    ann = browser(app)
    ann.sign_in("ann")
    token = provider.logout_token("ann")
    provider.raises = LogoutRefused()
    assert [post(app, token).status for _ in range(3)] == [400, 400, 400]
    provider.raises = None
    assert post(app, token).status == 200
    assert ann.user is None


# -- how many at a time -----------------------------------------------------------------------------------


def timed(call: Callable[[], Answer]) -> tuple[Answer, float]:
    begun = time.monotonic()
    return call(), time.monotonic() - begun


def assert_busy(answer: Answer) -> None:
    assert (answer.status, answer.json["error"], answer.header("Retry-After")) == (503, "webhook_busy", "1")


def test_two_under_way_one_waits_all_others_are_503_at_once(slow: SlowProvider) -> None:
    """A third notification waits for up to 0.2 s; one beside it gets 503 with ``Retry-After: 1``."""
    app = make_app(provider=slow)
    with ThreadPoolExecutor(3) as pool:
        held = [pool.submit(post, app, "ann.1"), pool.submit(post, app, "ann.2")]
        slow.wait_for_calls(2)
        third = pool.submit(timed, lambda: post(app, "ann.3"))
        others = []
        while not third.done():
            others.append(timed(lambda: post(app, "ann.4")))
        answer, seconds = third.result()
        slow.answers.set()
        assert [future.result().status for future in held] == [200, 200]
    assert_busy(answer)
    assert 0.19 < seconds < 2
    for answer, _ in others:
        assert_busy(answer)
    assert sum(seconds < 0.1 for _, seconds in others) >= len(others) / 2
    assert len(others) > 2
    assert post(app, "ann.3").status == 200


def test_the_one_that_waits_gets_the_place_that_becomes_free(slow: SlowProvider) -> None:
    """A short burst costs nobody a repetition."""
    app = make_app(provider=slow)
    with ThreadPoolExecutor(3) as pool:
        held = [pool.submit(post, app, "ann.1"), pool.submit(post, app, "ann.2")]
        slow.wait_for_calls(2)
        held.append(pool.submit(post, app, "ann.3"))
        slow.answers.set()
        assert [future.result().status for future in held] == [200, 200, 200]


def test_the_places_are_the_processes_and_not_a_sites(slow: SlowProvider) -> None:
    """A process has one set of threads, however many sites it serves."""
    here, there = make_app(provider=slow), make_app(provider=slow)
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(post, here, "ann.1"), pool.submit(post, there, "ann.2")]
        slow.wait_for_calls(2)
        assert_busy(post(there, "ann.3"))
        slow.answers.set()
        assert [future.result().status for future in held] == [200, 200]


@pytest.mark.parametrize("error", [LogoutRefused(), RuntimeError("a plug's own fault")])
def test_a_place_is_given_back_whatever_happens(error: Exception) -> None:
    """A plug that raises keeps no place."""

    class Failing(FakeProvider):
        bounds_exchanges = False

    provider = Failing()
    app = make_app(provider=provider)
    provider.raises = error
    for _ in range(3):
        with contextlib.suppress(RuntimeError):
            post(app, "ann.1")
    provider.raises = None
    assert post(app, "ann.1").status == 200


def test_a_plug_that_bounds_itself_is_not_held_up(slow: SlowProvider) -> None:
    """``bounds_exchanges``: a provider that verifies notifications without a call takes no place."""
    free = make_app(provider=FakeProvider())
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(post, make_app(provider=slow), f"ann.{n}") for n in range(2)]
        slow.wait_for_calls(2)
        assert post(free, "ann.9").status == 200
        slow.answers.set()
        assert [future.result().status for future in held] == [200, 200]


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_begins_with_all_places_free(slow: SlowProvider) -> None:
    """A worker that was forked while both places were held can still take notifications."""
    app, free = make_app(provider=slow), SlowProvider()
    free.answers.set()
    other = make_app(provider=free)
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(post, app, f"ann.{n}") for n in range(2)]
        slow.wait_for_calls(2)
        child = os.fork()
        if not child:
            os._exit(0 if post(other, "ann.3").status == 200 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert_busy(post(other, "ann.3"))
        slow.answers.set()
        assert [future.result().status for future in held] == [200, 200]


@pytest.mark.slow
def test_row_86_junk_beside_a_silent_login_service_holds_no_site() -> None:
    """Row 86: 24 junk tokens, a login service that never answers, four threads: a page comes within 0.5 s."""
    with Peer(hangs()) as peer:
        provider = ClefProvider(app_id="a", app_secret="b", server_url=peer.url, timeout_seconds=1)
        with served(make_app(provider=provider, base_url="http://localhost:8000"), threads=4) as port:
            posts = [_connection(port) for _ in range(24)]
            for connection in posts:
                body = urlencode({"logout_token": "junk"})
                connection.request("POST", WEBHOOK, body, {"Content-Type": "application/x-www-form-urlencoded"})
            begun = time.monotonic()
            page = _connection(port)
            page.request("GET", "/")
            assert page.getresponse().status == 200
            assert time.monotonic() - begun < 0.5
            answers = [connection.getresponse() for connection in posts]
            for connection in (*posts, page):
                connection.close()
    assert {answer.status for answer in answers} == {503}
    assert sum(answer.headers["Retry-After"] == "1" for answer in answers) == 22
    assert peer.connections == 2


def _connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)


# -- row 85: true notifications among junk ----------------------------------------------------------------


@pytest.fixture(scope="module")
def clef() -> Iterator[LocalClef]:
    with LocalClef() as running:
        yield running


def post_junk(app: Any, count: int = 280) -> set[int]:
    """Post invalid tokens from four threads and return the statuses."""
    with ThreadPoolExecutor(4) as pool:
        return set(pool.map(lambda n: post(app, f"junk-{n}").status, range(count)))


def log_in_and_out(clef: LocalClef, app: Any) -> None:
    """A login and a logout, both true, end within 2 s."""
    begun = time.monotonic()
    ann = browser(app, SITE_URL)
    back = urlsplit(clef.approve(ann.get("/clef/login", status=303).location, "Ann"))
    ann.get(f"{back.path}?{back.query}", status=303)
    assert ann.user["first_name"] == "Ann"
    assert post(app, clef.logout_token("Ann")).status == 200
    assert ann.user is None
    assert time.monotonic() - begun < 2


def test_row_85_with_signed_tokens_junk_is_not_asked_about(clef: LocalClef) -> None:
    """Row 85: the login server is asked about the true notification alone."""
    provider = ClefProvider(app_id=clef.app_id, app_secret=clef.app_secret, server_url=clef.url, signed_tokens=True)
    app = make_app(provider=provider, base_url=SITE_URL)
    before = len(clef.requests)
    assert post_junk(app) == {400}
    assert len(clef.requests) == before
    log_in_and_out(clef, app)
    assert [call.name for call in clef.requests[before:]] == ["authorize", "info", "logout"]


def test_row_85_a_true_login_and_logout_after_280_junk_tokens(clef: LocalClef) -> None:
    """Row 85: junk is asked about two at a time, or 503; the login and the logout after it are done in 2 s."""
    provider = ClefProvider(app_id=clef.app_id, app_secret=clef.app_secret, server_url=clef.url)
    app = make_app(provider=provider, base_url=SITE_URL)
    assert post_junk(app) <= {400, 503}
    log_in_and_out(clef, app)
