"""Stock Beaker and the session class of this package on one back-end: each reads what the other wrote, turn by turn.

``CLEF_BEAKER_TURNS=10000 pytest tests/test_stock_beaker.py`` is the long form.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from beaker.middleware import SessionMiddleware
from beaker.session import Session
from support.app import BASE_URL, SECRET, WSGIApp, ask, browser, make_app
from support.beaker_records import BACK_ENDS, BackEnd, Records, login_entry

from clef_wsgi import session_options

TURNS = int(os.environ.get("CLEF_BEAKER_TURNS", "100"))


@pytest.fixture(params=BACK_ENDS)
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    back_end: BackEnd = request.param
    with back_end(tmp_path) as opened:
        yield opened


def keeper(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Write the query into the session, and say what is in it."""
    session = environ["beaker.session"]
    for name, value in parse_qsl(environ["QUERY_STRING"]):
        session[name] = value
        session.save()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"session": {name: session[name] for name in session}}).encode()]


def stock(records: Records) -> WSGIApp:
    """The app behind Beaker as it comes, with the same cookie and secret."""
    ours = session_options(base_url=BASE_URL, secret=SECRET, **records.options)
    options = {key: value for key, value in ours.items() if not key.endswith(("_class", "login_age", "_lifetime"))}
    app: WSGIApp = SessionMiddleware(keeper, {**options, "session.session_class": Session})
    return app


def test_each_reads_what_the_other_wrote(records: Records) -> None:
    """A session that stock Beaker began is ours to read, and a login of ours is there for stock Beaker."""
    theirs, ours = stock(records), browser(make_app(session=records.options))
    begun = browser(theirs)
    begun.get("/session?color=blue")
    before = records.value(begun.cookie)
    assert ask(ours.app, "/session", HTTP_COOKIE=begun.cookie).json["session"] == {"color": "blue"}
    assert records.value(begun.cookie) == before
    ours.sign_in("ann")
    assert login_entry(ask(theirs, "/session", HTTP_COOKIE=ours.cookie).json["session"])


def test_nothing_is_lost_when_they_write_in_turns(records: Records) -> None:
    """Two apps share a session: after each turn everything that either wrote is there, the login too."""
    ours = browser(make_app(session=records.options))
    ours.sign_in("ann")
    apps: dict[str, WSGIApp] = {"theirs": stock(records), "ours": ours.app}
    written: dict[str, Any] = {}
    for turn in range(TURNS):
        writer = ("theirs", "ours")[turn % 2]
        written |= {f"{writer}-{turn % 7}": str(turn)}
        ask(apps[writer], "/session", query=f"{writer}-{turn % 7}={turn}", HTTP_COOKIE=ours.cookie)
        content = records.read(ours.cookie)
        assert login_entry(content)
        assert {name: value for name, value in content.items() if not name.startswith("clef.")} == written, turn
    assert ask(ours.app, HTTP_COOKIE=ours.cookie).json["user"]["id"] == "ann"
