"""Logins at the self-hosted server, beyond the wire: PKCE, second uses, logouts at the wrong moment, two processes."""

from __future__ import annotations

import multiprocessing
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from sqlalchemy import Connection
from support.cases import each
from support.login_server import (
    CALLBACK,
    SAME_ORIGIN,
    WEBHOOK,
    Browser,
    Server,
    Site,
    make_server,
    postgresql,
    sent_back_to,
)

from clef_wsgi.base.authorization_request import s256_challenge
from clef_wsgi.server import tokens
from clef_wsgi.server.database.schema import (
    access_tokens,
    audit,
    clef_ids,
    codes,
    deliveries,
    people,
    sessions,
    site_logins,
)
from clef_wsgi.server.errors import InvalidCode, SessionEnded
from clef_wsgi.server.records import apps, deactivation, logouts
from clef_wsgi.server.records import codes as code_records
from clef_wsgi.server.records import sessions as session_records
from clef_wsgi.server.records.people import Person

VERIFIER = "v" * 43
PKCE = {"code_challenge": s256_challenge(VERIFIER), "code_challenge_method": "S256"}
INVALID_CODE = "Invalid OAuth Code."


@pytest.fixture(scope="module")
def on_postgresql() -> Iterator[Server]:
    """One server for this file, since PostgreSQL takes its time to make tables."""
    with postgresql() as url:
        server = make_server(url)
        yield server
        server.close()


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = make_server(tmp_path_factory.mktemp("shared") / "clef.db")
    yield server
    server.close()


@pytest.fixture
def lite(on_sqlite: Server) -> Server:
    """An empty server, for what does not depend on the database."""
    on_sqlite.clear()
    return on_sqlite


@pytest.fixture(params=["on_sqlite", pytest.param("on_postgresql", marks=pytest.mark.services)])
def server(request: pytest.FixtureRequest) -> Server:
    """An empty server, on one database and on the other."""
    server: Server = request.getfixturevalue(request.param)
    server.clear()
    return server


def signed_in(server: Server, person: Person | None = None) -> Browser:
    return server.browser(signed_in=person or server.add_person())


def exchange(server: Server, site: Site, code: str, **more: str) -> Any:
    return server.browser().post("/api/v1/authorize", {**site.credentials, "code": code, **more})


def info_status(server: Server, token: str) -> int:
    return int(server.browser().get(f"/api/v1/info?access_token={token}").status_int)


def log_out(browser: Browser) -> None:
    assert browser.submit(browser.get("/")).status_int == 303


# --- PKCE (row 62; RFC 7636; RFC 9700, section 2.1.1)


def test_row_62_the_right_verifier_opens_a_code_with_a_challenge(lite: Server) -> None:
    """Row 62: a code that was asked for with a challenge is given for its verifier."""
    site, browser = lite.add_site(), signed_in(lite)
    code = browser.approve(site.ask(**PKCE))["code"]
    assert exchange(lite, site, code, code_verifier=VERIFIER).status_int == 200


@each("form", [{"code_verifier": "w" * 43}, {"code_verifier": ""}, {}])
def test_row_62_no_other_verifier_does(lite: Server, form: dict[str, str]) -> None:
    """Row 62: wrong, empty or missing verifier: E("Invalid OAuth Code."), and the code is spent."""
    site, browser = lite.add_site(), signed_in(lite)
    code = browser.approve(site.ask(**PKCE))["code"]
    assert exchange(lite, site, code, **form).json["error"] == INVALID_CODE
    assert exchange(lite, site, code, code_verifier=VERIFIER).json["error"] == INVALID_CODE
    assert lite.count(site_logins) == 0


def test_row_62_a_verifier_without_a_challenge_is_a_downgrade(lite: Server) -> None:
    """Row 62: somebody took the challenge out of the browser's way: refused."""
    site, browser = lite.add_site(), signed_in(lite)
    answer = exchange(lite, site, browser.approve(site.ask())["code"], code_verifier=VERIFIER)
    assert answer.json["error"] == INVALID_CODE


