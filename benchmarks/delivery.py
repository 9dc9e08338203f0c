"""Measure the time to a confirmed logout: the server and sites on the real middleware, with dead sites among them.

    python benchmarks/delivery.py [--people 100] [--sites 20] [--broken 8] [--postgresql URL]

Everybody is signed in at every site, and then logs out everywhere, one person after the other, as a browser does
it. Rounds with healthy sites alone alternate with rounds in which broken ones are beside them, so that a busy machine
disturbs both alike: a closed port, one that never answers, one that answers 500, one that redirects. Printed are
the times from the tap to the site's confirmation, as the server wrote it down, and from the tap to the first
request that a site refused, as an open tab sees it that asks every 20 ms; then what wrk gets out of the server,
and its memory. The tables of docs/performance.md are this output. Needs wrk on the path for the second table, and
takes about five minutes for each database.

    python benchmarks/delivery.py --crowd 1000 [--sites 20] [--postgresql URL]

lets so many people, each signed in at all sites, log out at the same time, and one person with 100 sessions at 1,000
sites. Their logins are written into the database; nobody watches a tab. Printed are the times from each tap to its
answer and to its confirmations, and the most threads, open files and memory that the server had meanwhile.
"""

from __future__ import annotations

import argparse
import http.client
import json
import logging
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, fields
from html import unescape
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from sqlalchemy import func, insert, select, update

SECRET = "a secret of a benchmark, 32 bytes or more"
PATIENCE_SECONDS = 60
POLL_SECONDS = 0.02
AT_ONCE = 200
"""So many taps of a crowd are under way at any moment."""
CROWD_PATIENCE_SECONDS = 1800
MANY_SITES, MANY_SESSIONS = 1_000, 100
WATCHED = 2
"""At so many sites of each person a tab is open and asks."""
BROKEN = ("closed", "silent", "500", "redirect")


# -- the sites, in a process of their own -------------------------------------------------------------------


def serve_sites(plan: dict[str, Any]) -> None:
    """Serve each site at a socket of its own, behind its own middleware and store. ``/heard`` returns the counts."""
    import waitress

    from clef_wsgi import ClefProvider, SQLiteLogoutStore, events, wrap

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    heard: Counter[str] = Counter()
    events.observers.append(lambda told: heard.update([told["outcome"]] if told["event"] == "webhook" else []))
    sites = {}
    for number, site in enumerate(plan["sites"]):
        sites[str(urlsplit(site["url"]).port)] = wrap(
            says_ok,
            provider=ClefProvider(app_id=site["app_id"], app_secret=site["secret"], server_url=plan["server_url"]),
            logout_store=SQLiteLogoutStore(Path(plan["folder"], f"logouts{number}.db")),
            base_url=site["url"],
            session={"secret": SECRET, "type": "memory"},
            protect=["/"],
        )

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        port = environ["SERVER_PORT"]
        if environ["PATH_INFO"] == "/heard":
            return answer(start_response, "200 OK", json.dumps(heard).encode())
        if port in sites:
            return sites[port](environ, start_response)
        if plan["broken"][port] == "redirect":
            return answer(start_response, "302 Found", b"", ("Location", "http://localhost:1/"))
        return answer(start_response, "500 Internal Server Error", b"")

    sockets = [socket.socket(fileno=descriptor) for descriptor in plan["descriptors"]]
    waitress.create_server(application, sockets=sockets, threads=16).run()


