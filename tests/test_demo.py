"""The command and its demo: the walk finds what is broken, and whatever ends the demo leaves nothing behind."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
from support.oidc_provider import command as provider_command
from support.ports import answers as is_listening
from support.ports import free_port
from support.services import chromium, click, load_example, require, served

import clef_wsgi
from clef_wsgi import ClefProvider, MemoryLogoutStore, demo, wrap
from clef_wsgi.cli import main
from clef_wsgi.demo import openid_provider
from clef_wsgi.demo.processes import running
from clef_wsgi.demo.server import make_demo_server
from clef_wsgi.testing import LocalClef

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

ROOT = Path(clef_wsgi.__file__).parents[1]
SECRET = "a secret for tests alone, 32 bytes or more"
APP_ID = "0123456789abcdef" * 2
STEPS = 9


class Store(MemoryLogoutStore):
    """A store that can be sabotaged."""

    sabotage = ""

    def newest_logout(self, keys: Iterable[str]) -> int:
        return 0 if self.sabotage == "finds nothing" else super().newest_logout(keys)

    def record_logout(self, keys: Iterable[str], *, idempotency_key: str | None = None) -> bool:
        """When sabotaged, keep the key of one login only: a notification of the login server changes nothing."""
        forgets = self.sabotage == "records no notification"
        kept = [key for key in keys if key.startswith("login:")] if forgets else keys
        return super().record_logout(kept, idempotency_key=idempotency_key)


class LyingSite:
    """A WSGI app in front of the site. What it answers to "who am I", from the n-th question on, may be a lie."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.tell_truth()

    def tell_truth(self) -> None:
        self.lie: bytes | None = None
        self.truths = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer: Any = self.app(environ, start_response)
        if environ["PATH_INFO"] != "/whoami" or self.lie is None:
            return answer  # type: ignore[no-any-return]
        self.truths -= 1
        body = b"".join(answer)
        answer.close()
        return [body if self.truths >= 0 else self.lie.ljust(len(body))]


class DeafServer:
    """A WSGI app in front of the login server, which may do nothing when somebody logs out."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.is_deaf = False

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self.is_deaf and environ["PATH_INFO"] == "/log-out":
            start_response("303 See Other", [("Location", "/")])
            return []
        return self.app(environ, start_response)  # type: ignore[no-any-return]


# --- processes


PARENT = """
import sys
from clef_wsgi import demo
sys.exit(demo.run(port=0, check=False, command=lambda name: [sys.executable, "-S", "-c", {child!r}, name]))
"""
CHILD = """
import pathlib, sys
print("ready", flush=True)
sys.stdin.read()
pathlib.Path({folder!r}, sys.argv[1]).touch()
"""
ENVIRON = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}


@contextmanager
def process(*arguments: str, descriptors: tuple[int, ...] = (), **environ: str) -> Iterator[subprocess.Popen[str]]:
    """Python with these arguments, and these open files; killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**ENVIRON, **environ},
        pass_fds=descriptors,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Start all slow processes together: two real demos, and two with light children."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("killed", "SIGINT", "SIGTERM")}
    command = ("-W", "error", "-W", "ignore:'cgi' is deprecated", "-m", "clef_wsgi", "demo", "--port", "0")
    with ExitStack() as stack:
        started = {
            "checking": stack.enter_context(process(*command, "--check")),
            "killed": stack.enter_context(process(*command, TMPDIR=str(folders["killed"]))),
        }
        for name in ("SIGINT", "SIGTERM"):
            parent = PARENT.format(child=CHILD.format(folder=str(folders[name])))
            started[name] = stack.enter_context(process("-c", parent))
        yield {"folders": folders, **started}


# --- the walk


@dataclass
class Stage:
    """The demo in this process: what of it can be made to go wrong, and the walk."""

    store: Store
    server: DeafServer
    server_url: str
    site: LyingSite
    site_url: str = ""

    def walk(
        self, *, step: int | None = None, truths: int = 0, lie: bytes | None = None, patience_seconds: float = 30
    ) -> tuple[int, list[str]]:
        """Walks, and lies at a step, after so many right answers there; returns the exit code and the lines."""
        said: list[str] = []

        def say(line: str) -> None:
            said.append(line)
            prepare()

        def prepare() -> None:
            self.site.tell_truth()
            if len(said) == step:
                self.site.lie, self.site.truths = lie, truths

        prepare()
        return demo.walk(self.server_url, self.site_url, say, patience_seconds=patience_seconds), said


