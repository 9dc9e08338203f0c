"""Measure what a request costs: the bare app, stock Beaker, this package, and its neighbours, in one process.

    python benchmarks/request_cost.py [--rounds 61] [--requests 200] [--only WORD]

Each request carries what a browser sends: the usual headers and nine cookies of 40 characters. A second table has the
same with the one cookie that matters, or with none. Measured is the processor time of this thread, so that what else
runs matters less; and every round runs every case once, in rotating order, so that it disturbs all of them alike.

Printed are medians in microseconds and, since machines differ, medians of the differences and ratios within a round.
The tables of docs/performance.md are this output.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from beaker.middleware import SessionMiddleware
from peers import App, peers
from werkzeug.datastructures import Headers
from werkzeug.test import Client, EnvironBuilder

from clef_wsgi import ClefMiddleware, LogoutStore, MemoryLogoutStore, SQLiteLogoutStore, session_options
from clef_wsgi.testing import FakeProvider, sign_in

BASE_URL = "http://localhost"
SECRET = "a secret of a benchmark, 32 bytes or more"
ANN = {"id": "ann", "email": "ann@example.org", "first_name": "Ann"}
PACKAGES = ("clef_wsgi", "Beaker", "Flask", "Flask-Login", "repoze.who", "Flask-SQLAlchemy", "SQLAlchemy", "Django")
OURS_ALONE = ("session_class", "max_login_age", "state_lifetime")
"""The options that stock Beaker does not have."""
OTHER_COOKIES = tuple(
    f"{name}={character * 40}"
    for name, character in zip(
        ("_ga", "_gid", "_fbp", "theme", "csrftoken", "consent", "locale", "visitor"), "abcdefgh", strict=True
    )
)
HEADERS = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-US,en;q=0.5",
    "Connection": "keep-alive",
    "Priority": "u=0, i",
    "Referer": BASE_URL + "/",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-User": "?1",
    "Upgrade-Insecure-Requests": "1",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
}


def bare(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


def no_op(environ: dict[str, Any], start_response: Any) -> Any:
    return bare(environ, start_response)


def reads_session(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    assert environ["beaker.session"].get("_creation_time")
    return bare(environ, start_response)


def page_of_ann(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer as ``bare`` does, to Ann alone."""
    assert environ["clef.user"]
    return bare(environ, start_response)


# -- the cases ----------------------------------------------------------------------------------------------


