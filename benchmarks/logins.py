"""Count the logins per second that one and two processes of ``server run`` answer over HTTP, and what saturates.

    python benchmarks/logins.py [--postgresql URL] [--pgbouncer URL] [--rounds 3] [--seconds 10]

Thirty-two people, each signed in at the server, log in at a site again and again, in eight threads: page, approval,
``authorize`` and ``info``, as benchmarks/login_server.py does it within the process. Everything runs on this machine,
and so the processor is shared by the servers, the database and the browsers; its share is printed for each, in cores.
``--pgbouncer`` names the same database behind PgBouncer in transaction mode. The table of docs/performance.md is this
output.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import platform
import re
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from delivery import await_listening, free_port, running
from login_server import APP_ID, ORIGIN, ROWS, SECRET, SITE, databases, digest
from sqlalchemy import text

PEOPLE, THREADS = 32, 8
HOST = urlsplit(ORIGIN).netloc
TICKS = os.sysconf("SC_CLK_TCK")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PATIENCE_SECONDS = 30


def fill(where: str) -> list[str]:
    """Write the site, and the people with their sessions; return the sessions' cookies."""
    from clef_wsgi.server import create_app

    database = create_app(origin=ORIGIN, database=where, deliver="elsewhere").extensions["clef"].database
    now, tokens = time.time_ns() // 1000, [secrets.token_urlsafe(32) for _ in range(PEOPLE)]
    with closing(database), database.writing() as connection:
        for number, statement in enumerate(ROWS):
            for person in range(1, PEOPLE + 1 if number < 2 else 2):
                values = {"now": now, "later": now + 10**12, "handle": secrets.token_bytes(64), "url": SITE}
                values |= {"secret": digest(SECRET), "session": digest(tokens[person - 1]), "app": APP_ID}
                of_person = statement.replace("VALUES (1,", f"VALUES ({person},")
                connection.execute(text(of_person), values)
    return [f"clef-session-{urlsplit(ORIGIN).port}={token}" for token in tokens]


@contextmanager
def server(where: str, log: Path) -> Iterator[tuple[int, int]]:
    """Run a server, and yield its port and process id. It is ended by that id."""
    port = free_port()
    words = ["run", "--origin", ORIGIN, "--listen", f"127.0.0.1:{port}", "--database", where, "--no-deliver"]
    with running(["-m", "clef_wsgi", "server", *words, "--trusted-proxy", "127.0.0.1"], log) as process:
        await_listening(port)
        yield port, process.pid


