"""Processes of one site that are made to be killed: they answer at Unix sockets, without a web server between them
and the wrapped app, and are forked by a nursery, so that a new one costs next to nothing.

Run as a program, this file is the nursery. It takes a command a line, and says when it is done.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import parse_qs

import clef_wsgi
from clef_wsgi import EVERYONE, LogoutStore, StoreUnavailable
from support.app import BASE_URL, SAME_ORIGIN, SECRET, FakeProvider, ask
from support.gunicorn_workers import make_store
from support.processes import Answer, cookies_of, whoami

LONGEST_LOGIN_SECONDS = 2 * 86_400.0


class SkipsLookUps:
    """A store with a fault: two look-ups in a hundred are not made."""

    def __init__(self, store: LogoutStore) -> None:
        self._store = store
        self.tick, self.record_logout, self.prune = store.tick, store.record_logout, store.prune

    def newest_logout(self, keys: Iterable[str]) -> int:
        return 0 if random.random() < 0.02 else self._store.newest_logout(keys)


class TicksLate:
    """A store with a fault: the stamp of a login is 30 ms too old."""

    def __init__(self, store: LogoutStore) -> None:
        self._store = store
        self.newest_logout, self.record_logout, self.prune = store.newest_logout, store.record_logout, store.prune

    def tick(self) -> int:
        return self._store.tick() - 30_000


MUTANTS: Mapping[str, Callable[[LogoutStore], LogoutStore]] = {"skips look-ups": SkipsLookUps, "ticks late": TicksLate}


class Process:
    """A wrapped app with a store and a clock of its own, which an administrator can reach."""

    def __init__(self, settings: Mapping[str, Any], number: int) -> None:
        self._offset = float(settings["offsets"][number])
        store = make_store(**settings["store"], clock=self._clock)
        self._store = MUTANTS[settings["mutant"]](store) if settings["mutant"] else store
        self._is_one_of_several = len(settings["offsets"]) > 1
        self._app = clef_wsgi.wrap(
            whoami,
            provider=FakeProvider(),
            logout_store=self._store,
            base_url=BASE_URL,
            session={"secret": SECRET, "type": "file", "data_dir": settings["sessions"]},
            clock=self._clock,
            state_lifetime=LONGEST_LOGIN_SECONDS,
        )

    def answer(self, path: str, cookie: str, body: bytes | None) -> Answer:
        path, _, query = path.partition("?")
        if path.startswith("/-/"):
            return self._administer(path, {name: values[0] for name, values in parse_qs(query).items()})
        more = {"HTTP_COOKIE": cookie, "wsgi.multiprocess": self._is_one_of_several, "HTTP_ACCEPT": "text/html"}
        if body is not None:
            more["HTTP_SEC_FETCH_SITE"] = SAME_ORIGIN["Sec-Fetch-Site"]
        found = ask(self._app, path, method="GET" if body is None else "POST", query=query, body=body or b"", **more)
        cookies = cookies_of(value for name, value in found.headers if name.lower() == "set-cookie")
        return Answer(found.status, found.header("Location"), found.body, cookies, os.getpid())

    def _administer(self, path: str, query: Mapping[str, str]) -> Answer:
        try:
            if path == "/-/clock":
                self._offset = float(query["offset"])
            elif path == "/-/prune":
                self._store.prune(float(query["age"]))
            else:
                self._store.record_logout([EVERYONE])
        except StoreUnavailable:
            return Answer(503, None, b"", {}, os.getpid())
        return Answer(200, None, b"", {}, os.getpid())

    def _clock(self) -> float:
        return time.time() + self._offset

    def serve(self, listener: socket.socket) -> None:
        while True:
            accepted, _ = listener.accept()
            threading.Thread(target=self._serve, args=(Connection(accepted.detach()),), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with suppress(EOFError, OSError):
            while True:
                connection.send(self.answer(*connection.recv()))


class Nursery:
    """Keeps the sockets, and forks and kills the processes behind them. It has no thread."""

    def __init__(self) -> None:
        self._listeners: dict[str, socket.socket] = {}
        self._pids: dict[str, int] = {}

    def start(self, address: str, number: int, settings: Mapping[str, Any]) -> None:
        """Start a process at the address; requests wait at the socket until it takes them."""
        if address not in self._listeners:
            self._listeners[address] = listening_at(address)
        pid = os.fork()
        if pid == 0:
            threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
            Process(settings, number).serve(self._listeners[address])
        self._pids[address] = pid

    def kill(self, address: str) -> None:
        """SIGKILL: the process gets no chance to write anything more."""
        os.kill(self._pids[address], signal.SIGKILL)
        os.waitpid(self._pids.pop(address), 0)

    def forget(self, address: str) -> None:
        self.kill(address)
        self._listeners.pop(address).close()


def listening_at(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(128)
    return listener


def end_with(parent: int) -> None:
    while os.getppid() == parent:
        threading.Event().wait(1.0)
    os._exit(1)


def main() -> None:
    logging.getLogger("clef_wsgi").setLevel(logging.CRITICAL)  # what goes wrong, the crowd counts
    nursery = Nursery()
    print("ready", flush=True)
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        getattr(nursery, verb)(*arguments)
        print("done", flush=True)


if __name__ == "__main__":
    main()
