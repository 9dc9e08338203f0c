"""The command and its demo: the walk finds what is broken, and whatever ends the demo leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import requests
from services import chromium, load_example, served

import clef_wsgi
from clef_wsgi import ClefProvider, MemoryLogoutStore, demo, wrap
from clef_wsgi.cli import main
from clef_wsgi.demo.processes import running
from clef_wsgi.testing import LocalClef

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

ROOT = Path(clef_wsgi.__file__).parents[1]
SECRET = "a secret for tests alone, 32 bytes or more"
STEPS = 9


class BlindStore(MemoryLogoutStore):
    """A store whose look-ups are sabotaged: it records logouts and finds none."""

    def newest_logout(self, keys: Iterable[str]) -> int:
        return 0


class ForgetfulStore(MemoryLogoutStore):
    """A store that knows "everyone" and "here" only: a notice of the provider changes nothing."""

    def record_logout(self, keys: Iterable[str], *, once: str | None = None) -> bool:
        return super().record_logout([key for key in keys if key.startswith("login:")], once=once)


class LyingSite:
    """A WSGI app in front of the site, whose n-th answer to "who am I" is turned around."""

    def __init__(self, app: Any, n: int) -> None:
        self.app = app
        self.left = n

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer: Any = self.app(environ, start_response)
        if environ["PATH_INFO"] != "/whoami":
            return answer  # type: ignore[no-any-return]
        self.left -= 1
        body = b"".join(answer)
        answer.close()
        return [(b"null" if body[:4] != b"null" else b"{}").ljust(len(body))] if self.left == 0 else [body]


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
def process(*arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """Python with these arguments; killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**ENVIRON, **environ},
    ) as started:
        try:
            yield started
        finally:
            started.kill()


