"""The attack on the rule of logout: a crowd at several processes of one site, while processes are killed, clocks
jump, and stores are wiped.

What is tried is the rule, as often as possible: so there is no web server between the crowd and the wrapped app.
``benchmarks/history.py`` is the long form, ``test_history.py`` the short one. The processes are ``nursery``'s.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import redis
import sqlalchemy

from support.app import BASE_URL, FakeProvider, state_of
from support.crowd import EXPECTED, Crowd
from support.databases import drop_tables, engine_at, unique_prefix, wait_until
from support.history import NEVER, Logout
from support.processes import PATIENCE_SECONDS, Answer, Wire
from support.programs import python_path

DAY = 86_400.0
TABLES = ("mark", "logout", "idempotency_key")
FARTHEST_CLOCK = DAY / 2
TROUBLES_EXPECTED = {
    (False, False): ("clocks moved", "processes killed"),
    (False, True): ("clocks moved",),
    (True, False): ("wipes", "processes killed"),
    (True, True): ("processes killed",),
}


# -- the site, from outside ---------------------------------------------------------------------------------


class SocketWire(Wire):
    """Keeps one connection to each process. A process that dies meanwhile answers with the status 0."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses
        self._connections: dict[int, Connection] = {}

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def send(self, number: int, path: str, cookies: Mapping[str, str], form: Mapping[str, str] | None = None) -> None:
        cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
        body = None if form is None else urlencode(form).encode()
        with suppress(OSError):  # which receive() finds as well
            if number not in self._connections:
                self._connections[number] = Client(self._addresses[number], family="AF_UNIX")
            self._connections[number].send((path, cookie, body))

    def receive(self, number: int) -> Answer:
        try:
            connection = self._connections[number]
            assert connection.poll(PATIENCE_SECONDS), "a process does not answer"
            answer: Answer = connection.recv()
        except (EOFError, OSError, KeyError):
            if number in self._connections:
                self._connections.pop(number).close()
            return Answer(0, None, b"", {})
        return answer