def says_ok(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    return answer(start_response, "200 OK", b"ok")


def answer(start_response: Any, status: str, body: bytes, *headers: tuple[str, str]) -> list[bytes]:
    start_response(status, [("Content-Length", str(len(body))), *headers])
    return [body]


# -- HTTP, as a browser speaks it ---------------------------------------------------------------------------


@dataclass
class Browser:
    """Cookies, and one connection for each port."""

    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, url: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, str, str]:
        """Status, location and text."""
        parts = urlsplit(url)
        with closing(http.client.HTTPConnection("127.0.0.1", parts.port, timeout=PATIENCE_SECONDS)) as connection:
            sent = {"Host": parts.netloc, "Cookie": self.cookie, "Accept": "text/html", "Connection": "close"}
            sent |= {name.replace("_", "-"): value for name, value in headers.items()}
            if form is not None:
                sent |= {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
            target = f"{parts.path}?{parts.query}"
            connection.request("GET" if form is None else "POST", target, form and urlencode(form), sent)
            response = connection.getresponse()
            for header in response.headers.get_all("Set-Cookie") or ():
                self.cookies.update({name: morsel.coded_value for name, morsel in SimpleCookie(header).items()})
            return response.status, response.headers["Location"] or "", response.read().decode()

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())


@dataclass
class Person:
    """Somebody with a browser at the server, whose button is ready, and one at each healthy site."""

    browser: Browser
    session: str
    token: str = ""
    at_sites: dict[str, Browser] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    app_id: str
    secret: str
    url: str
    is_healthy: bool


# -- the world ----------------------------------------------------------------------------------------------