def make_example(server_url: str, site_url: str, store: MemoryLogoutStore, folder: Path) -> Any:
    """The example site."""
    return load_example().create_app(
        provider=ClefProvider(server_url=server_url, app_id=APP_ID, app_secret=SECRET),
        logout_store=store,
        base_url=site_url,
        session={"secret": SECRET, "type": "memory"},
        database_url=f"sqlite:///{folder / 'accounts.db'}",
    )


@pytest.fixture(scope="module")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    stages: list[Stage] = []

    def make_server(server_url: str, site_url: str) -> DeafServer:
        made = make_demo_server(
            origin=server_url, site_url=site_url, app_id=APP_ID, app_secret=SECRET, database=folder / "clef.db"
        )
        stack.callback(made.close)
        return DeafServer(made.app)

    def make_site(site_url: str) -> LyingSite:
        servers: list[DeafServer] = []

        def make(server_url: str) -> DeafServer:
            servers.append(make_server(server_url, site_url))
            return servers[0]

        server_url, store = stack.enter_context(served(make)), Store()
        site = make_example(server_url, site_url, store, folder)
        stages.append(Stage(store, servers[0], server_url, LyingSite(site), site_url))
        return stages[0].site

    with ExitStack() as stack:
        stack.enter_context(served(make_site))
        yield stages[0]


@pytest.fixture
def stage(shared_stage: Stage) -> Stage:
    """Everything goes well there, so far."""
    shared_stage.store.sabotage = ""
    shared_stage.server.is_deaf = False
    return shared_stage


@pytest.mark.slow
def test_the_walk_of_a_demo_that_works(stage: Stage) -> None:
    """Every step is taken and timed, and the exit code is 0."""
    code, said = stage.walk()
    assert (code, len(said)) == (0, STEPS), said
    assert all(re.fullmatch(r"ok   +\d+\.\d\d s  .+", line) for line in said)


@pytest.mark.slow
@pytest.mark.parametrize("sabotage", ["finds nothing", "records no notification"])
def test_the_walk_of_a_sabotaged_site(stage: Stage, sabotage: str) -> None:
    """R9: a site whose look-ups find nothing, or that records no notification, fails the walk with exit code 1."""
    stage.store.sabotage = sabotage
    code, said = stage.walk(patience_seconds=0.5)
    assert code == 1
    assert re.match(r"FAIL +\d+\.\d\d s  the site has heard of it: both browsers are out", said[-2])
    assert said[-1].strip() == "expected nobody to be signed in, but somebody was"


def test_the_walk_of_a_login_server_that_ignores_a_logout(stage: Stage) -> None:
    """A login server that still knows who logged out everywhere fails the walk there."""
    stage.server.is_deaf = True
    code, said = stage.walk()
    assert (code, len(said)) == (1, 6)
    assert said[-1].strip() == "expected the login server to end its own session, but it did not"


NOBODY, SOMEBODY = b"null", b"{}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "truths", "lie"),
    [
        (0, 0, SOMEBODY),
        (1, 0, NOBODY),
        (2, 0, NOBODY),
        (3, 0, NOBODY),
        (3, 1, NOBODY),
        (5, 0, SOMEBODY),
        (6, 0, SOMEBODY),
        (7, 1, NOBODY),
        (7, 2, SOMEBODY),
        (8, 0, SOMEBODY),
        (8, 1, SOMEBODY),
        (8, 2, NOBODY),
    ],
)
def test_each_step_can_fail(stage: Stage, step: int, truths: int, lie: bytes) -> None:
    """One wrong answer of the site, at any step, ends the walk there."""
    patience_seconds = 0.5 if step == 5 else 30
    code, said = stage.walk(step=step, truths=truths, lie=lie, patience_seconds=patience_seconds)
    assert (code, len(said)) == (1, step + 2), said
    assert said[step].startswith("FAIL")


UNDER_GUNICORN = """
import pathlib
from clef_wsgi.demo.server import make_demo_server
app = make_demo_server(
    origin={origin!r}, site_url={site_url!r}, app_id={app_id!r}, app_secret={secret!r}, database=pathlib.Path("clef.db")
).app
"""


