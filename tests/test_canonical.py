"""The canonical path, as a function: total, idempotent, and what each odd way of writing a path comes to."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyramid.traversal import ResourceTreeTraverser, split_path_info
from support.cases import each

from clef_wsgi.base import paths
from clef_wsgi.base.path_rules import PathRules, Prefixes

PIECES = [
    *("/", "//", ".", "..", ";", ";x", "@@", "@", "\\", "*", "%", "%2e", "%2f", "x:", "http://h", " ", "\n", "\0"),
    *(
        "admin",
        "a",
        "b",
        "public",
        "adm",
        "in",
        "\xff",
        "\xc3",
        "\xbc",
        "\xc3\xbc",
        "\xed\xa0\x80",
        "\xc0\xaf",
        "\u0394",
    ),
]
PATHS = st.lists(st.sampled_from(PIECES), max_size=9).map("".join) | st.text(max_size=20)
HEADERS = st.dictionaries(st.just(paths.STEERING_HEADER), PATHS)


@given(path=PATHS)
def test_canonical_is_total_and_idempotent(path: str) -> None:
    """Any text has a canonical path, which is its own: absolute, UTF-8, without empty or dot segments."""
    canonical = paths.canonical(path)
    assert paths.canonical(canonical) == canonical
    names = canonical.encode("latin-1").decode().split("/")
    assert names[0] == ""
    assert canonical == "/" or not {"", ".", ".."} & set(names[1:])
    assert not any(name.startswith("@@") or ";" in name or "\\" in name for name in names)


@each(
    ("path", "canonical"),
    [
        *(("", "/"), ("/", "/"), ("*", "/"), ("//", "/"), ("/*", "/*"), ("admin", "/admin"), ("/admin/", "/admin")),
        *(("./admin", "/admin"), ("../admin", "/admin"), ("//a///b/", "/a/b"), ("/a/./b", "/a/b"), ("/a/../b", "/b")),
        # Bytes go first, then parameters and selectors, then dots.
        *(("/public/.\xff./admin", "/admin"), ("/adm\xffin", "/admin"), ("/@@../admin", "/admin")),
        *(("/x/..;y/admin", "/admin"), ("/x/@@..;y/admin", "/admin"), ("/x/.\xff.;@@/admin", "/admin")),
        *(("/@@admin", "/admin"), ("/@@@@admin", "/admin"), ("/@@@admin", "/@admin"), ("/a/@@b;c/d", "/a/b/d")),
        *(("/admin;x=y", "/admin"), ("/;x/admin", "/admin"), ("/admin\n", "/admin"), ("/x\\..\\admin", "/admin")),
        *(("/\xc3\xbcber", "/\xc3\xbcber"), ("/\xc3\xbcb\xe9er", "/\xc3\xbcber"), ("/a@@b", "/a@@b"), ("/...", "/...")),
        # What no router of ours decodes again stays as it is: it is a reading of its own.
        *(("/%61dmin", "/%61dmin"), ("x:admin", "/x:admin"), ("/Admin", "/Admin"), ("/admin.", "/admin.")),
    ],
)
def test_what_a_path_comes_to(path: str, canonical: str) -> None:
    """Rows 66, 67, 69: one canonical form for all that routers take for the same."""
    assert paths.canonical(path) == canonical


@given(path=PATHS, header=st.none() | PATHS, depth=st.integers(0, 3))
def test_readings_are_absolute_and_hold_the_canonical_path(path: str, header: str | None, depth: int) -> None:
    """A path has itself and its canonical path among its readings; a header adds more and takes none away."""
    alone = set(paths.readings(path, None, depth))
    assert {paths.canonical(path), path if path.startswith("/") else "/" + path} <= alone
    steered = set(paths.readings(path, header, depth))
    assert alone <= steered
    assert header is None or paths.canonical(header + path) in steered
    assert all(reading.startswith("/") for reading in steered)


RULES = PathRules(
    Prefixes(["/admin", "/a/b", "/public/in"]), Prefixes(["/", "/admin/public"]), Prefixes(["/a", "/adm/in"])
)


@given(
    path=st.lists(st.sampled_from([*PIECES[17:], "/", "-", "."]), max_size=9).map(lambda found: "/" + "".join(found))
)
def test_the_fast_way_and_the_long_way_agree(path: str) -> None:
    """The regular expression for plain paths and the full reading of a path give the same result."""
    if paths.is_plain(path):
        readings = paths.readings(path, None, 3)
        assert paths.is_native(path)
        assert set(readings) == {path, path.rstrip("/") or "/"}
        assert paths.spellings(path) == {path.rstrip("/") or "/"}
        assert RULES.need_login(readings) == RULES.need_login((path,))
        assert RULES.ignore(readings) == RULES.ignore((path,))


@each("path", ["/", "/notes", "/notes/7/", "/a-b/c_d.e~f", "/a@b", "/n:1,2=3+4"])
def test_ordinary_paths_take_the_fast_way(path: str) -> None:
    """The test above can fail: these are plain."""
    assert paths.is_plain(path)


@each(
    "path", ["", "a", "//", "/a//b", "/.", "/a/..", "/.well-known", "/@@x", "/a;b", "/a%", "/a\n", "/\xe9", "/a b", "*"]
)
def test_odd_paths_take_the_long_way(path: str) -> None:
    """Whatever a router might read in another way is no plain path."""
    assert not paths.is_plain(path)


@each("path", [None, 7, b"/", "/\0", "/\u0394", "/\udc80"])
def test_what_no_server_may_hand_over(path: Any) -> None:
    """PEP 3333: PATH_INFO is latin-1 text; NUL can be in no path (RFC 3986, section 7.3)."""
    assert not paths.is_native(path)


# -- what Pyramid makes of a path ---------------------------------------------------------------------------

TREE: dict[str, Any] = {"pub": {}}
PROTECTED = PathRules(Prefixes(["/admin", "/pub/secret"]), Prefixes(), Prefixes())
ALL_BUT = PathRules(
    Prefixes(["", "/admin", "/pub/secret"]), Prefixes(["/x", "/pub/x", "/secret"]), Prefixes(["/pub/x"])
)
SEGMENTS = st.sampled_from(
    [
        *("admin", "pub", "secret", "x", "adm", "in", "", ".", "..", "..;", ";p", "secret;q", "..\\"),
        "@@",
        "@@admin",
        "@@..",
    ]
)


def _reaches(tree: dict[str, Any], environ: dict[str, str], matchdict: dict[str, Any] | None = None) -> bool:
    """Return whether Pyramid's own traversal leads to a view that is protected."""
    request = SimpleNamespace(environ=environ, matchdict=matchdict, path_info=environ["PATH_INFO"])
    found = ResourceTreeTraverser(tree)(request)
    view = found["view_name"]
    return (found["context"] is TREE and view == "admin") or (found["context"] is TREE["pub"] and view == "secret")