@pytest.mark.parametrize(
    "fields",
    [
        {"code_challenge": VERIFIER, "code_challenge_method": "plain"},
        {"code_challenge": VERIFIER},
        {"code_challenge": "", "code_challenge_method": "S256"},
        {"code_challenge": "x" * 42, "code_challenge_method": "S256"},
        {"code_challenge": "\0" * 43, "code_challenge_method": "S256"},
        {"code_challenge": "\udcff" * 43, "code_challenge_method": "S256"},
    ],
)
def test_row_62_a_challenge_is_s256_or_nothing(server: Server, fields: dict[str, str]) -> None:
    """Row 62: plain is no proof; what is no challenge is a page, and reaches no database."""
    site, browser = server.add_site(), signed_in(server)
    query = "&".join(
        (site.ask(), *(f"{name}={quote(value, errors='surrogateescape')}" for name, value in fields.items()))
    )
    for answer in (browser.get(f"/iframes/qr?{query}"), post_yes(browser, query)):
        assert answer.status_int == 400
        assert not {"Location", "Refresh"} & set(answer.headers)
    assert server.count(codes) == 0


def post_yes(browser: Browser, query: str) -> Any:
    token = re.search(r'name="token" value="([^"]*)"', browser.get("/").text)
    assert token is not None
    return browser.post(f"/iframes/approve?{query}", {"token": token[1]}, headers=SAME_ORIGIN)


# --- a code is used twice


def test_row_62_a_second_use_takes_back_what_the_first_gave(server: Server) -> None:
    """Row 62: the access token of the first use dies; the login stays, so that its site is notified of a logout."""
    site, browser = server.add_site(), signed_in(server)
    code = browser.approve(site.ask())["code"]
    token = exchange(server, site, code).json["access_token"]
    assert info_status(server, token) == 200
    assert exchange(server, site, code).json["error"] == INVALID_CODE
    assert info_status(server, token) == 403
    assert server.count(site_logins, site_logins.c.ended_at.is_(None)) == 1


def test_row_62_another_apps_try_changes_nothing(lite: Server) -> None:
    """Row 62: who has a stranger's code can't use it, and can't spoil it."""
    site, thief, browser = lite.add_site(), lite.add_site(), signed_in(lite)
    code = browser.approve(site.ask())["code"]
    assert exchange(lite, thief, code).json["error"] == INVALID_CODE
    token = exchange(lite, site, code).json["access_token"]
    assert exchange(lite, thief, code).json["error"] == INVALID_CODE
    assert info_status(lite, token) == 200


def test_no_secret_stands_in_the_database(lite: Server) -> None:
    """Neither code nor token nor cookie nor app secret: who reads the file can use none of them."""
    site, browser = lite.add_site(), signed_in(lite)
    code = browser.approve(site.ask())["code"]
    token = exchange(lite, site, code).json["access_token"]
    cookies = [value.strip('"') for value in browser.web.cookies.values()]
    lite.close()
    path = lite.database.path
    assert path is not None
    stored = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert tokens.digest(token) in stored
    for secret in (code, token, site.secret, *cookies):
        assert len(secret) == 43
        assert secret.encode() not in stored


# --- logouts at the wrong moment


def test_a_logout_takes_codes_and_tokens_with_it(server: Server) -> None:
    """Pending codes and issued tokens are dead; the site with a login gets one notification, the other none."""
    site, other, browser = (
        server.add_site(),
        server.add_site(webhooks=["https://photos.example.com/2"]),
        signed_in(server),
    )
    token = server.log_in(site, browser)
    code = browser.approve(other.ask())["code"]
    log_out(browser)
    assert exchange(server, other, code).json["error"] == INVALID_CODE
    assert info_status(server, token) == 403
    (notification,) = server.rows(deliveries)
    assert (notification.app_id, notification.webhook_url, notification.state) == (site.app_id, WEBHOOK, "pending")
    assert server.count(codes) == server.count(access_tokens) == 0


def test_a_logout_ends_every_browser_of_that_person_and_no_other(lite: Server) -> None:
    """Log out once: all of mine are out, nobody else is."""
    ann, bo = lite.add_person("Ann"), lite.add_person("Bo")
    first, second, stranger = signed_in(lite, ann), signed_in(lite, ann), signed_in(lite, bo)
    log_out(first)
    assert "Ann" not in second.get("/").text
    assert "Bo" in stranger.get("/").text


def test_an_approval_after_the_logout_asks_to_sign_in(lite: Server) -> None:
    """The page was open while the person logged out elsewhere: no code, back to the sign-in page."""
    ann, site = lite.add_person(), lite.add_site()
    browser, elsewhere = signed_in(lite, ann), signed_in(lite, ann)
    page = browser.get(f"/iframes/qr?{site.ask()}")
    log_out(elsewhere)
    answer = browser.submit(page)
    assert answer.headers["Location"].startswith("/iframes/qr?")
    assert lite.count(codes) == 0