@pytest.mark.process
@pytest.mark.services
def test_the_walk_of_a_server_under_gunicorn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two processes, forked after the app was made: codes, logouts and their delivery don't depend on which is asked.

    Nothing but ``create_app`` has run, and the commands know the server's address all the same.
    """
    require("gunicorn", importlib.util.find_spec("gunicorn") is not None, 'pip install ".[dev]" in its clone')
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        url = f"http://localhost:{listener.getsockname()[1]}"
        site_url = stack.enter_context(served(lambda site: make_example(url, site, MemoryLogoutStore(), tmp_path)))
        text = UNDER_GUNICORN.format(origin=url, site_url=site_url, app_id=APP_ID, secret=SECRET)
        (tmp_path / "demo_wsgi.py").write_text(text)
        words = (
            f"--preload --workers 2 --worker-class gthread --threads 4 --bind fd://{listener.fileno()} demo_wsgi:app"
        )
        command = ("-m", "gunicorn", "--chdir", str(tmp_path), *words.split())
        serving = stack.enter_context(process(*command, descriptors=(listener.fileno(),)))
        assert eventually(lambda: answers(url), 60)
        said: list[str] = []
        assert demo.walk(url, site_url, said.append, patience_seconds=30) == 0, said
        serving.terminate()
        serving.communicate(timeout=60)
    assert main(["server", "invite", "--name", "Bo", "--no-qr", "--database", str(tmp_path / "clef.db")]) == 0
    assert f"{url}/enrol#" in capsys.readouterr().out


NO_SERVER = "http://localhost:1"


def test_the_walk_of_a_site_that_is_gone() -> None:
    """A site that does not answer is a step that failed, not a traceback."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        said: list[str] = []
        assert demo.walk(NO_SERVER, f"http://localhost:{unused.getsockname()[1]}", said.append) == 1
    assert said[-1].strip() == "expected an answer, but there was a ConnectionError"


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"1"])
def test_the_walk_of_another_site(answer: bytes) -> None:
    """A site that is not the example is a step that failed, not a traceback."""

    def other(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [answer]

    said: list[str] = []
    with served(lambda url: other) as url:
        assert demo.walk(NO_SERVER, url, said.append) == 1
    assert said[-1].strip() == "expected clef.user as JSON from /whoami, but something else came"


def test_what_serves_the_tests_ends_beside_a_silent_connection() -> None:
    """A browser opens connections before it needs them, and keeps them: nobody waits for those."""
    with ExitStack() as stack:
        with served(lambda url: LyingSite(None)) as url:
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))))
            with socket.create_connection(silent.getpeername()) as other:  # so the one before it was taken up
                other.sendall(b"\r\n")
                assert other.recv(1) == b""
            is_late = threading.Timer(10, silent.close)
            is_late.start()
            stack.callback(is_late.cancel)
        silent.settimeout(5)
        assert silent.recv(1) == b""


# --- how it ends


def read_until(stream: Any, end: str) -> str:
    """Return the output of a process up to the line that begins with ``end``."""
    lines = []
    for line in stream:
        lines.append(line)
        if line.startswith(end):
            break
    return "".join(lines)


def addresses(said: str) -> list[str]:
    """Of the site and of the login server."""
    return list(dict.fromkeys(re.findall(r"http://localhost:\d+", said)))