@pytest.mark.slow
@given(
    start=st.sampled_from(["", "/", "/pub/"]),
    segments=st.lists(SEGMENTS, max_size=6),
    header=st.none() | st.lists(SEGMENTS, max_size=3).map("/".join),
)
@settings(max_examples=1000)
def test_row_69_whatever_traversal_serves_needs_a_login(start: str, segments: list[str], header: str | None) -> None:
    """Rows 66, 69: by the whole path, behind ``/pub/*traverse`` and behind ``/pub/{traverse}``, header or not."""
    path = start + "/".join(segments)
    environ = {"PATH_INFO": path} if header is None else {"PATH_INFO": path, "HTTP_X_VHM_ROOT": header}
    rest = path.removeprefix("/pub/")
    behind: list[Any] = [] if rest == path else [split_path_info(rest), rest]
    if _reaches(TREE, environ) or any(_reaches(TREE["pub"], environ, {"traverse": matched}) for matched in behind):
        assert PROTECTED.need_login(PROTECTED.readings(environ, path))
        readings = ALL_BUT.readings(environ, path)
        assert ALL_BUT.need_login(readings)
        assert not ALL_BUT.ignore(readings)


# -- headers by which routers are steered -------------------------------------------------------------------

ROUTING = {
    "flask": ["app.py", "sansio", "wrappers.py", "views.py", "blueprints.py"],
    "werkzeug": ["routing", "sansio", "wrappers", "wsgi.py", "middleware/dispatcher.py", "middleware/shared_data.py"],
    "bottle": ["bottle.py"],
    "pyramid": ["traversal.py", "urldispatch.py", "router.py", "request.py", "url.py", "static.py", "interfaces.py"],
    "django": ["core/handlers", "urls", "http/request.py", "middleware/common.py", "views/static.py"],
    "webob": ["request.py", "dec.py", "static.py", "descriptors.py", "compat.py"],
}
KNOWN = {
    paths.STEERING_HEADER,
    # These say who asks, and over what: no router looks for a page by them.
    *("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT", "HTTP_X_FORWARDED_PROTO"),
    # A predicate of views, as in Pyramid's ``xhr=True``.
    "HTTP_X_REQUESTED_WITH",
}


def _headers(package: str, name: str) -> set[str]:
    """The headers beginning with X- that a file or folder names."""
    spec = find_spec(package)
    assert spec
    assert spec.origin
    path = Path(spec.origin).parent / name
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    named = re.findall(r"[\"']((?i:X-[A-Za-z-]+))[\"']", text)
    return {*re.findall(r"HTTP_X_[A-Z_]+", text), *("HTTP_" + name.upper().replace("-", "_") for name in named)}


def test_row_69_no_router_is_steered_by_a_header_that_we_do_not_know() -> None:
    """Row 69: a new ``HTTP_X_`` in a routing module of a framework is looked at by somebody before we go on."""
    found = {header for package, names in ROUTING.items() for name in names for header in _headers(package, name)}
    assert paths.STEERING_HEADER in found
    assert found - KNOWN == set()
