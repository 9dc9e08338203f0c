"""docs/deploying.md: its files, written down and run. Every worker lets a person in, and every worker lets go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
import requests
from support.databases import lives, wait_until
from support.doc_runner import BY_NAME
from support.docs_app import DEPLOYED, RELOADS, SECRET
from support.ports import await_listening, free_port
from support.services import require

import clef_wsgi
from clef_wsgi.testing import LocalClef

pytestmark = [pytest.mark.services, pytest.mark.process]

PATIENCE_SECONDS = 60.0
WORKERS = 4
FILES = {"gunicorn": "gunicorn.conf.py", "uwsgi": "uwsgi.ini"}
MYSITE = """
import json, os, threading

def app(environ, start_response):
    threading.Event().wait(0.02)  # so that requests at the same time come to different workers
    user = environ["clef.user"]
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"pid": os.getpid(), "user": user and user["first_name"], "version": 1}).encode()]
"""


@contextmanager
def running(server: str, folder: Path, clef: LocalClef, *, preload: bool = True) -> Iterator[int]:
    """The page's files in ``folder``, with a port and paths of the test's own, run by the page's command."""
    program = Path(sys.executable).with_name(server)
    require(server, program.is_file(), 'pip install ".[dev]"')
    port = free_port()
    for name, block in (("wsgi.py", "wsgi_file"), (FILES[server], server)):
        text = BY_NAME[block].text.replace("8000", str(port)).replace("/var/lib/mysite", str(folder))
        text = text if preload else text.replace("preload_app = True\n", "")
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "mysite.py").write_text(MYSITE, encoding="utf-8")
    site = {"APP_ID": clef.app_id, "APP_SECRET": clef.app_secret, "SERVER_URL": clef.url, "SESSION_SECRET": SECRET}
    package = str(Path(clef_wsgi.__file__).parent.parent)
    own = {"HOME": str(folder), "PYTHONPATH": package, "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1"}
    environ = {**os.environ, **own, **site, "BASE_URL": f"http://localhost:{port}"}
    command = [str(program), *DEPLOYED[server][1:]]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        _await_listening(port, process, folder / "log")
        yield port
    finally:
        successors = _successors(folder, process.pid)
        process.terminate()
        process.wait(PATIENCE_SECONDS)
        for pid in successors | _successors(folder, process.pid):
            _end(pid)


def _successors(folder: Path, first: int) -> set[int]:
    """Return the masters that took the first one's place: ``gunicorn.pid.2``, until the first one has ended."""
    found = set()
    for path in folder.glob("*.pid*"):
        with suppress(FileNotFoundError, ValueError):  # it is being renamed
            found.add(int(path.read_text()))
    return found - {first}