def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Return True when ``holds`` comes true in time."""
    pause = threading.Event()
    return any(holds() or pause.wait(0.02) for _ in range(int(seconds / 0.02)))


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False


def child_that(does: str) -> Callable[[str], list[str]]:
    """A command for both children: the site does ``does`` after it said "ready", the server waits."""
    waits = "sys.stdin.read()"
    return lambda name: [
        *(sys.executable, "-S", "-c"),
        f"import sys, time; print('ready', flush=True); {does if name == 'site' else waits}",
    ]


@pytest.mark.process
def test_check_walks_the_loop(demos: dict[str, Any]) -> None:
    """``demo --check`` walks the loop over real processes and HTTP: exit code 0, a line for each step."""
    said, complained = demos["checking"].communicate(timeout=120)
    assert (demos["checking"].returncode, complained) == (0, "")
    assert [line[:5] for line in said.splitlines()] == ["ok   "] * STEPS


@pytest.mark.process
def test_a_killed_demo_leaves_nothing(demos: dict[str, Any]) -> None:
    """Killed with SIGKILL, the demo leaves no process, no open port and no file."""
    serving, folder = demos["killed"], demos["folders"]["killed"]
    urls = addresses(read_until(serving.stdout, "Ctrl-C"))
    assert [answers(url) for url in urls] == [True, True]
    assert list(folder.iterdir()) != []
    serving.kill()
    assert eventually(lambda: not any(map(answers, urls)))
    assert eventually(lambda: list(folder.iterdir()) == [])


@pytest.mark.process
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_ends_both(demos: dict[str, Any], name: str) -> None:
    """Ctrl-C, or "kill", ends both children before the demo ends: exit code 0, no traceback."""
    serving = demos[name]
    read_until(serving.stdout, "Ctrl-C")
    serving.send_signal(signal.Signals[name])
    said, complained = serving.communicate(timeout=30)
    assert (serving.returncode, said.strip(), complained) == (0, "Stopped.", "")
    assert {path.name for path in demos["folders"][name].iterdir()} == {"server", "site"}


@pytest.mark.process
def test_a_child_that_ends_ends_the_demo() -> None:
    """One of the two ends by itself: the demo ends too, and says which it was."""
    said: list[str] = []
    with pytest.raises(demo.DemoError, match="The site ended by itself"):
        demo.run(port=0, check=False, say=said.append, command=child_that("sys.exit()"))
    assert len(said) == 1


@pytest.mark.process
def test_a_child_that_does_not_start() -> None:
    """A child that ends before it is ready is named."""
    with pytest.raises(demo.DemoError, match="The server did not start"), running(0, lambda name: ["true"]):
        pass


@pytest.mark.process
def test_a_port_is_held_from_the_look_to_the_use() -> None:
    """Nobody takes a port while a child starts: it is handed over listening, and it is free after the end."""
    with running(0, child_that("sys.stdin.read()")) as idle:
        ports = [urlsplit(url).port or 0 for url in (idle.server_url, idle.site_url)]
        assert [is_listening(port) for port in ports] == [True, True]
    assert [is_listening(port) for port in ports] == [False, False]


@pytest.mark.process
def test_a_child_that_does_not_end_is_killed() -> None:
    """A child that does not heed the end of its input is killed in the end."""
    with running(0, child_that("time.sleep(60)"), end_timeout_seconds=0.2) as stubborn:
        children = stubborn._children
        assert [child.poll() for child in children.values()] == [None, None]
    assert {name: child.returncode for name, child in children.items()} == {"server": 0, "site": -signal.SIGKILL}


# --- the command


def two_in_a_row() -> list[socket.socket]:
    """Return listeners on two adjacent ports."""
    while True:
        port = free_port()
        listener = socket.create_server(("127.0.0.1", port))
        try:
            return [listener, socket.create_server(("127.0.0.1", port + 1))]
        except OSError:
            listener.close()


@pytest.mark.parametrize("taken", [0, 1])
def test_a_taken_port(capsys: pytest.CaptureFixture[str], taken: int) -> None:
    """A port that is taken, the server's or the site's: one sentence on stderr, exit code 1."""
    listeners = two_in_a_row()
    port = listeners[0].getsockname()[1]
    listeners[1 - taken].close()
    with listeners[taken]:
        assert main(["demo", "--check", "--port", str(port)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(rf"clef-wsgi: Port {port + taken} can't be used \(.+\): .+ --port\.\n", captured.err)


def test_a_missing_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Flask the demo says what to install: exit code 1."""
    monkeypatch.setitem(sys.modules, "flask", None)
    assert main(["demo", "--check", "--port", "0"]) == 1
    assert capsys.readouterr().err == 'clef-wsgi: The demo needs flask: pip install ".[server]" in its clone\n'