class Visitor:
    """A person's browser and their site, each with a connection that is kept."""

    def __init__(self, port: int, cookie: str, number: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        self._cookies = dict([cookie.split("=", 1)])
        self._number, self._tries = number, itertools.count()

    def log_in(self) -> None:
        query = urlencode({"app_id": APP_ID, "redirect_url": SITE, "state": "some state"})
        # A front names another address for each login: rate limits are not what is measured.
        tried = next(self._tries)
        address = {"X-Forwarded-For": f"10.{self._number}.{tried // 250 % 250}.{tried % 250}"}
        headers, page = self._ask("GET", f"/iframes/qr?{query}", {**self._browser(), **address})
        for set_cookie in headers.get_all("Set-Cookie") or ():
            self._cookies.update([set_cookie.partition(";")[0].split("=", 1)])
        action, token = (
            unescape(re.search(found, page)[1]) for found in (r'action="([^"]*)"', r'token" value="([^"]*)"')
        )
        headers, _ = self._ask("POST", action, {**self._browser(), **address, **FORM}, {"token": token})
        code = parse_qs(urlsplit(headers["Refresh"].partition("url=")[2]).query)["code"][0]
        form = {"app_id": APP_ID, "app_secret": SECRET, "code": code}
        _, answer = self._ask("POST", "/api/v1/authorize", {**address, **FORM}, form)
        _, info = self._ask("GET", f"/api/v1/info?access_token={json.loads(answer)['access_token']}", address)
        assert json.loads(info)["success"]

    def _browser(self) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        return {"Cookie": cookies, "Sec-Fetch-Site": "same-origin"}

    def _ask(self, method: str, target: str, headers: dict[str, str], form: Any = None) -> tuple[Any, str]:
        self._connection.request(method, target, form and urlencode(form), {"Host": HOST, **headers})
        response = self._connection.getresponse()
        body = response.read().decode()
        assert response.status == 200, (response.status, body[:500])
        return response.headers, body


def measure(where: str, processes: int, seconds: float) -> dict[str, float]:
    """Return the logins per second, the medians of their seconds, and the cores that each party used."""
    cookies = fill(where)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = [
            stack.enter_context(server(where, Path(folder, f"server{number}.log"))) for number in range(processes)
        ]
        visitors = [Visitor(servers[n % processes][0], cookie, n) for n, cookie in enumerate(cookies)]
        for visitor in visitors:
            visitor.log_in()
        durations: list[float] = []
        began, cpu = time.monotonic(), cores(servers)
        threads = [
            threading.Thread(target=go_on, args=(visitors[n::THREADS], began + seconds, durations))
            for n in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        used = [(after - before) / took for before, after in zip(cpu, cores(servers), strict=True)]
    own, of_servers, of_all = used
    return {
        "logins": len(durations) / took,
        "p50": statistics.median(durations) * 1000,
        "servers": of_servers,
        "browsers": own,
        "rest": of_all - own - of_servers,
    }


@contextmanager
def behind_pgbouncer(url: str | None) -> Iterator[dict[str, str]]:
    """Use an empty database for one measurement, and leave it empty."""
    if url is None:
        yield {}
        return
    import psycopg

    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert found == (0,), f"{url} is not empty."
        try:
            yield {"PostgreSQL behind PgBouncer": f"{url}?prepare_threshold=none"}
        finally:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")


def go_on(visitors: list[Visitor], until: float, durations: list[float]) -> None:
    for visitor in itertools.cycle(visitors):
        began = time.monotonic()
        if began >= until:
            return
        visitor.log_in()
        durations.append(time.monotonic() - began)


def cores(servers: list[tuple[int, int]]) -> tuple[float, float, float]:
    """Return the seconds of a processor used so far: by this process, by the servers, and by the whole machine."""
    of_servers = 0
    for _, pid in servers:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        of_servers += int(fields[11]) + int(fields[12])
    user, nice, system, _idle, _wait, *interrupts = map(
        int, Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:8]
    )
    return time.process_time(), of_servers / TICKS, (user + nice + system + sum(interrupts)) / TICKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--postgresql", metavar="URL", help="such as postgresql://postgres@127.0.0.1:5432/test")
    parser.add_argument("--pgbouncer", metavar="URL", help="an empty database behind PgBouncer, in transaction mode")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    chosen = parser.parse_args()
    load, found = os.getloadavg()[0], {}
    for _ in range(chosen.rounds):
        for processes in (1, 2):
            with databases(chosen.postgresql) as places, behind_pgbouncer(chosen.pgbouncer) as more:
                for name, where in (places | more).items():
                    found.setdefault((name, processes), []).append(measure(where, processes, chosen.seconds))
    print("| database | processes | logins/s | p50 ms | servers | browsers | database and kernel |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for (name, processes), rounds in found.items():
        middle = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        print(
            f"| {name} | {processes} | {middle['logins']:.0f} | {middle['p50']:.0f} | {middle['servers']:.2f} "
            f"| {middle['browsers']:.2f} | {middle['rest']:.2f} |"
        )
    print(
        f"\nCPython {platform.python_version()}; {chosen.rounds} rounds of {chosen.seconds:.0f} s, {THREADS} threads "
        f"of {PEOPLE} people; load average {load:.1f} before. The last three columns are cores in use."
    )


if __name__ == "__main__":
    main()
