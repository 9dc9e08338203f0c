"""clef.js as it is served; what it does in a browser is in test_server_browser_button.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.cases import each
from support.login_server import ORIGIN, Server, make_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = make_server(tmp_path_factory.mktemp("server") / "clef.db")
    yield server
    server.close()


@each("folder", ["v1", "v2", "v3", "v3.1", "static/javascripts"])
def test_every_old_path(server: Server, folder: str) -> None:
    """Old pages name old versions: all get the same script, for any origin, to be kept for an hour, with no cookie."""
    answer = server.browser().get(f"/{folder}/clef.js")
    assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert "Set-Cookie" not in answer.headers
    assert "Vary" not in answer.headers
    assert f'"{ORIGIN}"' in answer.text


def test_it_is_small_and_plain(server: Server) -> None:
    """A few KiB, with nothing that a strict policy forbids."""
    source = server.browser().get("/v3/clef.js").text
    assert len(source.encode()) < 8 * 1024
    for forbidden in ("eval", "Function(", "innerHTML", "insertAdjacent", "document.write", "cssText", "srcdoc"):
        assert forbidden not in source.replace("no eval", "")


def test_it_is_not_sent_twice(server: Server) -> None:
    """A browser that has it gets 304."""
    browser = server.browser()
    tag = browser.get("/v3/clef.js").headers["ETag"]
    assert browser.get("/v3/clef.js", headers={"If-None-Match": tag}).status_int == 304
