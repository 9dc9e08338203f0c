"""Request lines, byte for byte, over sockets: real servers, real fronts, and the routers of five frameworks.

The measure is the bare app, asked by the same line over the same way: where that serves a page for members, the
wrapped one must ask for a login or refuse, and the app must not even be called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.request_lines import BY_METHOD, LINES, NAMES, NEAR_MISSES, ODD, PREFLIGHT, STEERED, UNSTRIPPED, Asked
from support.routers import ROUTERS
from support.wsgi_servers import (
    BARE,
    PREFIX,
    SERVERS,
    SLASHED,
    UWSGI_PROTOCOL,
    Answer,
    Servers,
    running,
    say,
    signed_in,
    start_front,
)

pytestmark = [pytest.mark.services, pytest.mark.process]

BEHIND = {
    "nginx": ("waitress", UWSGI_PROTOCOL),
    "haproxy": ("gunicorn-23",),
    "caddy": ("gunicorn",),
}
WAYS = [*SERVERS, *(f"{front} to {server}" for front, servers in BEHIND.items() for server in servers)]
GUARDED = ("pages", "everything-but")
"""Sites where nobody may see a page for members without a login; "ignoring" is one more."""
ENOUGH = 150
"""Of each way's lines and routers, so many bare ones at least serve a page for members."""
IN_FLIGHT = 12
"""Requests at a time: some servers send their answers in pieces, and wait for each to be acknowledged."""


# -- ways -----------------------------------------------------------------------------------------------------


class Ways:
    """The port of each way to the sites."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self._fronts: dict[str, dict[str, int]] = {}

    def port(self, way: str) -> int:
        front, _, server = way.partition(" to ")
        return self.front(front)[server] if server else self.servers.port(way)

    def front(self, front: str) -> dict[str, int]:
        if front not in self._fronts:
            self._fronts[front] = start_front(front, self.servers, BEHIND[front])
        return self._fronts[front]


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    with running(tmp_path_factory.mktemp("sites")) as servers:
        yield Ways(servers)


@pytest.fixture(scope="module", params=WAYS)
def port(request: pytest.FixtureRequest, ways: Ways) -> int:
    """Return the port of the sites, by each way in turn."""
    return ways.port(request.param)


Check = Callable[[str, Any], Iterable[str]]


def nothing_of(check: Check, cases: Iterable[Any], routers: Iterable[str] = ROUTERS) -> None:
    """Fail with all that ``check`` found of each case at each router."""
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        calls = [pool.submit(lambda *call: list(check(*call)), router, case) for router in routers for case in cases]
        found = [line for call in calls for line in call.result()]
    assert not found, "\n".join([f"{len(found)} of {len(calls)}:", *found])


def told(router: str, site: str, asked: Asked, answer: Answer) -> str:
    return f"{router} {site}: {asked!r} -> {answer.status}{' (a page for members)' if answer.is_page else ''}"


class TestEveryWay:
    """Each test with each server, and with each front before a server."""

    def test_the_page_is_there(self, port: int) -> None:
        """Control: anybody gets the pages on an unwrapped site, and a logged-in person on a guarded one."""
        cookie = signed_in(port, "flask pages")

        def found(router: str, target: bytes) -> Iterator[str]:
            asked: Asked = (b"GET %s HTTP/1.1" % target, {})
            for site in (BARE, *GUARDED):
                answer = say(port, asked[0], {} if site == BARE else {"Cookie": cookie}, site=f"{router} {site}")
                if not (answer.is_page and answer.is_from_app):
                    yield told(router, site, asked, answer)

        nothing_of(found, (b"/admin", b"/%C3%BCber", b"/site/admin/users"))

    def test_no_page_without_a_login(self, port: int) -> None:
        """Rows 66, 67, 68: whatever the target says, in front of, within or behind a protected path."""
        reached: list[Asked] = []
        nothing_of(holes(port, reached), LINES)
        assert len(reached) > ENOUGH, "few lines came as far as a page: this test would find little"

    def test_no_page_by_an_odd_line(self, port: int) -> None:
        """Row 66: spaces, versions and control characters that a server may or may not refuse."""
        nothing_of(holes(port), ODD)

    def test_no_page_by_another_method(self, port: int) -> None:
        """Rows 66, 71: no method, and no preflight, gets what GET does not get."""
        nothing_of(holes(port), BY_METHOD)

    def test_no_page_by_a_header(self, port: int) -> None:
        """Rows 66, 69: a router can be steered by a header, a server by SCRIPT_NAME; and many are tried in vain."""
        nothing_of(holes(port), STEERED)

    def test_a_preflight_is_not_answered_by_the_app(self, port: int) -> None:
        """Row 71: it has no cookie by its nature, and the app would answer it with the page. Who is signed in may."""
        cookie = {"Cookie": signed_in(port, "flask pages")}

        def answered(router: str, target: bytes) -> Iterator[str]:
            asked: Asked = (b"OPTIONS %s HTTP/1.1" % target, PREFLIGHT)
            for site in GUARDED:
                answer = say(port, *asked, site=f"{router} {site}")
                if answer.status != 401 or answer.is_from_app:
                    yield told(router, site, asked, answer)
                if not say(port, asked[0], {**PREFLIGHT, **cookie}, site=f"{router} {site}").is_from_app:
                    yield f"{router} {site}: {asked!r} was not let through"

        nothing_of(answered, (b"/admin", b"/admin/users", b"/%C3%BCber", b"/site/admin"))

    def test_the_app_is_not_called_at_all(self, port: int) -> None:
        """Row 66: where everything is protected, no line and no header of all these comes as far as the app."""

        def called(router: str, asked: Asked) -> Iterator[str]:
            answer = say(port, *asked, site=f"{router} everything")
            if answer.is_from_app or answer.is_page:
                yield told(router, "everything", asked, answer)

        nothing_of(called, [*LINES, *ODD, *BY_METHOD, *STEERED], ["bottle"])

    def test_legitimate_names_are_the_apps(self, port: int) -> None:
        """Row 111: on a site that protects /admin alone, everything else answers as without us, byte for byte."""

        def changed(router: str, name: bytes) -> Iterator[str]:
            asked: Asked = (b"GET %s HTTP/1.1" % name, {})
            bare, wrapped = (say(port, *asked, site=f"{router} {site}") for site in (BARE, "admin-alone"))
            if as_is(wrapped) != as_is(bare):
                yield f"{told(router, 'admin-alone', asked, wrapped)}, not {bare.status}"

        nothing_of(changed, NAMES)

    def test_near_misses_of_our_own_paths(self, port: int) -> None:
        """Row 83: what is nearly one of the middleware's own paths is answered by it, never by a catch-all app."""

        def answered(router: str, target: bytes) -> Iterator[str]:
            for method in (b"GET", b"POST"):
                asked: Asked = (b"%s %s HTTP/1.1" % (method, target), {})
                answer = say(port, *asked, site=f"{router} admin-alone")
                if answer.is_from_app:
                    yield told(router, "admin-alone", asked, answer)

        nothing_of(answered, NEAR_MISSES, ["bottle"])

    def test_a_prefix_that_nothing_strips(self, port: int) -> None:
        """Row 70: such a request is 500, by itself: what came before, and what comes after, is answered as ever."""
        for _round in range(2):
            assert [prefixed(port, target).is_from_app for target in (b"/health", b"/", b"/application")] == [True] * 3
            assert prefixed(port, b"/admin").status == 303
            for target in UNSTRIPPED:
                answer = prefixed(port, target)
                assert not answer.is_from_app, (target, answer.raw)
                assert answer.status >= 400, (target, answer.raw)
            assert {prefixed(port, target).status for target in (b"/app/admin", b"/app", b"/app/app/y")} == {500}


