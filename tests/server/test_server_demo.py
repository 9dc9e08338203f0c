"""The demo's button: it signs in without a proof, so it is there in the demo alone, and on this machine alone."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import webtest
from support.authenticator import Authenticator
from support.chromium import add_device
from support.commands import type_command
from support.login_server import SAME_ORIGIN, Browser, FakeClock, Server, Site, make_server, sent_back_to, token_of
from support.passkeys import Visitor
from support.services import chromium, click

from clef_wsgi.demo import DemoError, button
from clef_wsgi.demo.processes import running
from clef_wsgi.demo.server import DemoServer, make_demo_server
from clef_wsgi.server import Limits, create_app
from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.commands.parser import build_parser

HERE = "http://localhost:8400"
SITE = Site("0123456789abcdef" * 2, "the secret of the demo's site", "http://localhost:8401/clef/callback")
WORD = "Continue as the demo person"


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[DemoServer]:
    with closing(make(tmp_path)) as demo:
        yield demo


def make(folder: Path, origin: str = HERE) -> DemoServer:
    return make_demo_server(
        origin=origin,
        site_url="http://localhost:8401",
        app_id=SITE.app_id,
        app_secret=SITE.secret,
        database=folder / "clef.db",
    )


def browser(demo: DemoServer, address: str = "127.0.0.1") -> Browser:
    found = Browser(demo.app, HERE)
    found.web.extra_environ["REMOTE_ADDR"] = address
    return found


def press(browser: Browser, page: webtest.TestResponse, **environ: str) -> webtest.TestResponse:
    """The demo's button of a page of the server."""
    action = re.search(rf'<form method="post" action="({button.PATH}[^"]*)"', page.text)
    assert action
    address = action[1].replace("&amp;", "&")
    return browser.web.post(
        address, {"token": token_of(page)}, headers=SAME_ORIGIN, extra_environ=environ, expect_errors=True
    )


# --- what it does


def test_it_signs_the_demo_person_in(demo: DemoServer) -> None:
    """On the server's own page, and on the way from a site, back to which it leads."""
    ann = browser(demo)
    answer = press(ann, ann.get("/"))
    assert (answer.status_int, answer.headers["Location"]) == (303, "/")
    assert "Ann Archer" in ann.get("/").text
    other = browser(demo)
    answer = press(other, other.get(f"/iframes/qr?{SITE.ask(state='a&b')}"))
    assert sent_back_to(answer).startswith(f"{SITE.callback}?code=")
    assert sent_back_to(answer).endswith("&state=a%26b")


@pytest.mark.slow
def test_it_warns_of_a_logout_that_the_site_has_not_heard_of(demo: DemoServer) -> None:
    """The demo's button leads to the page for late logouts too, and from there back to the site."""
    ann, query = browser(demo), SITE.ask(state="xyz")
    code = parse_qs(urlsplit(sent_back_to(press(ann, ann.get(f"/iframes/qr?{query}")))).query)["code"][0]
    assert ann.post("/api/v1/authorize", {**SITE.credentials, "code": code}).status_int == 200
    assert ann.submit(ann.get("/")).status_int == 303  # logs out; nothing listens at the site's address
    answer = press(ann, ann.get(f"/iframes/qr?{query}"))
    assert (answer.status_int, answer.headers["Location"]) == (303, f"/iframes/late?{query}")
    page = ann.get(answer.headers["Location"])
    assert "Tidewater has not heard yet" in page.text
    assert sent_back_to(ann.submit(page, late="1")).startswith(f"{SITE.callback}?code=")


def test_it_passes_the_guard_like_any_other(demo: DemoServer) -> None:
    """Of another site's page, without the page's token, as a link, or from another machine: refused."""
    visitor = browser(demo)
    page = visitor.get("/")
    assert visitor.post(button.PATH, headers=SAME_ORIGIN).status_int == 403
    assert visitor.post(button.PATH, headers={"Origin": "http://localhost:8401"}).status_int == 403
    assert visitor.get(button.PATH).status_int == 405
    assert press(visitor, page, REMOTE_ADDR="192.0.2.7").status_int == 404
    assert press(visitor, page, HTTP_HOST="login.example.com").status_int == 421
    assert "Ann Archer" not in visitor.get("/").text
    assert press(visitor, page).status_int == 303


@pytest.mark.parametrize("origin", ["https://login.example.com", "https://localhost.example.com"])
def test_an_address_that_others_can_reach_is_refused(tmp_path: Path, origin: str) -> None:
    """At once, and the app has neither the button nor its route."""
    with pytest.raises(DemoError, match=f"never for {origin}"):
        make(tmp_path, origin)
    with closing(make_server(tmp_path / "other.db", origin=origin)) as server:
        with pytest.raises(DemoError):
            button.add_button(server.app, person_id=1, secret="")
        assert not has_button(server.browser())


def test_the_page_offers_the_invitation_as_long_as_it_works(demo: DemoServer) -> None:
    """The link that the demo prints makes a real passkey, once; it signs in, and the button goes on working."""
    secret = demo.invitation.removeprefix(f"{HERE}/enrol#")
    page = browser(demo).get("/")
    assert f'href="/enrol#{secret}"' in page.text
    passkey = Authenticator(HERE)
    visitor = Visitor(Server(demo.app, FakeClock(system_clock()), HERE))
    assert visitor.enrol(secret, passkey).json["location"] == "/"
    assert "/enrol#" not in browser(demo).get("/").text
    assert Visitor(Server(demo.app, FakeClock(system_clock()), HERE)).sign_in(passkey).json["location"] == "/"
    again = browser(demo)
    assert press(again, again.get("/")).status_int == 303