@pytest.fixture(scope="module", autouse=True)
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What takes long to start, started before the first test: two real demos, and two with light children."""
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


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load_example()


@pytest.fixture
def clef() -> Iterator[LocalClef]:
    with LocalClef(delivery_timeout_seconds=2) as clef:
        yield clef


def make_site(example: ModuleType, clef: LocalClef, store: MemoryLogoutStore, folder: Path, url: str) -> Any:
    """The example site, over that store."""
    return example.create_app(
        provider=ClefProvider(server_url=clef.url, app_id=clef.app_id, app_secret=clef.app_secret),
        logout_store=store,
        base_url=url,
        session={"secret": SECRET, "type": "memory"},
        database_url=f"sqlite:///{folder / 'accounts.db'}",
    )


Walk = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def walk(example: ModuleType, clef: LocalClef, tmp_path: Path) -> Walk:
    """Walks a site with that store, and that many right answers; returns the exit code and the lines."""

    def go(store: MemoryLogoutStore, lie: int = 0) -> tuple[int, list[str]]:
        said: list[str] = []
        with served(lambda url: LyingSite(make_site(example, clef, store, tmp_path, url), lie)) as url:
            return demo.walk(clef.url, url, said.append), said

    return go


def test_the_walk_of_a_site_that_works(walk: Walk) -> None:
    """Every step is taken and timed, and the exit code is 0."""
    code, said = walk(MemoryLogoutStore())
    assert (code, len(said)) == (0, STEPS)
    assert all(re.fullmatch(r"ok   +\d+\.\d\d s  .+", line) for line in said)


@pytest.mark.parametrize("store", [BlindStore, ForgetfulStore])
def test_the_walk_of_a_sabotaged_site(walk: Walk, store: type[MemoryLogoutStore]) -> None:
    """R9: a site whose look-ups find nothing, or that records no notice, fails the walk with exit code 1."""
    code, said = walk(store())
    assert code == 1
    assert re.match(r"FAIL +\d+\.\d\d s  both browsers are out", said[-2])
    assert said[-1].strip() == "expected nobody to be signed in, but somebody was"


@pytest.mark.parametrize(
    ("lie", "step"), [(1, 0), (2, 1), (3, 2), (5, 3), (6, 4), (8, 5), (9, 6), (12, 7), (14, 8), (15, 8)]
)
def test_each_step_can_fail(walk: Walk, lie: int, step: int) -> None:
    """One wrong answer of the site, at any step, ends the walk there."""
    code, said = walk(MemoryLogoutStore(), lie)
    assert (code, len(said)) == (1, step + 2)
    assert said[step].startswith("FAIL")


def test_the_walk_of_a_site_that_is_gone(clef: LocalClef) -> None:
    """A site that does not answer is a step that failed, not a traceback."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        said: list[str] = []
        assert demo.walk(clef.url, f"http://localhost:{unused.getsockname()[1]}", said.append) == 1
    assert said[-1].strip() == "expected an answer, but there was a ConnectionError"


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"1"])
def test_the_walk_of_another_site(clef: LocalClef, answer: bytes) -> None:
    """A site that is not the example is a step that failed, not a traceback."""

    def other(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [answer]

    said: list[str] = []
    with served(lambda url: other) as url:
        assert demo.walk(clef.url, url, said.append) == 1
    assert said[-1].strip() == "expected clef.user as JSON from /whoami, but something else came"


# --- how it ends


def read_until(stream: Any, end: str) -> str:
    """What a process says, up to the line that begins with ``end``."""
    lines = []
    for line in stream:
        lines.append(line)
        if line.startswith(end):
            break
    return "".join(lines)


def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether something comes true in time."""
    pause = threading.Event()
    return any(holds() or pause.wait(0.02) for _ in range(int(seconds / 0.02)))


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False


def child_that(does: str) -> Callable[[str], list[str]]:
    """A command for both children: the site does ``does`` after it said "ready", the provider waits."""
    waits = "sys.stdin.read()"
    return lambda name: [
        *(sys.executable, "-S", "-c"),
        f"import sys, time; print('ready', flush=True); {does if name == 'site' else waits}",
    ]


def test_check_walks_the_loop(demos: dict[str, Any]) -> None:
    """``demo --check`` walks the loop over real processes and HTTP: exit code 0, a line for each step."""
    said, complained = demos["checking"].communicate(timeout=30)
    assert (demos["checking"].returncode, complained) == (0, "")
    assert [line[:5] for line in said.splitlines()] == ["ok   "] * STEPS


def test_a_killed_demo_leaves_nothing(demos: dict[str, Any]) -> None:
    """Killed with SIGKILL, the demo leaves no process, no open port and no file."""
    serving, folder = demos["killed"], demos["folders"]["killed"]
    urls = re.findall(r"http://localhost:\d+", read_until(serving.stdout, "Ctrl-C"))
    assert [answers(url) for url in urls] == [True, True]
    assert list(folder.iterdir()) != []
    serving.kill()
    assert eventually(lambda: not any(map(answers, urls)))
    assert eventually(lambda: list(folder.iterdir()) == [])


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_ends_both(demos: dict[str, Any], name: str) -> None:
    """Ctrl-C, or "kill", ends both children before the demo ends: exit code 0, no traceback."""
    serving = demos[name]
    read_until(serving.stdout, "Ctrl-C")
    serving.send_signal(signal.Signals[name])
    said, complained = serving.communicate(timeout=10)
    assert (serving.returncode, said.strip(), complained) == (0, "Stopped.", "")
    assert {path.name for path in demos["folders"][name].iterdir()} == {"provider", "site"}


def test_a_child_that_ends_ends_the_demo() -> None:
    """One of the two ends by itself: the demo ends too, and says which it was."""
    said: list[str] = []
    with pytest.raises(demo.DemoError, match="The site ended by itself"):
        demo.run(port=0, check=False, say=said.append, command=child_that("sys.exit()"))
    assert len(said) == 1


def test_a_child_that_does_not_start() -> None:
    """A child that ends before it is ready is named."""
    with pytest.raises(demo.DemoError, match="The provider did not start"), running(0, lambda name: ["true"]):
        pass


def test_a_child_that_does_not_end_is_killed() -> None:
    """A child that does not heed the end of its input is killed in the end."""
    with running(0, child_that("time.sleep(60)"), end_timeout_seconds=0.2) as stubborn:
        children = stubborn._children
        assert [child.poll() for child in children.values()] == [None, None]
    assert {name: child.returncode for name, child in children.items()} == {"provider": 0, "site": -signal.SIGKILL}


# --- the command


def two_in_a_row() -> list[socket.socket]:
    """Listeners on two ports of which one follows the other."""
    while True:
        listener = socket.create_server(("127.0.0.1", 0))
        try:
            return [listener, socket.create_server(("127.0.0.1", listener.getsockname()[1] + 1))]
        except OSError:
            listener.close()


@pytest.mark.parametrize("taken", [0, 1])
def test_a_taken_port(capsys: pytest.CaptureFixture[str], taken: int) -> None:
    """A port that is taken, the provider's or the site's: one sentence on stderr, exit code 1."""
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
    assert capsys.readouterr().err == 'clef-wsgi: The demo needs flask: pip install "clef_wsgi[server]"\n'


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


def click(browser: Chrome, selector: str) -> None:
    """Clicks on what leads to another page, and waits until that one is there."""
    from selenium.webdriver.support.expected_conditions import staleness_of
    from selenium.webdriver.support.ui import WebDriverWait

    left = browser.find_element("css selector", selector)
    left.click()
    wait = WebDriverWait(browser, 20, poll_frequency=0.02)
    wait.until(staleness_of(left))
    wait.until(lambda _: browser.execute_script("return document.readyState") == "complete")


def fits(browser: Chrome) -> bool:
    """Whether the page can be read at 320 pixels without scrolling sideways."""
    metrics = {"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    width: int = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    return width <= 320


@pytest.mark.browser
def test_the_loop_in_a_browser() -> None:
    """A person signs in, logs out everywhere, and the site lets go; then a real Ctrl-C ends the demo."""
    with process("-m", "clef_wsgi", "demo", "--port", "0") as serving, chromium() as browser:
        site, provider = re.findall(r"http://localhost:\d+", read_until(serving.stdout, "Ctrl-C"))
        browser.get(site)
        assert fits(browser)
        click(browser, "main a.clef-login")
        assert fits(browser)
        click(browser, "button[value=Ann]")
        assert browser.current_url == f"{site}/"
        assert "Hello, Ann." in browser.page_source
        browser.get(f"{site}/account")
        assert fits(browser)
        browser.get(provider)
        assert fits(browser)
        click(browser, "button[value=Ann]")
        assert fits(browser)
        assert "confirmed" in browser.page_source
        browser.get(site)
        assert "Hello" not in browser.page_source
        assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
        serving.send_signal(signal.SIGINT)
        serving.wait(10)
        assert (serving.returncode, serving.stderr and serving.stderr.read()) == (0, "")


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