def prefixed(port: int, target: bytes) -> Answer:
    return say(port, b"GET %s HTTP/1.1" % target, {"Accept": "text/html"}, site="bottle prefixed")


def as_is(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """An answer without the time of day, and without our mark for caches."""
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "vary")}
    return answer.status, headers, answer.body


def holes(port: int, reached: list[Asked] | None = None) -> Callable[[str, Asked], Iterator[str]]:
    """A function that says at which sites a line is answered otherwise than with a login, where the bare app serves.

    :param reached: is given each line that the bare app serves a page for.
    """

    def found(router: str, asked: Asked) -> Iterator[str]:
        if say(port, *asked, site=f"{router} {BARE}").is_page:
            if reached is not None:
                reached.append(asked)
            for site in (*GUARDED, "ignoring") if b"static" in asked[0] else GUARDED:
                answer = say(port, *asked, site=f"{router} {site}")
                if answer.is_page or answer.is_from_app or not (answer.asks_for_login or is_bare_body(answer)):
                    yield told(router, site, asked, answer)

    return found


def is_bare_body(answer: Answer) -> bool:
    """Return True for an answer of HTTP/0.9, which is a body alone."""
    return not answer.status


# -- what one server or one front has alone -------------------------------------------------------------------


def test_a_script_name_that_ends_with_a_slash(ways: Ways) -> None:
    """Row 66: gunicorn then says ``admin`` where the browser asked for /app/admin, and Flask serves that."""
    port = ways.port(SLASHED)
    line = b"GET /app/admin HTTP/1.1"
    assert say(port, line, site="flask bare").is_page
    answer = say(port, line, site="flask prefixed")
    assert (answer.status, answer.is_from_app, answer.is_page) == (303, False, False)
    assert say(port, b"GET /app/public HTTP/1.1", site="flask prefixed").body == b"public"


def test_the_older_gunicorn_is_older(ways: Ways) -> None:
    """The one in a folder of its own is not the one that is installed."""
    for server, is_old in (("gunicorn-23", True), ("gunicorn", False)):
        ways.port(server)
        assert ("Starting gunicorn 23." in ways.servers.log(server)) == is_old


def test_behind_a_front_that_strips_the_prefix_or_does_not(ways: Ways) -> None:
    """Row 70: ``location /app/ { proxy_pass http://up; }`` hands the prefix over, and is 500 for each such request.

    A health check comes first, past the front. Where the front strips it, a stranger's /app/app/y is his alone.
    """
    ports = ways.front("nginx")
    direct = ways.port(BEHIND["nginx"][0])
    assert prefixed(direct, b"/health").is_from_app
    assert [prefixed(ports["kept"], target).status for target in (b"/app/admin", b"/app/", b"/app/public")] == [500] * 3
    assert prefixed(direct, b"/health").is_from_app
    for _round in range(2):
        assert prefixed(ports["stripped"], b"/app/public").body == b"public"
        login = prefixed(ports["stripped"], b"/app/admin").headers["location"]
        assert login.endswith(f"{PREFIX}/clef/login?next=/app/admin")
        assert prefixed(ports["stripped"], b"/app/app/y").status == 500
    lines = ways.servers.log("waitress").count("PATH_INFO begins with /app")
    assert 1 <= lines < 10, "one a minute is enough, however many requests there are"
