"""The cache of path decisions: it holds plain paths alone, and agrees with a fresh decision."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.app import BASE_URL, FakeProvider, WSGIApp, ask, echo, make_app
from test_canonical import PATHS, PIECES

from clef_wsgi.base import paths
from clef_wsgi.middleware import _MAX_REMEMBERED_LENGTH, _MAX_VERDICTS, ClefMiddleware
from clef_wsgi.stores.memory import MemoryLogoutStore

PREFIXES: dict[str, Any] = {
    "protect": ["/admin", "/a"],
    "public": ["/admin/public", "/a/b"],
    "ignore": ["/static", "/b"],
}
PLAIN_PIECES = ["/", "admin", "a", "b", "public", "static", "clef", "login", "webhook", "LOGIN", "app", ".", "-", "~"]
REQUESTS = st.tuples(
    PATHS | st.lists(st.sampled_from(PLAIN_PIECES), max_size=9).map("".join).map("/".__add__),
    st.fixed_dictionaries(
        {}, optional={"HTTP_X_VHM_ROOT": st.sampled_from([*PIECES, "/admin"]), "SCRIPT_NAME": st.sampled_from(["/app"])}
    ),
)


def middleware(base_url: str = BASE_URL) -> ClefMiddleware:
    return ClefMiddleware(
        echo, provider=FakeProvider(), logout_store=MemoryLogoutStore(), base_url=base_url, **PREFIXES
    )


def verdict(site: ClefMiddleware, path: str, more: dict[str, str]) -> Any:
    """Return what a request is: given to nobody, to an endpoint, to whoever is signed in, or to the app."""
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SCRIPT_NAME": "", **more}
    endpoint, is_ignored, needs_login = site._judge(environ, path)
    return getattr(endpoint, "args", None) or getattr(endpoint, "__name__", None), is_ignored, needs_login


@pytest.mark.slow
@given(requests=st.lists(REQUESTS, max_size=6), base_url=st.sampled_from([BASE_URL, BASE_URL + "/app"]))
@settings(max_examples=300, deadline=None)
def test_the_short_way_and_the_long_way_agree(requests: list[tuple[str, dict[str, str]]], base_url: str) -> None:
    """Whatever was asked before: what is remembered of a path is what a middleware that remembers nothing decides."""
    site = middleware(base_url)
    for path, more in requests:
        verdict(site, path, more)
    for path, remembered in site._verdicts.items():
        assert paths.is_plain(path)
        assert paths.canonical(path) == (path.rstrip("/") or "/")
        assert {reading.rstrip("/") for reading in paths.readings(path, None, 3)} == {path.rstrip("/")}
        for more in ({}, {"SCRIPT_NAME": "/app"}):
            asked = verdict(middleware(base_url), path, more)
            endpoint, *rest = remembered
            assert (getattr(endpoint, "args", None), *rest) == asked


def app(**options: Any) -> WSGIApp:
    return make_app(validated=False, **{"protect": ["/admin"], "ignore": ["/static"], **options})


def test_a_header_that_steers_is_heard_at_a_path_that_is_remembered() -> None:
    """A path is free, or ignored, until a header puts it under a prefix; and again without it."""
    site = app()
    for path in ("/x", "/static/x"):
        for _ in range(2):
            assert ask(site, path).status == 200
            assert ask(site, path, HTTP_X_VHM_ROOT="/admin").status == 303


def test_the_mount_prefix_is_decided_for_each_request() -> None:
    """The same path is inside of the mount with SCRIPT_NAME, and unstripped without."""
    site = app(base_url=BASE_URL + "/app")
    for _ in range(2):
        assert ask(site, "/app/x", SCRIPT_NAME="").status == 500
        assert ask(site, "/app/x", SCRIPT_NAME="/app").status == 200


def test_memory_is_bounded() -> None:
    """Strangers can ask for any number of paths, of any length."""
    site = middleware()
    for number in range(2 * _MAX_VERDICTS):
        verdict(site, f"/{number}", {})
        assert len(site._verdicts) <= _MAX_VERDICTS
    verdict(site, "/" + "x" * _MAX_REMEMBERED_LENGTH, {})
    assert max(map(len, site._verdicts)) <= _MAX_REMEMBERED_LENGTH
