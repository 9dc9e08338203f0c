"""The database load of a login at the server: statements and transactions, on both databases."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from support.login_server import SAME_ORIGIN, Server, make_server, postgresql, token_of

from clef_wsgi.server.database.schema import audit, codes

STATEMENTS = ("SELECT", "INSERT", "UPDATE", "DELETE")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    if request.param == "sqlite":
        server = make_server(tmp_path / "clef.db", deliver="elsewhere")
        yield server
        server.close()
        return
    with postgresql() as url:
        server = make_server(url, deliver="elsewhere")
        yield server
        server.close()


@contextmanager
def counted(server: Server) -> Iterator[Counter[str]]:
    """Count statements by their first word, and transactions: ``BEGIN``, of which ``write`` may write."""
    seen: Counter[str] = Counter()
    engine = server.database._engine
    writing = server.database.writing

    def on_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.update({statement.split()[0]} - {"BEGIN"})

    def on_begin(connection: Any) -> None:
        seen["BEGIN"] += connection.get_execution_options().get("clef_begin") is not None

    @contextmanager
    def counted_writing(**options: Any) -> Iterator[Any]:
        seen["write"] += 1
        with writing(**options) as connection:
            yield connection

    event.listen(engine, "before_cursor_execute", on_statement)
    event.listen(engine, "begin", on_begin)
    server.database.writing = counted_writing  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", on_statement)
        event.remove(engine, "begin", on_begin)
        del server.database.writing


def test_a_login_takes_few_statements(server: Server) -> None:
    """A person who has been at that site before: at most 20 statements in at most 5 transactions."""
    site, browser = server.add_site(), server.browser(signed_in=server.add_person())
    server.log_in(site, browser)
    with counted(server) as seen:
        token = server.log_in(site, browser)
        assert browser.get(f"/api/v1/info?access_token={token}").status_int == 200
    alone = 3  # the session before approve, the app before its code, and info stand outside of transactions
    assert sum(seen[word] for word in STATEMENTS) <= 17
    assert (seen["BEGIN"], seen["write"]) == (3, 2)
    assert seen["BEGIN"] + alone <= 6
    assert set(seen) <= {*STATEMENTS, "BEGIN", "write"}, "nor is anybody pinged"


def test_a_stranger_opens_no_writing_transaction(server: Server) -> None:
    """Pages, an approval, calls and changes, with no cookie, with a forged one, with a wrong secret or token."""
    site, code = server.add_site(), "x" * 43
    nobody, forger = server.browser(), server.browser()
    forger.web.set_cookie("__Host-clef-session", "f" * 43)
    with counted(server) as seen:
        for stranger in (nobody, forger):
            page = stranger.get(f"/iframes/qr?{site.ask()}")
            assert page.status_int == 200
            for path in (f"/iframes/approve?{site.ask()}", "/log-out", "/names", f"/sites/{site.app_id}/log-out"):
                answer = stranger.post(path, {"token": token_of(page)}, headers=SAME_ORIGIN)
                assert answer.status_int in (303, 403)
        form = {**site.credentials, "app_secret": "wrong", "code": code, "logout_token": code}
        assert nobody.post("/api/v1/authorize", form).status_int == 403
        assert nobody.post("/api/v1/logout", form).status_int == 403
        assert nobody.get(f"/api/v1/info?access_token={code}").status_int == 403
    assert seen["SELECT"]
    assert not [word for word in ("write", "INSERT", "UPDATE", "DELETE") if seen[word]]


@pytest.mark.slow
def test_nobody_waits_for_a_site_within_a_transaction(server: Server) -> None:
    """With a logout unconfirmed, an approval rolls back and waits: others write meanwhile."""
    site, browser, answers = server.add_site(), server.browser(signed_in=server.add_person()), list[Any]()
    server.log_in(site, browser)
    page = browser.get(f"/iframes/qr?{site.ask()}")
    form = {"token": token_of(page)}
    assert browser.post(f"/sites/{site.app_id}/log-out", form, headers=SAME_ORIGIN).status_int == 303
    waiting = threading.Thread(target=lambda: answers.append(browser.submit(page)))
    with counted(server) as seen:
        waiting.start()
        while not seen["write"]:
            waiting.join(0.01)
        with server.database.writing(wait_seconds=1.0):
            assert server.count(codes) == 0
        assert waiting.is_alive()
        waiting.join()
    assert answers[0].headers["Location"].startswith("/iframes/late?")
    assert server.count(codes) == server.count(audit, audit.c.action == "login") - 1 == 0
    with counted(server) as seen:
        page = browser.get(answers[0].headers["Location"])
        assert "Refresh" in browser.submit(page, late="yes").headers
    assert seen["write"] == 1
