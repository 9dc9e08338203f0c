"""The server's connections to PostgreSQL: replaced where they died, and what PgBouncer needs of them."""

from __future__ import annotations

from typing import Any

import pytest
from support.login_server import Browser, Server, make_server, postgresql

from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.errors import ConfigurationError


@pytest.mark.services
def test_a_dead_connection_costs_no_visitor_an_error() -> None:
    """Each step of a login finds that its connection was cut: it is replaced, with no ping beforehand."""
    with postgresql() as url:
        server = make_server(url)
        site, browser = server.add_site(), server.browser(signed_in=server.add_person())
        for _ in range(2):
            page = after_a_cut(server, browser, "get", f"/iframes/qr?{site.ask()}")
            cut(server)
            answer = browser.submit(page)
            code = answer.headers["Refresh"].rpartition("code=")[2]
            form = {**site.credentials, "code": code}
            token = after_a_cut(server, browser, "post", "/api/v1/authorize", form).json["access_token"]
            assert after_a_cut(server, browser, "get", f"/api/v1/info?access_token={token}").json["success"]
        server.close()


def after_a_cut(server: Server, browser: Browser, method: str, *arguments: Any) -> Any:
    cut(server)
    answer = getattr(browser, method)(*arguments)
    assert answer.status_int == 200
    return answer


def cut(server: Server) -> None:
    """Close every connection that lies in the pool, from the server's end."""
    import psycopg

    pids = []
    with server.database.reading() as connection:
        pids.append(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    url = server.database._engine.url
    with psycopg.connect(host=url.host, port=url.port, user=url.username, dbname=url.database) as other:
        for pid in pids:
            assert other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,)).fetchone() == (True,)


@pytest.mark.services
@pytest.mark.parametrize(("threshold", "expected"), [("", True), ("none", False), ("2", True)])
def test_prepared_statements_can_be_turned_off(threshold: str, expected: bool) -> None:
    """For PgBouncer in transaction mode, where a prepared statement is of another connection."""
    with postgresql() as url:
        database = Database(f"{url}&prepare_threshold={threshold}" if threshold else url)
        for _ in range(10):
            with database.reading() as connection:
                connection.exec_driver_sql("SELECT 1")
                found = connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar_one()
        assert bool(found) == expected
        database.close()


@pytest.mark.parametrize("threshold", ["off", "-1", "5.0", "none&prepare_threshold=none"])
def test_a_wrong_threshold_is_refused(threshold: str) -> None:
    """In one sentence, without the address."""
    with pytest.raises(ConfigurationError, match=r"^database: prepare_threshold must be none, .* or a number\.$"):
        Database(f"postgresql://ann:secret@127.0.0.1/none?prepare_threshold={threshold}")
