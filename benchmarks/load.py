"""Measure requests per second with wrk against gunicorn and waitress: this package beside Beaker alone.

    python benchmarks/load.py [--rounds 9] [--seconds 1]

Every round asks every case once, in rotating order, so that a busy machine disturbs all of them alike. Printed
are medians, and medians of the ratios within a round. The table of docs/performance.md is this output. Needs wrk
on the path; takes a little more than rounds x seconds x 8.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

SECRET = "a secret of a benchmark, 32 bytes or more"
SERVERS = ("gunicorn", "waitress")
WORKERS, THREADS, CONNECTIONS = 2, 4, 16
PATIENCE_SECONDS = 30
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}

App = Callable[[dict[str, Any], Any], Any]


@dataclass(frozen=True)
class Case:
    """A name, its path, whether it carries the cookie of somebody signed in, and the case it is compared with."""

    name: str
    path: str
    is_signed_in: bool = False
    base: str | None = None


CASES = (
    Case("Beaker, untouched", "/beaker/untouched"),
    Case("ours, anonymous", "/ours/anonymous", base="Beaker, untouched"),
    Case("Beaker, session read", "/beaker/read", is_signed_in=True),
    Case("ours, signed in, SQLite store", "/ours/members", is_signed_in=True, base="Beaker, session read"),
)


# -- the site, in the servers' processes --------------------------------------------------------------------


def make_application() -> App:
    """Beaker alone under ``/beaker``, this package under everything else, over the same session files."""
    from beaker.middleware import SessionMiddleware

    from clef_wsgi import ClefMiddleware, SQLiteLogoutStore, session_options

    folder, base_url = Path(os.environ["LOAD_FOLDER"]), os.environ["LOAD_URL"]
    options = session_options(base_url=base_url, secret=SECRET, type="file", data_dir=str(folder / "sessions"))
    store = SQLiteLogoutStore(folder / "logouts.db")
    ours = ClefMiddleware(bare, provider=Provider(), logout_store=store, base_url=base_url, protect=["/ours/members"])
    under_beaker = SessionMiddleware(reads_or_not, options)
    under_ours = SessionMiddleware(ours, options)

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        app = under_beaker if environ["PATH_INFO"].startswith("/beaker/") else under_ours
        return app(environ, start_response)

    return application


class Provider:
    """Everybody is who they say they are."""

    def start_login(self, state: str, redirect_url: str) -> Any:
        from clef_wsgi import LoginStart

        return LoginStart(f"https://provider.example/?state={state}", {})

    def finish_login(self, query: Any, provider_state: Any, redirect_url: str) -> Any:
        from clef_wsgi import Identity

        return Identity({"id": query["code"], "email": "ann@example.org", "first_name": "Ann"})

    def read_logout(self, form: Any) -> Any:
        raise NotImplementedError

    def user_key(self, user_id: str) -> str:
        return f'["benchmark","{user_id}"]'


def bare(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


def _holds_login(environ: dict[str, Any]) -> bool:
    return any(name.startswith("clef.login.") for name in environ["beaker.session"])


def reads_or_not(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    if environ["PATH_INFO"] == "/beaker/read" and not _holds_login(environ):
        start_response("500 No record in the session", [("Content-Length", "0")])
        return []
    return bare(environ, start_response)


def serve_waitress(descriptor: int) -> None:
    import waitress

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    listener = socket.socket(fileno=descriptor)
    waitress.create_server(make_application(), sockets=[listener], threads=WORKERS * THREADS).run()


# -- measuring ----------------------------------------------------------------------------------------------


@contextmanager
def served(server: str, folder: Path) -> Iterator[str]:
    """One server in processes of its own, ended by its own id; its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        url = f"http://localhost:{listener.getsockname()[1]}"
        gunicorn = ["-m", "gunicorn", "--bind", f"fd://{listener.fileno()}", f"--workers={WORKERS}"]
        gunicorn += [f"--threads={THREADS}", "--preload", "--log-level=critical", "load:make_application()"]
        command = gunicorn if server == "gunicorn" else [__file__, "--serve", str(listener.fileno())]
        own = {"LOAD_FOLDER": str(folder), "LOAD_URL": url, "HOME": str(folder)}
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *command],
            pass_fds=[listener.fileno()],
            env={**os.environ, **own, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path[1:]])},
        )
        try:
            yield url
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Every answer is taken as it is."""


def ask(url: str, cookie: str = "") -> Any:
    """The headers of one answer, whatever its status. A request waits at the socket until the server takes it."""
    request = Request(url, headers={"Cookie": cookie, "Accept": "text/html"})
    try:
        answer = build_opener(_NoRedirect).open(request, timeout=PATIENCE_SECONDS)
    except HTTPError as error:
        answer = error
    with answer:  # gunicorn waits for the other side to close
        answer.read()
    return answer.headers


def sign_in(url: str) -> str:
    """The cookie of somebody signed in."""
    start = ask(url + "/clef/login")
    cookie = start["Set-Cookie"].strip().partition(";")[0]
    state = parse_qs(urlsplit(start["Location"]).query)["state"][0]
    back = ask(f"{url}/clef/callback?code=ann&state={state}", cookie)
    return str(back["Set-Cookie"].strip().partition(";")[0])


def run_wrk(url: str, cookie: str, seconds: int) -> tuple[float, float]:
    """Return requests per second, and the 99th percentile in milliseconds."""
    headers = ["-H", "Sec-Fetch-Mode: cors", *(["-H", f"Cookie: {cookie}"] if cookie else [])]
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", *headers, url]
    said = subprocess.run(
        command, capture_output=True, check=True, text=True, timeout=seconds + PATIENCE_SECONDS
    ).stdout
    if "Non-2xx" in said or "Socket errors" in said or " 0 requests in " in said:
        raise SystemExit(f"{url} did not answer as it should:\n{said}")
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    p99 = re.search(r"99%\s+([0-9.]+)(us|ms|s)", said)
    if rate is None or p99 is None:
        raise SystemExit(f"wrk said something else than expected:\n{said}")
    return float(rate[1]), float(p99[1]) * UNITS[p99[2]]


Seen = dict[tuple[str, str], list[tuple[float, float]]]


def measure(rounds: int, seconds: int) -> Seen:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        urls = {}
        for server in SERVERS:
            (folder / server).mkdir()
            urls[server] = stack.enter_context(served(server, folder / server))
        cookies = {server: sign_in(url) for server, url in urls.items()}
        turns = [(server, case) for server in SERVERS for case in CASES]
        seen: Seen = {(server, case.name): [] for server, case in turns}
        for number in range(rounds):
            turn = number % len(turns)
            for server, case in turns[turn:] + turns[:turn]:
                cookie = cookies[server] if case.is_signed_in else ""
                seen[server, case.name].append(run_wrk(urls[server] + case.path, cookie, seconds))
        return seen


def print_table(seen: Seen) -> None:
    print("| server | case | requests/s | p99 ms | ratio | p99 ratio | to |\n|---|---|---:|---:|---:|---:|---|")
    for server in SERVERS:
        for case in CASES:
            values = seen[server, case.name]
            rate, p99 = (statistics.median(column) for column in zip(*values, strict=True))
            row = f"| {server} | {case.name} | {rate:,.0f} | {p99:.1f} |"
            if case.base is None:
                print(row, "| | |")
                continue
            pairs = list(zip(values, seen[server, case.base], strict=True))
            slower = statistics.median(base[0] / ours[0] for ours, base in pairs)
            later = statistics.median(ours[1] / base[1] for ours, base in pairs)
            print(row, f"{slower:.2f} | {later:.2f} | {case.base} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=1, help="for each case and round; wrk counts whole ones")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve is not None:
        serve_waitress(chosen.serve)
        return
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: install the package wrk of your system, then try again.")
    print_table(measure(chosen.rounds, chosen.seconds))
    versions = ", ".join(f"{name} {version(name)}" for name in ("clef_wsgi", "Beaker", *SERVERS))
    threads = f"{WORKERS} workers of {THREADS} threads (waitress: one process of {WORKERS * THREADS})"
    rounds = f"{CONNECTIONS} connections; {chosen.rounds} rounds of {chosen.seconds} s"
    print(f"\nCPython {platform.python_version()}, {versions}; {threads}; {rounds}.")


if __name__ == "__main__":
    main()