@pytest.mark.parametrize(
    "arguments",
    [[], ["dance"], ["demo", "--port", "65535"], ["demo", "--port", "-1"], ["demo", "--port", "x"]],
    ids=str,
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Wrong usage is exit code 2, with what was wrong on stderr."""
    assert main(arguments) == 2
    assert "usage: clef-wsgi" in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_asking_about_the_command(capsys: pytest.CaptureFixture[str], argument: str) -> None:
    """--version and --help answer on stdout: exit code 0."""
    assert main([argument]) == 0
    assert capsys.readouterr().out.startswith("clef-wsgi" if argument == "--version" else "usage: clef-wsgi")


# --- in a browser


def fits(browser: Chrome) -> bool:
    """Return True when the page fits 320 pixels without horizontal scrolling."""
    metrics = {"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    width: int = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    return width <= 320


@pytest.mark.browser
def test_the_loop_in_a_browser() -> None:
    """A person signs in, logs out everywhere, and the site lets go; then a real Ctrl-C ends the demo."""
    with process("-m", "clef_wsgi", "demo", "--port", "0") as serving, chromium() as browser:
        site, server = addresses(read_until(serving.stdout, "Ctrl-C"))
        browser.get(site)
        assert fits(browser)
        click(browser, "main a.clef-login")
        assert fits(browser)
        click(browser, "form[action^='/demo/continue'] button")
        assert browser.current_url == f"{site}/"
        assert "Hello, Ann." in browser.page_source
        browser.get(f"{site}/account")
        assert fits(browser)
        browser.get(server)
        assert fits(browser)
        click(browser, "form[action='/log-out'] button")
        assert fits(browser)

        def is_out() -> bool:
            browser.get(site)
            return "Hello" not in browser.page_source

        assert eventually(is_out, 20)
        assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
        serving.send_signal(signal.SIGINT)
        serving.wait(30)
        assert (serving.returncode, serving.stderr and serving.stderr.read()) == (0, "")


@pytest.fixture
def clef() -> Iterator[LocalClef]:
    with LocalClef(delivery_timeout_seconds=2) as clef:
        yield clef


@pytest.mark.browser
def test_the_script_button_in_a_browser(clef: LocalClef) -> None:
    """The original script tag draws a button, and the button signs in."""

    def page(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = f"<!doctype html><p>{environ['clef.user'] is not None}</p>{environ['clef.login'].script_button()}"
        start_response("200 OK", [("Content-Type", "text/html")])
        return [body.encode()]

    def make(url: str) -> Any:
        provider = ClefProvider(server_url=clef.url, app_id=clef.app_id, app_secret=clef.app_secret)
        store = MemoryLogoutStore()
        return wrap(page, provider=provider, logout_store=store, base_url=url, session={"secret": SECRET})

    with ExitStack() as stack:
        site = stack.enter_context(served(make))
        browser = stack.enter_context(chromium())
        browser.get(site)
        assert browser.find_element("css selector", "p").text == "False"
        click(browser, "a.clef-button-link")
        click(browser, "button[value=Bo]")
        assert browser.find_element("css selector", "p").text == "True"


# --- with OpenID Connect


def is_clone() -> bool:
    return openid_provider.PROGRAM.is_file()


@pytest.mark.process
def test_the_walk_with_an_openid_provider() -> None:
    """Every step goes well with npm's oidc-provider in place of the login server; settings of others don't matter."""
    if not is_clone():
        pytest.skip("this demo runs from a clone alone")
    provider_command()
    with process("-m", "clef_wsgi", "demo", "--oidc", "--check", "--port", "0", CLEF_WSGI_PROTECT="/") as walking:
        said, complaints = walking.communicate(timeout=120)
    assert (walking.returncode, complaints) == (0, "")
    assert len(re.findall(r"^ok ", said, re.MULTILINE)) == STEPS + 1, said


def test_a_client_for_a_site_of_ones_own() -> None:
    """The demo's provider knows a second client on localhost:8000, and the text prints its id and secret."""
    settings = openid_provider.OPENID_PROVIDER.settings("http://localhost:8400", "http://localhost:8401")
    (_, own) = json.loads(settings["OIDC_PROVIDER_SETTINGS"])["clients"]
    assert own["redirect_uris"] == ["http://localhost:8000/clef/callback"]
    for said in ("http://localhost:8000 ", own["client_id"], own["client_secret"]):
        assert said in openid_provider.WHAT_TO_DO


NODES = {
    "nothing": (False, None, "npm's oidc-provider is not installed: make providers"),
    "no node": (True, None, "oidc-provider needs Node 22 or newer, and there is no node on the path."),
    "an old node": (True, "v18.19.0", "oidc-provider needs Node 22 or newer; the one on the path is v18.19.0."),
    "a broken node": (True, "", "oidc-provider needs Node 22 or newer; the one on the path is of no known version."),
}


@pytest.mark.process
@pytest.mark.parametrize("there", NODES)
def test_what_an_openid_provider_needs_is_said_in_a_sentence(
    there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the package, or with a Node that is too old for it, the demo ends with what to do."""
    is_installed, version, sentence = NODES[there]
    if is_installed:
        (tmp_path / "clef_wsgi" / "oidc-provider" / "node_modules" / "oidc-provider").mkdir(parents=True)
    if version is not None:
        (tmp_path / "node").write_text(f"#!/bin/sh\necho {version}\n")
        (tmp_path / "node").chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    if not is_clone():
        sentence = "The demo with OpenID Connect runs from a clone of the repository: make demo ARGS=--oidc"
    assert main(["demo", "--oidc", "--check", "--port", "0"]) == 1
    assert capsys.readouterr().err == f"clef-wsgi: {sentence}\n"