def _end(pid: int) -> None:
    """End a process whose parent is nobody here."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    wait_until(partial(_has_ended, pid), "the second master has ended")


def _has_ended(pid: int) -> bool:
    return not lives(pid)


def _await_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    try:
        await_listening(port, PATIENCE_SECONDS, is_alive=lambda: process.poll() is None)
    except TimeoutError:
        text = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise AssertionError(f"it did not start: {text}") from None


def signed_in(port: int, clef: LocalClef, person: str) -> str:
    """The whole way of a login; the cookie of the browser that went it.

    Each request has a connection of its own: uWSGI closes after each answer, and does not say so.
    """
    started = _get(f"http://localhost:{port}/clef/login?next=/", "")
    cookie = _cookie(started)
    return _cookie(_get(clef.approve(started.headers["Location"], person), cookie)) or cookie


def _get(url: str, cookie: str) -> requests.Response:
    with requests.Session() as browser:
        browser.trust_env = False
        answer = browser.get(url, headers={"Cookie": cookie}, allow_redirects=False, timeout=PATIENCE_SECONDS)
    assert answer.status_code == 303, answer.text
    return answer


def _cookie(answer: requests.Response) -> str:
    return "; ".join(f"{name}={value}" for name, value in answer.cookies.items())


def seen_by_all(port: int, cookie: str) -> dict[int, set[Any]]:
    """Ask until every worker has answered; return the users that each one sees, by process."""

    def ask(_number: int) -> tuple[int, Any]:
        with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)) as connection:
            connection.request("GET", "/", headers={"Cookie": cookie})
            answer = json.loads(connection.getresponse().read())
            return answer["pid"], answer["user"]

    seen: dict[int, set[Any]] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    with ThreadPoolExecutor(2 * WORKERS) as pool:
        while len(seen) < WORKERS and time.monotonic() < deadline:
            for pid, user in pool.map(ask, range(4 * WORKERS)):
                seen.setdefault(pid, set()).add(user)
    assert len(seen) == WORKERS, seen
    return seen


@pytest.mark.parametrize("server", ["gunicorn", "uwsgi"])
def test_every_worker_lets_in_and_lets_go(server: str, tmp_path: Path) -> None:
    """A login at one worker is known to all, by the ids of their processes; so is a logout, at the next request."""
    with LocalClef(people=["Ann", "Bo"]) as clef, running(server, tmp_path, clef) as port:
        ann, bo = (signed_in(port, clef, person) for person in ("Ann", "Bo"))
        workers = seen_by_all(port, ann)
        assert set.union(*workers.values()) == {"Ann"}
        assert [delivery.confirmed for delivery in clef.log_out_everywhere("Ann")] == [True]
        after = seen_by_all(port, ann)
        assert after.keys() == workers.keys()
        assert set.union(*after.values()) == {None}
        assert set.union(*seen_by_all(port, bo).values()) == {"Bo"}


class Crowd:
    """Visitors who ask without a pause, each time over a connection of its own; ``seen`` and ``lost`` say what came."""

    def __init__(self, port: int, cookie: str) -> None:
        self._port, self._cookie = port, cookie
        self.seen: list[dict[str, Any]] = []
        self.lost: list[object] = []
        self._is_over = threading.Event()

    def _ask(self) -> None:
        while not self._is_over.is_set():
            try:
                with closing(HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)) as connection:
                    connection.request("GET", "/", headers={"Cookie": self._cookie})
                    answer = connection.getresponse()
                    text = answer.read()
            except (OSError, HTTPException) as error:
                self.lost.append(error)
                continue
            if answer.status == 200:
                self.seen.append(json.loads(text))
            else:
                self.lost.append((answer.status, text))

    @contextmanager
    def asking(self) -> Iterator[None]:
        with ThreadPoolExecutor(WORKERS) as pool:
            for _ in range(WORKERS):
                pool.submit(self._ask)
            try:
                yield
            finally:
                self._is_over.set()


@pytest.mark.parametrize("way", ["gunicorn", "uwsgi", "gunicorn, HUP"])
def test_new_code_without_a_lost_request(way: str, tmp_path: Path) -> None:
    """The page's commands, while four visitors ask all the time: each is answered, by the new code in the end."""
    server, _, signal_alone = way.partition(", ")
    with LocalClef(people=["Ann"]) as clef, running(server, tmp_path, clef, preload=not signal_alone) as port:
        crowd = Crowd(port, signed_in(port, clef, "Ann"))
        with crowd.asking():
            wait_until(lambda: len(crowd.seen) > 20, "the crowd is answered")
            site = tmp_path / "mysite.py"
            site.write_text(site.read_text().replace('"version": 1', '"version": 2'), encoding="utf-8")
            commands = BY_NAME[RELOADS[server]].text.replace("/var/lib/mysite", str(tmp_path))
            if signal_alone:
                commands = f"kill -HUP $(cat {tmp_path}/gunicorn.pid)"
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            environ = {**os.environ, "PATH": path}
            subprocess.run(["sh", "-ec", commands], check=True, env=environ, timeout=PATIENCE_SECONDS)
            wait_until(lambda: {answer["version"] for answer in crowd.seen[-40:]} == {2}, "the new code answers alone")
        assert crowd.lost == []
        assert {answer["user"] for answer in crowd.seen} == {"Ann"}