def test_a_session_that_ran_out_gives_nothing(lite: Server) -> None:
    """After 30 days nobody is signed in by the old cookie, and its code and token are no use."""
    site, browser = lite.add_site(), signed_in(lite)
    lite.clock.advance(30 * 86400 - 30)
    code, token = browser.approve(site.ask())["code"], lite.log_in(site, browser)
    lite.clock.advance(30)
    assert exchange(lite, site, code).json["error"] == INVALID_CODE
    assert info_status(lite, token) == 403
    assert "<form" in browser.get(f"/iframes/qr?{site.ask()}").text
    assert "/sign-in?" in browser.get(f"/iframes/qr?{site.ask()}").text


def test_between_the_check_and_the_code_there_is_room_for_no_logout(server: Server) -> None:
    """An approval that read its session before a logout, and writes after it, is refused."""
    ann, site = server.add_person(), server.add_site()
    with server.database.writing() as connection:
        token = session_records.start(connection, person_id=ann.id, passkey_id=None, now=server.clock())
    with server.database.reading() as connection:
        session, app = session_records.find(connection, token, now=server.clock()), apps.get(connection, site.app_id)
    with server.database.writing() as connection:
        logouts.log_out_everywhere(connection, ann.id, now=server.clock())
    with pytest.raises(SessionEnded), server.database.writing() as connection:
        code_records.issue(connection, session=session, app=app, now=server.clock())


def test_an_exchange_waits_for_a_logout_under_way(server: Server) -> None:
    """A logout holds the person's lock and commits: a concurrent exchange is refused, and no notification is lost."""
    ann, site = server.add_person(), server.add_site()
    code = signed_in(server, ann).approve(site.ask())["code"]
    outcome = beside_an_open(
        server, lambda connection: logouts.log_out_everywhere(connection, ann.id, now=server.clock()), site, code
    )
    assert outcome == [InvalidCode]
    assert server.count(site_logins) == 0


def test_an_exchange_waits_for_a_removal_under_way(server: Server) -> None:
    """The same when the person is removed: refused cleanly."""
    ann, site = server.add_person(), server.add_site()
    code = signed_in(server, ann).approve(site.ask())["code"]
    outcome = beside_an_open(
        server, lambda connection: deactivation.remove(connection, ann.id, now=server.clock()), site, code
    )
    assert outcome == [InvalidCode]


def test_an_exchange_that_was_first_is_heard_of_by_the_logout(server: Server) -> None:
    """The other order: the login is written first, so its site gets a notification."""
    ann, site = server.add_person(), server.add_site()
    browser = signed_in(server, ann)
    server.log_in(site, browser)
    log_out(browser)
    assert [row.app_id for row in server.rows(deliveries)] == [site.app_id]


def beside_an_open(server: Server, change: Callable[[Connection], None], site: Site, code: str) -> list[Any]:
    """Exchange a code while another transaction has an uncommitted change, and return the outcome."""
    outcome: list[Any] = []
    begun = threading.Event()

    def try_it() -> None:
        with server.database.reading() as connection:
            app = apps.get(connection, site.app_id)
        begun.set()
        try:
            outcome.append(code_records.exchange(server.database, app=app, code=code, now=server.clock()))
        except InvalidCode as refused:
            outcome.append(type(refused))

    thread = threading.Thread(target=try_it)
    with server.database.writing() as connection:
        change(connection)
        thread.start()
        assert begun.wait(5)
        thread.join(0.1)
        assert thread.is_alive()
    thread.join(5)
    return outcome


# --- who may, and as whom


def test_a_site_for_some_turns_others_away(lite: Server) -> None:
    """A person without access gets 403 at the page and at the button; with access the login works."""
    ann, site = lite.add_person(), lite.add_site(open_to_all=False)
    browser = signed_in(lite, ann)
    assert browser.get(f"/iframes/qr?{site.ask()}").status_int == 403
    assert post_yes(browser, site.ask()).status_int == 403
    with lite.database.writing() as connection:
        apps.allow(connection, site.app_id, ann.id)
    assert "code" in browser.approve(site.ask())


def test_a_disabled_person_is_out_at_once(lite: Server) -> None:
    """Sessions, codes and tokens end with disabling, and nobody can sign in."""
    ann, site = lite.add_person(), lite.add_site()
    browser = signed_in(lite, ann)
    token = lite.log_in(site, browser)
    with lite.database.writing() as connection:
        deactivation.disable(connection, ann.id, now=lite.clock())
    assert info_status(lite, token) == 403
    assert "/sign-in" in browser.get("/").text
    assert lite.count(deliveries) == 1