class Nursery:
    """The program that forks processes, as a context manager. It ends with its processes, or with this one."""

    def __enter__(self) -> Nursery:
        self._program = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": python_path()},
        )
        self._hear("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._program.communicate(timeout=PATIENCE_SECONDS)

    def do(self, verb: str, *arguments: Any) -> None:
        assert self._program.stdin
        print(json.dumps([verb, *arguments]), file=self._program.stdin, flush=True)
        self._hear("done")

    def _hear(self, word: str) -> None:
        assert self._program.stdout
        assert self._program.stdout.readline() == f"{word}\n", "the nursery ended"


class SocketProcesses:
    """The site's processes at Unix sockets, as a context manager.

    :param settings: the store, its mutant, where sessions are kept, and each process's clock.
    """

    def __init__(self, nursery: Nursery, directory: Path, settings: Mapping[str, Any]) -> None:
        self._nursery, self._settings = nursery, settings
        self.addresses = [str(directory / f"process-{number}") for number in range(len(settings["offsets"]))]

    def __enter__(self) -> SocketProcesses:
        for number, address in enumerate(self.addresses):
            self._nursery.do("start", address, number, self._settings)
        with closing(SocketWire(self.addresses)) as wire:
            asked_until(200, lambda: wire.ask(0, "/-/everyone", {}))  # which makes the tables
        return self

    def __exit__(self, *_: object) -> None:
        for address in self.addresses:
            self._nursery.do("forget", address)

    def replace(self, number: int) -> None:
        """Kill a process, and start another in its place."""
        self._nursery.do("kill", self.addresses[number])
        self._nursery.do("start", self.addresses[number], number, self._settings)


class SocketParty:
    """The provider of these processes: a login's code is the person's name."""

    def __init__(self) -> None:
        self._provider = FakeProvider()

    def approve(self, login_url: str, person: str) -> str:
        return f"{BASE_URL}/clef/callback?" + urlencode({"code": person, "state": state_of(login_url)})

    def logout_token(self, person: str) -> str:
        return self._provider.logout_token(person)

    def user_id(self, person: str) -> str:
        return person


# -- what happens to it -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """One attack. ``url`` is as ``gunicorn_workers.make_store`` takes it, ``file:`` without a path.

    With ``wipes`` the store loses its records, and all clocks are right: a store that is born again takes its
    time from a clock. Without, clocks are apart and jump.
    """

    name: str
    url: str
    wipes: bool = False
    max_staleness: float | None = None
    mutant: str | None = None
    processes: int = 3
    threads: int = 12
    seed: int = 0
    trouble_every_seconds: float = 0.4

    @property
    def is_memory(self) -> bool:
        return self.url == "memory:"


@dataclass
class Outcome:
    """The judge's findings and the history behind them. ``served`` and ``ended`` are the two kinds of error."""

    plan: Plan
    operations: int
    served: list[str]
    ended: list[str]
    odd: list[str]
    missing: list[str]
    seconds: float
    counts: Counter[str]
    story: str

    @property
    def faults(self) -> list[str]:
        return [*self.served, *self.ended, *self.odd]


def attack(nursery: Nursery, plan: Plan, *, seconds: float, operations: float = NEVER) -> Outcome:
    """Go on until the time is over or enough was done, then judge."""
    began = time.monotonic()
    with ExitStack() as at_end:
        directory = Path(at_end.enter_context(TemporaryDirectory(prefix="clef-", dir=memory_directory())))
        store = at_end.enter_context(Records(plan, directory))
        settings = {
            "store": store.settings,
            "mutant": plan.mutant,
            "sessions": str(directory / "sessions"),
            "offsets": offsets(plan),
        }
        site = at_end.enter_context(SocketProcesses(nursery, directory, settings))
        crowd = Crowd(
            SocketParty(),
            lambda: SocketWire(site.addresses),
            places=len(site.addresses),
            seed=plan.seed,
            max_staleness=plan.max_staleness or 0.0,
            expected=[*EXPECTED, *TROUBLES_EXPECTED[plan.wipes, plan.is_memory]],
        )
        with Troubles(plan, site, store, crowd):
            crowd.run(plan.threads, seconds=seconds, operations=operations)
    return Outcome(
        plan,
        crowd.operations,
        list(crowd.history.served_after_logout()),
        list(crowd.history.ended_without_logout()),
        crowd.odd,
        crowd.missing,
        time.monotonic() - began,
        crowd.counts,
        crowd.story,
    )


def memory_directory() -> str | None:
    """Return a directory in memory for session files, on Linux."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def offsets(plan: Plan) -> list[float]:
    """The processes' clocks, in seconds from the right time."""
    luck = random.Random(plan.seed)
    count = 1 if plan.is_memory else plan.processes
    return [0.0 if plan.wipes else jump(luck) for _ in range(count)]


def jump(luck: random.Random) -> float:
    """Return a jump forwards or backwards, from 0.1 ms to half a day, small ones as likely as large ones."""
    return float(luck.choice([-1.0, 1.0]) * FARTHEST_CLOCK ** luck.random() * 10 ** -luck.uniform(0.0, 4.0))


class Records:
    """A context manager for a store's records of its own, removed at the end."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.path = directory / "logouts.db"
        kept_in_file = {"file:": f"file:{self.path}", "sqlite:": f"sqlite:///{self.path}"}
        self.url, self.prefix = kept_in_file.get(plan.url, plan.url), unique_prefix()
        self.settings = {"url": self.url, "prefix": self.prefix, "max_staleness": plan.max_staleness}
        self._is_redis = self.url.startswith("redis:")

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_redis:
            self._forget_key()
        elif self.url.startswith(("postgresql:", "mariadb:")):
            drop_tables(self.url, self.prefix)

    def wipe(self, luck: random.Random) -> None:
        if self.url.startswith("file:"):
            self.path.unlink(missing_ok=True)
        elif self._is_redis:
            self._forget_key()
        else:
            how = luck.choice(["DELETE FROM", "DROP TABLE IF EXISTS"])
            self._execute(*[f"{how} {self.prefix}{name}" for name in TABLES])

    def set_clock_back(self, seconds: float) -> None:
        """For a store that takes its time from its server: its greatest stamp is that far ahead, from now on."""
        micros = int(abs(seconds) * 1_000_000)
        if self._is_redis:
            with redis.Redis.from_url(self.url) as client:
                client.zincrby(f"{self.prefix}logouts", micros, "m")
        elif not self.url.startswith(("file:", "memory:")):
            self._execute(f"UPDATE {self.prefix}mark SET stamp = stamp + {micros}")

    def _execute(self, *statements: str) -> None:
        """In one transaction, again and again while others write all the time, or make the tables just now."""
        wait_until(lambda: self._is_executed(statements), "the database is never free")

    def _is_executed(self, statements: Sequence[str]) -> bool:
        with suppress(sqlalchemy.exc.DBAPIError), engine_at(self.url).begin() as connection:
            for statement in statements:
                connection.execute(sqlalchemy.text(statement))
            return True
        return False

    def _forget_key(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.delete(f"{self.prefix}logouts")


class Troubles:
    """A thread that kills processes, moves clocks, prunes, ends everybody and wipes the store, while the block runs."""

    def __init__(self, plan: Plan, site: SocketProcesses, store: Records, crowd: Crowd) -> None:
        self._plan, self._site, self._store, self._crowd = plan, site, store, crowd
        self._luck = random.Random(plan.seed + 1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._error: Exception | None = None

    def __enter__(self) -> Troubles:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with closing(SocketWire(self._site.addresses)) as wire:
                while not self._over.wait(self._plan.trouble_every_seconds):
                    self._make_trouble(wire)
        except Exception as error:  # noqa: BLE001 - raised where the block ends
            self._error = error

    def _make_trouble(self, wire: SocketWire) -> None:
        troubles: dict[str, tuple[float, Callable[[SocketWire], None]]] = {
            "processes killed": (3.0, self._kill),
            "everyone logged out": (0.5, self._end_everyone),
            "prunes": (1.0, self._prune),
        }
        if self._plan.wipes:
            troubles["wipes"] = (1.5, self._wipe)
        else:
            troubles["clocks moved"] = (5.0, self._move_clock)
            if self._plan.is_memory:
                del troubles["processes killed"]
        [name] = self._luck.choices(list(troubles), [weight for weight, _ in troubles.values()])
        troubles[name][1](wire)
        self._crowd.tell(name)

    def _kill(self, wire: SocketWire) -> None:
        """``kill -9``, and a new process in its place. What a store in memory held is gone with it."""
        with self._lost_records() if self._plan.is_memory else ExitStack():
            number = self._luck.randrange(len(self._site.addresses))
            self._site.replace(number)

    def _wipe(self, wire: SocketWire) -> None:
        if self._plan.is_memory:
            self._kill(wire)
            return
        with self._lost_records():
            self._store.wipe(self._luck)

    @contextmanager
    def _lost_records(self) -> Iterator[None]:
        """Logins that a store forgot are ended, and their notifications count again."""
        self._crowd.lost_notifications += 1
        began = time.monotonic()
        yield
        self._crowd.history.logouts.append(Logout(began, time.monotonic(), everyone=True))

    def _end_everyone(self, wire: SocketWire) -> None:
        began = time.monotonic()
        place = asked_until(200, lambda: wire.ask(self._luck.randrange(len(self._site.addresses)), "/-/everyone", {}))
        self._crowd.history.logouts.append(Logout(began, time.monotonic(), everyone=True, place=place))

    def _prune(self, wire: SocketWire) -> None:
        """By an age that no clock of these can make of a living login."""
        wire.ask(self._luck.randrange(len(self._site.addresses)), f"/-/prune?age={3 * DAY}", {})

    def _move_clock(self, wire: SocketWire) -> None:
        number, seconds = self._luck.randrange(len(self._site.addresses)), jump(self._luck)
        wire.ask(number, f"/-/clock?offset={seconds}", {})
        self._store.set_clock_back(seconds)


def asked_until(status: int, call: Callable[[], Answer]) -> int | None:
    """Repeat the request until it has that status; return the place that gave it."""
    while (answer := call()).status != status:
        pass
    return answer.place