class World:
    """One server on one database, and the sites' process."""

    def __init__(self, where: str, folder: Path, sites: int, broken: int, stack: ExitStack) -> None:
        self.folder, self.where = folder, where
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        words = ["run", "--origin", self.url, "--listen", f"127.0.0.1:{self.port}", "--trusted-proxy", "127.0.0.1"]
        self.server = stack.enter_context(
            running(["-m", "clef_wsgi", "server", *words, "--database", where], folder / "server.log")
        )
        await_listening(self.port)
        Browser().ask(self.url + "/")
        self.idle_kib = resident_kib(self.server.pid)
        from clef_wsgi.server.database.engine import Database

        self.database = Database(where)
        stack.callback(self.database.close)
        listeners = [socket.create_server(("127.0.0.1", 0), backlog=256) for _ in range(sites + broken)]
        self.sites = [self._add(listener, number < sites) for number, listener in enumerate(listeners)]
        self._start_sites(listeners, sites, stack)

    def _add(self, listener: socket.socket, is_healthy: bool) -> Site:
        from clef_wsgi.server.records import apps

        url = f"http://localhost:{listener.getsockname()[1]}"
        with self.database.writing() as connection:
            app, secret = apps.add(
                connection,
                name=url,
                redirect_urls=[url + "/clef/callback"],
                webhooks=[url + "/clef/webhook"],
                now=now(),
                allow_private=True,
            )
        return Site(app.id, secret, url, is_healthy)

    def _start_sites(self, listeners: list[socket.socket], healthy: int, stack: ExitStack) -> None:
        broken = {str(each.getsockname()[1]): BROKEN[n % len(BROKEN)] for n, each in enumerate(listeners[healthy:])}
        served = [each for each in listeners if broken.get(str(each.getsockname()[1])) not in ("closed", "silent")]
        plan = {
            "server_url": self.url,
            "folder": str(self.folder),
            "sites": [vars(site) for site in self.sites if site.is_healthy],
            "broken": broken,
            "descriptors": [each.fileno() for each in served],
        }
        command = [__file__, "--serve", json.dumps(plan)]
        stack.enter_context(running(command, self.folder / "sites.log", [each.fileno() for each in served]))
        for each in listeners:  # a silent one goes on listening here, and nobody takes what it hears
            if each in served or broken[str(each.getsockname()[1])] == "closed":
                each.close()
            else:
                stack.callback(each.close)

    def heard(self) -> Counter[str]:
        """Count the logouts that the sites recorded and the duplicates they received."""
        return Counter(json.loads(Browser().ask(self.sites[0].url + "/heard")[2]))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def await_listening(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("the server did not start")


@contextmanager
def running(words: list[str], log: Path, descriptors: list[int] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process, ended by its own id."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *words], stdout=file, stderr=file, pass_fds=descriptors or []
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def resident_kib(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    return int(found[1]) if found else 0


def now() -> int:
    return time.time_ns() // 1000


# -- people -------------------------------------------------------------------------------------------------


def sign_in_everywhere(world: World, people: int, sites: list[Site]) -> list[Person]:
    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(lambda number: sign_in(world, number, sites), range(people)))


def sign_in(world: World, number: int, sites: list[Site]) -> Person:
    """Create codes in the database and do all else over HTTP; act for the broken sites in the database."""
    from clef_wsgi.server.records import apps, codes, sessions
    from clef_wsgi.server.records import people as people_records

    with world.database.writing() as connection:
        person = people_records.add(connection, now=now(), first_name=f"Person {number}")
        token = sessions.start(connection, person_id=person.id, passkey_id=None, now=now())
        session = sessions.find(connection, token, now=now())
        given = {}
        for site in sites:
            app = apps.get(connection, site.app_id)
            given[site.url] = app, codes.issue(connection, session=session, app=app, now=now())
    made = Person(Browser({f"clef-session-{world.port}": token}), token)
    for site in sites:
        app, code = given[site.url]
        if not site.is_healthy:
            codes.exchange(world.database, app=app, code=code, now=now())
            continue
        browser = made.at_sites[site.url] = Browser()
        _, location, _ = browser.ask(site.url + "/clef/login")
        callback = f"{site.url}/clef/callback?" + urlencode({"code": code, "state": state_of(location)})
        status, _, page = browser.ask(callback)
        assert status == 303, page
    _, _, page = made.browser.ask(world.url + "/")
    found = re.search(r'name="token" value="([^"]*)"', page)
    assert found, page
    made.token = unescape(found[1])
    return made


def state_of(location: str) -> str:
    """Clef's protocol carries the state in the redirect URL's own query, or beside it."""
    query = parse_qs(urlsplit(location).query)
    if "state" in query:
        return query["state"][0]
    return parse_qs(urlsplit(query["redirect_url"][0]).query)["state"][0]


# -- measuring ----------------------------------------------------------------------------------------------


@dataclass
class Times:
    """Durations in seconds, and counts of notifications: expected, recorded and repeated ones."""

    confirmed: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    expected: int = 0
    recorded: int = 0
    known: int = 0

    def __add__(self, other: Times) -> Times:
        return Times(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


def measure(world: World, people: int, rounds: int, pause_seconds: float) -> tuple[Times, Times]:
    """Without broken sites, and with them."""
    alone, beside = Times(), Times()
    healthy = [site for site in world.sites if site.is_healthy]
    for _ in range(rounds):
        alone += run(world, people // rounds, healthy, pause_seconds)
        beside += run(world, people // rounds, world.sites, pause_seconds)
        forget_broken(world)
    return alone, beside


def forget_broken(world: World) -> None:
    """Give up the pending deliveries of the broken sites, so that the next round starts without them."""
    from clef_wsgi.server.database.schema import deliveries

    with world.database.writing() as connection:
        pending = update(deliveries).where(deliveries.c.state == "pending")
        connection.execute(pending.values(state="given_up", done_at=now()))


def run(world: World, people: int, sites: list[Site], pause_seconds: float) -> Times:
    crowd = sign_in_everywhere(world, people, sites)
    before, began = world.heard(), now()
    refused: list[float] = []
    watchers = []
    for number, person in enumerate(crowd):
        urls = list(person.at_sites)
        chosen = {urls[(number * WATCHED + offset) % len(urls)] for offset in range(WATCHED)}
        tapped = time.monotonic()
        status, _, page = person.browser.ask(world.url + "/log-out", {"token": person.token})
        assert status == 303, page
        for url in chosen:
            watchers.append(threading.Thread(target=watch, args=(person.at_sites[url], url, tapped, refused)))
            watchers[-1].start()
        time.sleep(max(0.0, pause_seconds - (time.monotonic() - tapped)))
    for watcher in watchers:
        watcher.join()
    confirmed = await_confirmed(world, [site for site in sites if site.is_healthy], people, began)
    heard = world.heard() - before
    expected = people * sum(site.is_healthy for site in sites)
    return Times(confirmed, refused, expected, heard["recorded"], heard["known"])


def watch(browser: Browser, url: str, tapped: float, refused: list[float]) -> None:
    deadline = tapped + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        status, _, _ = browser.ask(url + "/", Sec_Fetch_Mode="cors")
        if status == 401:
            refused.append(time.monotonic() - tapped)
            return
        time.sleep(POLL_SECONDS)
    refused.append(float("inf"))


def await_confirmed(world: World, sites: list[Site], people: int, began: int) -> list[float]:
    from clef_wsgi.server.database.schema import deliveries

    healthy = deliveries.c.app_id.in_([site.app_id for site in sites])
    done = (healthy, deliveries.c.created_at >= began, deliveries.c.state == "confirmed")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with world.database.reading() as connection:
            count = connection.execute(select(func.count()).select_from(deliveries).where(*done)).scalar_one()
            if count >= people * len(sites):
                break
        time.sleep(0.2)
    with world.database.reading() as connection:
        rows = connection.execute(select(deliveries.c.created_at, deliveries.c.done_at).where(*done))
        return [(done_at - created_at) / 1_000_000 for created_at, done_at in rows]


APPROVE = """
wrk.method = "POST"
wrk.body = "token=%s"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
wrk.headers["Sec-Fetch-Site"] = "same-origin"
wrk.headers["Host"] = "%s"
wrk.headers["Cookie"] = "%s"
local number = 0
request = function()
  number = number + 1
  wrk.headers["X-Forwarded-For"] = string.format("198.18.%%d.%%d", math.floor(number / 250) %% 250, number %% 250)
  return wrk.format()
end
"""


def rates(world: World, seconds: int) -> dict[str, tuple[float, float]]:
    """Return requests per second and the 99th percentile in milliseconds: for an API call, and an approved login."""
    from clef_wsgi.server.records import apps, codes, sessions

    site = world.sites[0]
    person = sign_in(world, 0, world.sites[:1])
    with world.database.writing() as connection:
        session, app = sessions.find(connection, person.session, now=now()), apps.get(connection, site.app_id)
        code = codes.issue(connection, session=session, app=app, now=now())
    access = codes.exchange(world.database, app=app, code=code, now=now())
    query = urlencode({"app_id": site.app_id, "redirect_url": site.url + "/clef/callback", "state": "x"})
    script = world.folder / "approve.lua"
    script.write_text(APPROVE % (person.token, urlsplit(world.url).netloc, person.browser.cookie), encoding="utf-8")
    return {
        "info calls": wrk(f"{world.url}/api/v1/info?access_token={access}", seconds),
        "logins approved": wrk(f"{world.url}/iframes/approve?{query}", seconds, "-s", str(script)),
    }


def wrk(url: str, seconds: int, *more: str) -> tuple[float, float]:
    command = ["wrk", "-t1", "-c8", f"-d{seconds}s", "--latency", *more, url]
    said = subprocess.run(
        command, capture_output=True, check=True, text=True, timeout=seconds + PATIENCE_SECONDS
    ).stdout
    rate, p99 = re.search(r"Requests/sec:\s+([0-9.]+)", said), re.search(r"99%\s+([0-9.]+)(us|ms|s)", said)
    if "Non-2xx" in said or " 0 requests in " in said or rate is None or p99 is None:
        raise SystemExit(f"the server did not answer as it should:\n{said}")
    return float(rate[1]), float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]]


# -- a crowd ------------------------------------------------------------------------------------------------


@dataclass
class Peak:
    """The most that a process had of each, looked up until it ends: ``threads``, ``files``, ``kib`` of memory."""

    pid: int
    seen: Counter[str] = field(default_factory=Counter)
    ending: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.ending.wait(0.1):
            self.seen |= Counter(
                threads=len(os.listdir(f"/proc/{self.pid}/task")),
                files=len(os.listdir(f"/proc/{self.pid}/fd")),
                kib=resident_kib(self.pid),
            )


def add_people(world: World, number: int, *, sessions_each: int, app_ids: list[str]) -> list[Person]:
    """People whose logins at all apps are spread over their sessions; in each one's first session a button is ready."""
    from clef_wsgi.server import tokens
    from clef_wsgi.server.database.schema import people, sessions, site_logins

    day, secret = 24 * 3600 * 1_000_000, tokens.new_token
    made = []
    with world.database.writing() as connection:
        for _ in range(number):
            person = {"handle": secrets.token_bytes(64), "first_name": "Ann", "created_at": now()}
            person_id = connection.execute(insert(people).values(person).returning(people.c.id)).scalar_one()
            keys = [secret() for _ in range(sessions_each)]
            row = {"person_id": person_id, "created_at": now(), "seen_at": now(), "expires_at": now() + day}
            row |= {"address": "", "user_agent": ""}
            connection.execute(insert(sessions), [{**row, "token_hash": tokens.digest(key)} for key in keys])
            own = select(sessions.c.id).where(sessions.c.person_id == person_id).order_by(sessions.c.id)
            ids = connection.execute(own).scalars().all()
            row = {"person_id": person_id, "created_at": now()}
            places = [ids[each % len(ids)] for each in range(len(app_ids))]
            rows = [{**row, "app_id": app, "session_id": place} for app, place in zip(app_ids, places, strict=True)]
            connection.execute(insert(site_logins), rows)
            browser = secret()
            cookies = {f"clef-session-{world.port}": keys[0], f"clef-browser-{world.port}": browser}
            made.append(Person(Browser(cookies), keys[0], tokens.derived(browser, "form")))
    return made


def tap(world: World, person: Person) -> tuple[int, float]:
    """When, in microseconds since 1970, and the seconds to the answer."""
    at, began = now(), time.monotonic()
    status = 503
    while status == 503:  # "Please try again soon", where a tap could not write for five seconds
        status, _, page = person.browser.ask(world.url + "/log-out", {"token": person.token})
    assert status == 303, page
    return at, time.monotonic() - began


def run_crowd(world: World, number: int) -> str:
    from clef_wsgi.server.database.schema import deliveries, people, sessions
    from clef_wsgi.server.tokens import digest

    crowd = add_people(world, number, sessions_each=1, app_ids=[site.app_id for site in world.sites])
    peak = Peak(world.server.pid)
    watching = threading.Thread(target=peak.watch)
    watching.start()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        taps = list(pool.map(lambda person: tap(world, person), crowd))
    expected = number * len(world.sites)
    counted = select(func.count()).select_from(deliveries).where(deliveries.c.state == "confirmed")
    deadline = time.monotonic() + CROWD_PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with world.database.reading() as connection:
            if connection.execute(counted).scalar_one() >= expected:
                break
        time.sleep(0.5)
    peak.ending.set()
    watching.join()
    tapped = {digest(person.session): at for person, (at, _) in zip(crowd, taps, strict=True)}
    query = select(sessions.c.token_hash, deliveries.c.done_at).join(people, people.c.id == deliveries.c.person_id)
    query = query.join(sessions, sessions.c.person_id == people.c.id).where(deliveries.c.state == "confirmed")
    with world.database.reading() as connection:
        confirmed = [(row.done_at - tapped[row.token_hash]) / 1_000_000 for row in connection.execute(query)]
    seen = peak.seen
    return (
        f"{number:,} people | {quantiles([seconds for _, seconds in taps])} | {quantiles(confirmed)} "
        f"| {len(confirmed):,} of {expected:,} | {seen['threads']} | {seen['files']} | {seen['kib'] / 1024:.0f}"
    )


def run_large(world: World) -> str:
    """A closed port is the webhook of each of the thousand sites: measured is the answer to the tap alone."""
    from clef_wsgi.server.records import apps

    app_ids = []
    with world.database.writing() as connection:
        for each in range(MANY_SITES):
            url = f"http://localhost:1/{each}"
            app, _ = apps.add(connection, name=url, redirect_urls=[url], webhooks=[url], now=now(), allow_private=True)
            app_ids.append(app.id)
    taps = [
        tap(world, person)[1]
        for _ in range(5)
        for person in add_people(world, 1, sessions_each=MANY_SESSIONS, app_ids=app_ids)
    ]
    return f"1 person, {MANY_SITES:,} sites, {MANY_SESSIONS} sessions | {quantiles(taps)} | | | | | | |"


def crowds(chosen: argparse.Namespace) -> None:
    load = os.getloadavg()[0]
    print("| database | who | answer p50 s | p99 s | confirmed p50 s | p99 s | confirmed | threads | files | MiB |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with databases(chosen.postgresql, folder) as found:
            for database, where in found.items():
                (folder / database).mkdir()
                with ExitStack() as stack:
                    world = World(where, folder / database, chosen.sites, 0, stack)
                    print(f"| {database} | {run_crowd(world, chosen.crowd)} |", flush=True)
                    print(f"| {database} | {run_large(world)}", flush=True)
    print(f"\nCPython {platform.python_version()}; load average {load:.1f} before, {os.getloadavg()[0]:.1f} after.")


# -- all of it ----------------------------------------------------------------------------------------------


@contextmanager
def databases(postgresql: str | None, folder: Path) -> Iterator[dict[str, str]]:
    found = {"SQLite": str(folder / "clef.db")}
    if postgresql is None:
        yield found
        return
    import psycopg

    name = f"clef_{secrets.token_hex(6)}"
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
        try:
            yield {**found, "PostgreSQL": f"{postgresql}?options=-csearch_path%3D{name}"}
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE".encode())


def quantiles(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return f"{cuts[49]:.2f} | {cuts[98]:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=100, help="how many log out, without and with broken sites")
    parser.add_argument("--rounds", type=int, default=4, help="in so many turns")
    parser.add_argument("--sites", type=int, default=20, help="healthy ones")
    parser.add_argument("--broken", type=int, default=8, help="broken ones, in every other round")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds from one tap to the next")
    parser.add_argument("--postgresql", metavar="URL", help="such as postgresql://postgres@127.0.0.1:5432/test")
    parser.add_argument("--crowd", type=int, metavar="N", help="instead, so many people who log out at the same time")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve is not None:
        serve_sites(json.loads(chosen.serve))
        return
    if chosen.crowd is not None:
        crowds(chosen)
        return
    speeds = []
    columns = "tap to confirmed p50 s | p99 s | tap to refused p50 s | p99 s | notifications | lost | twice"
    print(f"| database | broken sites | {columns} |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with databases(chosen.postgresql, folder) as found:
            for database, where in found.items():
                (folder / database).mkdir()
                with ExitStack() as stack:
                    world = World(where, folder / database, chosen.sites, chosen.broken, stack)
                    both = measure(world, chosen.people, chosen.rounds, chosen.pause)
                    for broken, times in zip((0, chosen.broken), both, strict=True):
                        lost = times.expected - times.recorded
                        print(
                            f"| {database} | {broken} | {quantiles(times.confirmed)} "
                            f"| {quantiles(times.refused)} | {times.expected} | {lost} | {times.known} |",
                            flush=True,
                        )
                    speeds.append((database, world.idle_kib, rates(world, 3) if shutil.which("wrk") else {}))
                    speeds[-1] += (resident_kib(world.server.pid),)
    if shutil.which("wrk") is None:
        print("\nwrk is missing: no figures of what the server serves.")
    print("\n| database | memory idle MiB | after it all MiB | what | requests/s | p99 ms |")
    print("|---|---:|---:|---|---:|---:|")
    for database, idle, seen, after in speeds:
        for what, (rate, p99) in seen.items():
            print(f"| {database} | {idle / 1024:.0f} | {after / 1024:.0f} | {what} | {rate:,.0f} | {p99:.1f} |")
    print(
        f"\nCPython {platform.python_version()}; {chosen.sites} healthy sites in one process; {chosen.people} people "
        f"in {chosen.rounds} rounds of each kind, one tap every {chosen.pause} s, {WATCHED} open tabs for each."
    )


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", os.pathsep.join(sys.path[1:]))
    main()