def test_it_speaks_the_languages_of_the_server(demo: DemoServer) -> None:
    """Its texts are in both."""
    assert WORD in browser(demo).get("/").text
    assert "Weiter als Demo-Person" in browser(demo).get("/", headers={"Accept-Language": "de"}).text
    assert len({tuple(texts) for texts in button.TEXTS.values()}) == 1


@pytest.mark.browser
def test_a_real_passkey_at_the_demo() -> None:
    """The link that the demo prints makes a passkey, which signs in at the demo's site: no button is needed."""
    with running(0) as demo, chromium() as driver:
        add_device(driver)
        driver.get(demo.invitation)
        click(driver, "#enrol:not([hidden]) button")
        click(driver, "form[action='/log-out'] button")
        driver.get(f"{demo.site_url}/account")
        click(driver, "#sign-in button")
        click(driver, "header button")  # signs out, at the site
        assert driver.current_url == f"{demo.site_url}/"


# --- where it is not


def has_button(visitor: Browser) -> bool:
    """Return True when the pages show the demo button, or its address answers."""
    page = visitor.get("/")
    answer = visitor.post(button.PATH, {"token": token_of(page)}, headers=SAME_ORIGIN)
    return (button.PATH in page.text, answer.status_int) != (False, 404)


def every_option(folder: Path) -> dict[str, list[Any]]:
    """All that can be said to ``create_app``, in the words most likely to call the demo."""
    logo, templates = folder / "demo.svg", folder / "demo"
    logo.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    templates.mkdir()
    (templates / "sign_in.html").write_text(button.SIGN_IN.replace("server/sign_in.html", "with_passkey.html"))
    return {
        "origin": [HERE],
        "database": [folder / "demo.db"],
        "rp_id": ["localhost"],
        "name": ["demo", "Clef, the demo"],
        "logo": [logo],
        "templates": [Path(button.__file__).parent, templates],
        "trusted_proxy": ["127.0.0.1 unix"],
        "metrics_from": ["127.0.0.1"],
        "keep_audit": ["400d"],
        "limits": [Limits(sign_in=10_000)],
        "clock": [FakeClock()],
        "deliver": [False, "elsewhere", "demo"],
    }


@pytest.mark.slow
def test_no_option_of_create_app_brings_it_up(tmp_path: Path, demo: DemoServer) -> None:
    """Each option by itself; beside a demo in the same process, over the database of that demo."""
    assert has_button(browser(demo))
    options = every_option(tmp_path)
    assert set(options) == set(inspect.signature(create_app).parameters)
    for option in [{name: value} for name, values in options.items() for value in values]:
        server = create_app(**{"origin": HERE, "database": tmp_path / "clef.db", "deliver": False, **option})
        try:
            visitor = Browser(server, HERE)
            answer = visitor.get("/")
            assert answer.status_int == (500 if option.get("templates") == tmp_path / "demo" else 200), option
            assert WORD not in answer.text, option
            assert visitor.get(button.PATH).status_int == 404, option
            assert button.PATH not in [rule.rule for rule in server.url_map.iter_rules()], option
        finally:
            DemoServer(server, "").close()


@contextmanager
def asked(path: Path) -> Iterator[list[bytes]]:
    """While a server runs in this process: somebody asks for pages at its socket, then ends it by SIGTERM."""
    answers: list[bytes] = []

    def ask(request: str) -> bool:
        with socket.socket(socket.AF_UNIX) as browser:
            if browser.connect_ex(str(path)) != 0:
                return False
            browser.sendall(f"{request} HTTP/1.0\r\nHost: localhost:8400\r\n\r\n".encode())
            answers.append(b"".join(iter(lambda: browser.recv(65536), b"")))
            return True

    def visit() -> None:
        for _ in range(500):
            if ask("GET /"):
                ask(f"GET {button.PATH}")
                break
            threading.Event().wait(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=visit)
    thread.start()
    yield answers
    thread.join()


def test_no_option_of_server_run_brings_it_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them at once, in the demo's own environment, over a database that a demo has used."""
    make(tmp_path).close()
    templates = tmp_path / "templates"
    templates.mkdir()
    values = {f"--{name.replace('_', '-')}": str(found[0]) for name, found in every_option(tmp_path).items()}
    values |= {"--database": f"{tmp_path}/clef.db", "--listen": f"unix:{tmp_path}/socket", "--trusted-proxy": "unix"}
    values["--templates"] = str(templates)
    words: list[str] = []
    for action in options_of_run():
        name = action.option_strings[-1]
        words += [name] if action.nargs == 0 else [name, values[name]]
    monkeypatch.setenv("CLEF_WSGI_PROVIDER__SERVER_URL", HERE)
    monkeypatch.setenv("CLEF_WSGI_BASE_URL", "http://localhost:8401")
    with asked(tmp_path / "socket") as answers:
        said = type_command(capsys, "run", *words)
    assert (said.code, said.err) == (0, "")
    front, behind = answers
    assert front.startswith(b"HTTP/1.0 200")
    assert WORD.encode() not in front
    assert behind.startswith(b"HTTP/1.0 404")


def options_of_run() -> list[argparse.Action]:
    """Return the options from the command's own parser, so that a new one can't be missed."""
    commands = next(each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    return [action for action in commands.choices["run"]._actions if action.dest != "help"]