def test_a_removed_persons_number_is_kept_and_nothing_else(lite: Server) -> None:
    """The row stays for the number alone: no name, no session, no login."""
    ann, site = lite.add_person("Ann", email="ann@example.com"), lite.add_site()
    lite.log_in(site, signed_in(lite, ann))
    with lite.database.writing() as connection:
        deactivation.remove(connection, ann.id, now=lite.clock())
    assert lite.count(clef_ids) == 1
    assert lite.count(sessions, sessions.c.ended_at.is_(None)) == 0
    (row,) = lite.rows(people)
    assert (row.first_name, row.email) == (None, None)


def test_the_webhook_of_one_login_is_told_instead_of_the_apps(lite: Server) -> None:
    """Section 4: that login's notification goes to its own webhook."""
    site, browser = lite.add_site(), signed_in(lite)
    lite.log_in(site, browser, logout_hook="https://photos.example.com/mine?u=1")
    log_out(browser)
    assert [row.webhook_url for row in lite.rows(deliveries)] == ["https://photos.example.com/mine?u=1"]


def test_a_login_is_in_the_audit(lite: Server) -> None:
    """Who, what, where from; no code, no state, no token."""
    site, browser = lite.add_site(), signed_in(lite)
    code = browser.approve(site.ask(state="mystate"))["code"]
    (line,) = lite.rows(audit)
    assert (line.actor, line.action, line.subject, line.address) == (
        "person:1",
        "login",
        f"app:{site.app_id}",
        "192.0.2.7",
    )
    assert not {code, "mystate"} & set(map(str, line))


# --- an app's secrets, and its own addresses


def test_during_a_rotation_two_secrets_work(lite: Server) -> None:
    """The new one and the one before it; not the third."""
    site, browser = lite.add_site(), signed_in(lite)
    known = [site.secret]
    for expected in ([200], [200, 200], [403, 200, 200]):
        codes_given = [browser.approve(site.ask())["code"] for _ in known]
        given = zip(known, codes_given, strict=True)
        assert [exchange(lite, Site(site.app_id, secret), code).status_int for secret, code in given] == expected
        with lite.database.writing() as connection:
            known.append(apps.rotate_secret(connection, site.app_id, now=lite.clock()))


@each(
    ("registered", "asked"),
    [
        ("myapp://clef", "myapp://clef"),
        ("myapp:clef/back", "myapp:clef/back?x=1"),
        ("https://photos.example.com", "https://photos.example.com/?login"),
        ("https://photos.example.com:443/cb", "https://photos.example.com/cb"),
        ("https://Photos.example.com/cb", "https://photos.example.com/cb"),
        ("http://photos.example.com:80/cb", "http://photos.example.com/cb"),
        ("http://photos.example.com/cb", "http://photos.example.com:80/cb"),
        ("http://127.0.0.1:5000/cb", "http://127.0.0.1:5000/cb"),
        ("http://[::1]:5000/cb", "http://[::1]:5000/cb"),
    ],
)
def test_s3_places_that_are_the_same(lite: Server, registered: str, asked: str) -> None:
    """S3, S6: a scheme of the app's own, a default port, a host in capitals, an empty path."""
    site = lite.add_site(callback=registered)
    query = urlencode({"app_id": site.app_id, "redirect_url": asked, "state": "s"})
    assert signed_in(lite).location_of_approval(query).startswith(asked + ("&" if "?" in asked else "?") + "code=")


@each(
    ("registered", "asked"),
    [
        ("myapp://clef", "myapp://other"),
        ("myapp:clef", "otherapp:clef"),
        ("http://127.0.0.1:5000/cb", "http://127.0.0.1:5001/cb"),
        ("http://127.0.0.1:5000/cb", "http://localhost:5000/cb"),
        ("https://photos.example.com/cb", "https://photos.example.com:8443/cb"),
        ("https://photos.example.com/cb", "https://photos.example.com:0443x/cb"),
        ("https://photos.example.com/cb", "https://photos.example.com:99999/cb"),
        ("https://photos.example.com/cb", "https://[::1/cb"),
        ("https://photos.example.com/cb?x", "https://photos.example.com/other?x"),
        ("https://photos.example.com/cb", "https://photos.example.com/cb" + "?x=" + "y" * 2048),
    ],
)
def test_row_61_places_that_are_not(lite: Server, registered: str, asked: str) -> None:
    """Row 61: each part counts: scheme, host, port, path."""
    site = lite.add_site(callback=registered)
    query = urlencode({"app_id": site.app_id, "redirect_url": asked})
    assert signed_in(lite).get(f"/iframes/qr?{query}").status_int == 400