class Case:
    """An app and the request to send it, which must be answered with 200.

    :param cookie: that of somebody signed in.
    :param base: the name of the case to compare with.
    """

    def __init__(
        self, name: str, app: App, *, path: str = "/page", cookie: str = "", base: str | None = None, others: bool
    ) -> None:
        self.name, self.app, self.base = name, app, base
        cookies = [*OTHER_COOKIES[:4], cookie, *OTHER_COOKIES[4:]] if others else [cookie]
        self._cookies = [each for each in cookies if each]
        self._environ = EnvironBuilder(path=path, base_url=BASE_URL, headers=Headers(HEADERS)).get_environ()
        statuses: list[str] = []
        list(app(self._environs(1)[0], lambda status, *_: statuses.append(status)))
        assert statuses == ["200 OK"], f"{name}: {statuses}"

    def run(self, requests: int) -> float:
        """Return the microseconds of a request. Some are sent first: what ran before has left its own in the caches."""
        for environ in self._environs(requests // 4):
            list(self.app(environ, _start_response))
        app, environs = self.app, self._environs(requests)
        began = time.thread_time_ns()
        while environs:  # as in a server, a request that is answered is let go
            for _block in app(environs.pop(), _start_response):
                pass
        return (time.thread_time_ns() - began) / requests / 1000

    def _environs(self, count: int) -> list[dict[str, Any]]:
        """Return requests as a server makes them: each has a dict and a Cookie header of its own."""
        environs = [dict(self._environ) for _ in range(count)]
        for environ in environs if self._cookies else ():
            environ["HTTP_COOKIE"] = "; ".join(self._cookies)
        return environs


def _start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
    return None


def our_cases(directory: Path, *, others: bool) -> list[Case]:
    """Return this package and what it stands on. ``others``: eight cookies of others are sent along."""
    options = session_options(base_url=BASE_URL, secret=SECRET)
    stock = _stock(options)
    anonymous = _wrapped(bare, MemoryLogoutStore(), options)
    untouched = "Beaker, untouched"
    return [
        Case("bare app", bare, others=others),
        Case("no-op wrapper", no_op, others=others, base="bare app"),
        Case(untouched, SessionMiddleware(bare, stock), others=others),
        Case("ours, ignored path", anonymous, path="/static/site.css", others=others, base=untouched),
        Case("ours, anonymous", anonymous, others=others, base=untouched),
        *_signed_in_cases("memory session", options, directory / "of-memory.db", others=others),
        *_signed_in_cases(
            "file session",
            session_options(base_url=BASE_URL, secret=SECRET, data_dir=str(directory / "sessions")),
            directory / "of-files.db",
            others=others,
        ),
    ]


def _signed_in_cases(kind: str, options: dict[str, Any], database: Path, *, others: bool) -> list[Case]:
    """Return stock Beaker's read of a session, and ours of the very same."""
    stores: dict[str, LogoutStore] = {"SQLite": SQLiteLogoutStore(database), "memory": MemoryLogoutStore()}
    apps = {name: _wrapped(page_of_ann, store, options) for name, store in stores.items()}
    cookie = ""
    for app in apps.values():
        cookie = _cookie_of_ann(app, options["session.key"])
    # Stamps of different stores: the login that the memory store gave is younger than all that SQLite has.
    read = f"Beaker, {kind} read"
    return [
        Case(read, SessionMiddleware(reads_session, _stock(options)), cookie=cookie, others=others),
        *(
            Case(f"ours, {kind}, {name} store", apps[name], cookie=cookie, base=read, others=others)
            for name in ("memory", "SQLite")
        ),
    ]


def _stock(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name.removeprefix("session.") not in OURS_ALONE}


def _wrapped(app: App, store: LogoutStore, options: dict[str, Any]) -> App:
    inner = ClefMiddleware(
        app,
        provider=FakeProvider(),
        logout_store=store,
        base_url=BASE_URL,
        protect=["/account", "/admin"],
        ignore=["/static"],
    )
    outer: App = SessionMiddleware(inner, options)
    return outer


def _cookie_of_ann(app: App, key: str) -> str:
    client = Client(app)
    sign_in(client, ANN)
    cookie = client.get_cookie(key)
    assert cookie is not None
    return f"{key}={cookie.value}"


def peer_cases(directory: Path, *, others: bool) -> list[Case]:
    return [
        Case(peer.name, peer.app, cookie=peer.cookie, base=peer.base, others=others)
        for peer in peers(bare, secret=SECRET, directory=directory)
    ]


# -- measuring ----------------------------------------------------------------------------------------------


def measure(cases: list[Case], rounds: int, requests: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {case.name: [] for case in cases}
    for round_number in range(rounds):
        turn = round_number % len(cases)
        for case in cases[turn:] + cases[:turn]:
            times[case.name].append(case.run(requests))
    return times


def print_table(cases: list[Case], times: dict[str, list[float]]) -> None:
    print("| case | µs a request | adds µs | ratio | to |\n|---|---:|---:|---:|---|")
    for case in cases:
        values = times[case.name]
        row = f"| {case.name} | {statistics.median(values):.2f} |"
        if case.base in times:
            base = times[case.base]
            added = statistics.median(v - b for v, b in zip(values, base, strict=True))
            ratio = statistics.median(v / b for v, b in zip(values, base, strict=True))
            print(f"{row} {added:.2f} | {ratio:.2f} | {case.base} |")
        else:
            print(f"{row} | | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=61)
    parser.add_argument("--requests", type=int, default=200, help="of each case in a round")
    parser.add_argument("--only", default="", help="a word in the names of the cases to run")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for others, title in ((True, "Nine cookies"), (False, "One cookie, or none")):
            cases = our_cases(directory, others=others) + (peer_cases(directory, others=others) if others else [])
            wanted = {case.base for case in cases if chosen.only in case.name}
            cases = [case for case in cases if chosen.only in case.name or case.name in wanted]
            load = os.getloadavg()[0]
            measure(cases, 3, chosen.requests)  # warm up
            times = measure(cases, chosen.rounds, chosen.requests)
            print(f"\n{title}; load average {load:.1f} before, {os.getloadavg()[0]:.1f} after:\n")
            print_table(cases, times)
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    print(f"\nCPython {platform.python_version()}, {versions}; {chosen.rounds} rounds of {chosen.requests} requests.")


if __name__ == "__main__":
    main()
