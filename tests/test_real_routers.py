"""Whatever the frameworks' own routers take for a page for members, a login was asked for it.

Paths and headers are made by mutating those of a page. The real router is asked first, without the middleware:
where it serves the page, the wrapped app must ask for a login, or refuse.
"""

from __future__ import annotations

import collections
import functools
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.app import BASE_URL, SECRET, Answer, FakeProvider, ask
from support.routers import MEMBERS, PROTECTED, ROUTERS, SECRET_TEXT, WSGIApp, django_urls, make_files, make_router

from clef_wsgi import wrap
from clef_wsgi.stores.memory import MemoryLogoutStore

SITES: dict[str, dict[str, Any]] = {
    "pages": {"protect": PROTECTED},
    "pages, static files ignored": {"protect": PROTECTED, "ignore": ["/static", "/health"]},
    "everything": {"protect": ["/"]},
    "everything but": {"protect": ["/"], "public": ["/", "/public", "/static", "/site/public", "/files/logo.txt"]},
    "within": {
        "protect": ["/admin", "/über", "/site", "/files"],
        "public": ["/site/public", "/site/static", "/files/logo.txt"],
    },
}
PAGES = ("/admin", "/admin/users", "/über", "/site/admin", "/site/admin/users", "/site/über", "/files/secret/plan.txt")
OTHERS = ("/", "/public", "/public/x", "/static/x", "/site/public", "/files/logo.txt", "/health", "")


class Wrapped:
    """A router's site, bare and behind each of :data:`SITES`."""

    def __init__(self, bare: WSGIApp) -> None:
        self.bare = bare
        self.behind = {name: self._wrap(**options) for name, options in SITES.items()}

    def _wrap(self, **options: Any) -> WSGIApp:
        return wrap(
            self.bare,
            provider=FakeProvider(),
            logout_store=MemoryLogoutStore(),
            base_url=BASE_URL,
            session={"secret": SECRET, "type": "memory"},
            **options,
        )


@pytest.fixture(scope="module")
def routers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Wrapped]]:
    files = make_files(tmp_path_factory.mktemp("files"))
    made = {name: Wrapped(make_router(name, files)) for name in ROUTERS}
    logger = logging.getLogger("django.request")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # thousands of pages are not found
    try:
        with django_urls():
            yield made
    finally:
        logger.setLevel(level)


def is_page(answer: Answer) -> bool:
    """Return True when the answer is a page for members, or its head."""
    return SECRET_TEXT in answer.body or answer.header(MEMBERS) is not None


def asks_for_login(answer: Answer) -> bool:
    """A page is led to the login, all else gets 401; what can't be a path of anybody's is 400."""
    if answer.status == 303:
        return urlsplit(answer.header("Location") or "").path == "/clef/login"
    return answer.status in (400, 401)


def native(path: str, times: int = 1) -> str:
    """PATH_INFO for what people read (PEP 3333)."""
    return path if not times else native(path.encode().decode("latin-1"), times - 1)


def serves(bare: WSGIApp, path: str, **request: Any) -> bool:
    """Return True when the bare app shows the page. Django fails on a SCRIPT_NAME that is not UTF-8."""
    try:
        return is_page(ask(bare, path, **request))
    except UnicodeError:
        return False


def holes(routers: dict[str, Wrapped], path: str, **request: Any) -> list[str]:
    """Return the routers that showed a page without a login, as ``router, site: status``."""
    found = []
    for name, router in routers.items():
        if serves(router.bare, path, **request):
            for site, app in router.behind.items():
                answer = ask(app, path, **request)
                if is_page(answer) or not asks_for_login(answer):
                    found.append(f"{name}, {site}: {answer.status}")
    return found


# -- how a path is changed ----------------------------------------------------------------------------------

PIECES = (
    *(b"/", b"//", b"/.", b"./", b".", b"..", b"/..", b"../", b"/x/..", b"x/../", b"/../", b"/x/../..", b"..."),
    *(
        b";",
        b";x",
        b"/;",
        b";/",
        b"/;x/..",
        b"..;/",
        b"@@",
        b"/@@",
        b"@@/",
        b"/@@x",
        b"/@@/..",
        b"@",
        b"+",
        b"++",
        b"::",
    ),
    *(b"\xff", b"\xc3", b"\xbf", b"\xc3\xbf", b"\xc3\xa9", b"\xed\xa0\x80", b"\xc0\xae", b"\xc0\xaf", b"\xe2\x82"),
    *(b"\xc3\x83\xc2\xbf", b"\xf0\x9f\x94\x91", b"\xe2\x80\xa8", b"\xef\xbc\x8f", b"\xc2\x85", b"\xc2\xa0", b"\xfe"),
    *(b"\x00", b"\n", b"\r", b"\r\n", b"\t", b" ", b"\x0b", b"\x1c", b"\x7f", b"\\", b"/\\", b"\\..\\", b"..\\"),
    *(b"%", b"%2f", b"%2e", b"%61", b"?", b"?x", b"#", b"*", b":", b"x:", b"http://localhost", b"|", b"~", b"$", b"'"),
    *(b"public", b"static", b"site", b"files", b"admin", b"secret", b"/public", b"/static", b"/site", b"/files"),
    *(b"/public/..", b"/static/..", b"/site/..", b"/files/..", b"public/../", b"static/../", b"site/../", b"x"),
)
HEADERS = (
    *("X_VHM_ROOT", "X_VHM_HOST", "X_ORIGINAL_URL", "X_REWRITE_URL", "X_FORWARDED_PREFIX", "X_SCRIPT_NAME"),
    *("X_FORWARDED_URI", "X_HTTP_METHOD_OVERRIDE", "X_PATH_INFO", "SCRIPT_NAME", "PATH_INFO", "X_FORWARDED_HOST"),
)
METHODS = ("GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT", "BREW", "get")