# --- processes and threads


def _one_of_two(url: str, code: str, app_id: str, secret: str, ready: Any, go: Any, answers: Any) -> None:
    """A process of its own: opens the database anew, and exchanges at the word of command."""
    server = make_server(url)
    ready.release()
    go.wait(20)
    answer = exchange(server, Site(app_id, secret), code)
    answers.put((answer.status_int, answer.json.get("error")))
    server.close()


@pytest.mark.process
@pytest.mark.services
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_s9_two_processes_on_one_postgresql() -> None:
    """S9: two servers start at once on an empty database, and exchange one code at once: one 200."""
    fork = multiprocessing.get_context("fork")
    with postgresql() as url:
        server = make_server(url)
        site = server.add_site()
        for _ in range(3):
            code = signed_in(server).approve(site.ask())["code"]
            server.close()
            ready, go, answers = fork.Semaphore(0), fork.Event(), fork.Queue()
            given = (url, code, site.app_id, site.secret, ready, go, answers)
            processes = [fork.Process(target=_one_of_two, args=given) for _ in range(2)]
            for process in processes:
                process.start()
            for _ in processes:
                assert ready.acquire(timeout=20)
            go.set()
            found = sorted(answers.get(timeout=20) for _ in processes)
            for process in processes:
                process.join(20)
            assert found == [(200, None), (403, INVALID_CODE)]
            assert server.count(site_logins, site_logins.c.ended_at.is_(None)) >= 1
        server.close()


def _exchange_in_child(server: Server, site: Site, code: str, answers: Any) -> None:
    answers.put(exchange(server, site, code).status_int)


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_shares_no_connection(server: Server) -> None:
    """The app is made once, then forked, as by ``gunicorn --preload``; parent and child go on side by side."""
    fork = multiprocessing.get_context("fork")
    site, browser = server.add_site(), signed_in(server)
    mine, yours = browser.approve(site.ask())["code"], browser.approve(site.ask())["code"]
    answers = fork.Queue()
    with server.database.reading() as connection:  # the parent is in the middle of something
        child = fork.Process(target=_exchange_in_child, args=(server, site, yours, answers))
        child.start()
        assert answers.get(timeout=20) == 200
        child.join(20)
        assert len(connection.execute(site_logins.select()).all()) in (0, 1)
    assert exchange(server, site, mine).status_int == 200
    assert child.exitcode == 0


def test_threads_that_do_all_at_once_lose_nothing(server: Server) -> None:
    """Logins and a logout of one person in parallel: each acknowledged login is dead or its site is notified."""
    ann, site = server.add_person(), server.add_site()
    browsers = [signed_in(server, ann) for _ in range(4)]
    prepared = [(browser, browser.approve(site.ask())["code"]) for browser in browsers for _ in range(3)]
    start, given = threading.Barrier(len(prepared) + 1), list[str]()

    def exchange_one(code: str) -> None:
        start.wait(30)
        answer = exchange(server, site, code)
        if answer.status_int == 200:
            given.append(answer.json["access_token"])

    def log_out_all() -> None:
        start.wait(30)
        with server.database.writing() as connection:
            logouts.log_out_everywhere(connection, ann.id, now=server.clock())

    threads = [threading.Thread(target=exchange_one, args=(code,)) for _, code in prepared]
    threads.append(threading.Thread(target=log_out_all))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [info_status(server, token) for token in given] == [403] * len(given)
    assert server.count(site_logins, site_logins.c.ended_at.is_(None)) == 0
    assert (server.count(deliveries) > 0) == bool(given)


def test_the_way_back_holds_no_more_than_it_must(lite: Server) -> None:
    """Section 4.2 of RFC 9700: nothing is cached, and the address of the page goes to nobody as a referrer."""
    site, browser = lite.add_site(), signed_in(lite)
    answer = browser.submit(browser.get(f"/iframes/qr?{site.ask()}"))
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert set(parse_qs(urlsplit(sent_back_to(answer)).query)) == {"code"}
    assert sent_back_to(answer).startswith(CALLBACK)