def insert(path: bytes, place: int, piece: bytes) -> bytes:
    place %= len(path) + 1
    return path[:place] + piece + path[place:]


def insert_at_border(path: bytes, place: int, piece: bytes) -> bytes:
    borders = [0, *(n for n, sign in enumerate(path) if sign == ord("/")), len(path)]
    return insert(path, borders[place % len(borders)], piece)


def drop(path: bytes, place: int, piece: bytes) -> bytes:
    place %= len(path) + 1
    return path[:place] + path[place + 1 :]


def double(path: bytes, place: int, piece: bytes) -> bytes:
    place %= len(path) + 1
    return path[:place] + path[place : place + len(piece)] + path[place:]


def as_latin_1(path: bytes, place: int, piece: bytes) -> bytes:
    """Decoded once too seldom."""
    return path.decode("latin-1").encode("utf-8")


places = st.integers(0, 60)
changes = st.tuples(
    st.sampled_from((insert, insert_at_border, insert_at_border, insert_at_border, drop, double, as_latin_1)),
    places,
    st.sampled_from(PIECES),
)


def changed(start: str, ways: list[Any]) -> bytes:
    return functools.reduce(lambda path, way: way[0](path, *way[1:]), ways, start.encode())


paths = st.builds(changed, st.sampled_from(PAGES), st.lists(changes, max_size=5))
odd_headers = st.builds(changed, st.sampled_from((*PAGES, *OTHERS)), st.lists(changes, max_size=3))


@st.composite
def attacks(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """PATH_INFO, and the rest of a request."""
    path = draw(paths)
    request: dict[str, Any] = {"method": draw(st.sampled_from(METHODS))}
    way = draw(st.integers(0, 5))
    if way == 0:  # a part of the path in a header
        place = draw(places) % (len(path) + 1)
        request["HTTP_X_VHM_ROOT"], path = path[:place].decode("latin-1"), path[place:]
    elif way == 1:  # the path in a header, something harmless as the path
        request["HTTP_X_VHM_ROOT"], path = path.decode("latin-1"), changed(draw(st.sampled_from(OTHERS)), [])
    elif way == 2:
        request["HTTP_" + draw(st.sampled_from(HEADERS))] = draw(odd_headers).decode("latin-1")
    elif way == 3:  # a part of it in SCRIPT_NAME, as servers let people say
        place = draw(places) % (len(path) + 1)
        request["SCRIPT_NAME"], path = path[:place].decode("latin-1"), path[place:]
    return path.decode("latin-1"), request


def test_each_router_serves_its_pages(routers: dict[str, Wrapped]) -> None:
    """Control: unchanged, each path reaches its page on the bare app, and the guarded sites ask for a login."""
    for name, router in routers.items():
        for page in PAGES:
            times = 2 if (name, page) == ("bottle", "/site/über") else 1  # a Bottle mounted in one decodes once more
            assert serves(router.bare, native(page, times)), (name, page)
    for page in PAGES:
        assert holes(routers, native(page)) == []


@pytest.mark.slow
def test_attacks_reach_the_pages(routers: dict[str, Wrapped]) -> None:
    """Of the attacks of the next test enough get through to each bare router: it would find what is there."""
    reached = collections.Counter[str]()

    @settings(max_examples=300)
    @given(attack=attacks())
    def count(attack: tuple[str, dict[str, Any]]) -> None:
        path, request = attack
        reached.update(name for name, router in routers.items() if serves(router.bare, path, **request))

    count()
    assert min(reached[name] for name in ROUTERS) >= 15, reached


@pytest.mark.slow
@settings(max_examples=1500)
@given(attack=attacks())
def test_whatever_a_router_serves_a_login_was_asked_for(
    routers: dict[str, Wrapped], attack: tuple[str, dict[str, Any]]
) -> None:
    """Rows 66 to 69: the router decides what is the page; nobody gets it without a login."""
    path, request = attack
    assert holes(routers, path, **request) == []
