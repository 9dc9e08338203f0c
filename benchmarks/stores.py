"""Measure the cost of each logout store: look-ups and records, alone and behind the cache.

    python benchmarks/stores.py [--rounds 7] [--records 100000] [--redis URL] [--postgresql URL] [--mariadb URL]

Every store is filled with as many records first. A look-up is that of one login with three keys, each time
another one; "again" is one of a few logins once more, with no record in between. A record is one logout with one
key. Behind the cache, every look-up is a hit. One thread asks, and the servers run on the same machine. Look-ups
that wait for no server are measured in processor time, so that what else runs matters less. Every round runs every
case once, in rotating order; printed are medians, and medians of the ratios within a round. A server that does not
answer is left out, and named.

The databases get tables of their own, and Redis a key, which are removed at the end. The table of
docs/performance.md is this output.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import redis
import sqlalchemy

from clef_wsgi import (
    CachedLogoutStore,
    LogoutStore,
    MemoryLogoutStore,
    RedisLogoutStore,
    SQLAlchemyLogoutStore,
    SQLiteLogoutStore,
    StoreUnavailable,
)

PACKAGES = ("clef_wsgi", "SQLAlchemy", "psycopg", "PyMySQL", "redis")
PREFIX = f"clef_benchmark_{os.getpid()}_"
CALM = {"connect_timeout_seconds": 5.0, "read_timeout_seconds": 30.0}
HITS = 200
"""Number of distinct logins that are looked up in the cache, again and again."""


class Case:
    """A store, and how often it is asked in one round."""

    def __init__(self, name: str, store: LogoutStore, look_ups: int, records: int, *, waits: bool = False) -> None:
        self.name = name
        self._now = time.perf_counter_ns if waits else time.thread_time_ns
        self.store = store
        self._look_ups, self._records = look_ups, records
        self._numbers = itertools.count(1)

    def look_up(self, keys: list[list[str]]) -> float:
        """Return the time of one, in microseconds."""
        ask, wanted = self.store.newest_logout, keys[: self._look_ups]
        began = self._now()
        for each in wanted:
            ask(each)
        return (self._now() - began) / len(wanted) / 1000

    def record(self) -> float:
        """Return the time of one, in microseconds."""
        store = self.store
        began = time.perf_counter_ns()
        for number in itertools.islice(self._numbers, self._records):
            store.record_logout([f"person {number}"], idempotency_key=f"notification {number}")
        return (time.perf_counter_ns() - began) / self._records / 1000


def login_keys(count: int, records: int) -> list[list[str]]:
    """The keys of so many logins: each person has a logout among the records, each login and session has none."""
    choice = random.Random(20_170_606)
    return [
        [f"login:{number:032x}", f'["clef", "app", "{choice.randrange(records)}"]', f"session {number}"]
        for number in range(count)
    ]


def fill(store: LogoutStore, records: int) -> None:
    for start in range(0, records, 1000):
        store.record_logout([f'["clef", "app", "{number}"]' for number in range(start, min(start + 1000, records))])


def cases(chosen: argparse.Namespace, directory: Path, at_end: ExitStack) -> Iterator[tuple[Case, Case]]:
    """Each store alone, and the same behind the cache."""
    makes: dict[str, tuple[Callable[[], Any], int, int]] = {
        "memory": (MemoryLogoutStore, 20_000, 5000),
        "SQLite": (lambda: SQLiteLogoutStore(directory / "own.db"), 5000, 100),
        "SQLAlchemy, SQLite": (lambda: sql_store(f"sqlite:///{directory}/other.db", at_end), 500, 100),
        "SQLAlchemy, PostgreSQL": (lambda: sql_store(chosen.postgresql, at_end), 500, 100),
        "SQLAlchemy, MariaDB": (lambda: sql_store(chosen.mariadb, at_end), 500, 100),
        "Redis": (lambda: redis_store(chosen.redis, at_end), 1000, 200),
    }
    for name, (make, look_ups, records) in makes.items():
        try:
            store = make()
            fill(store, chosen.records)
        except StoreUnavailable:
            print(f"{name} does not answer, and is left out.\n")
            continue
        alone = Case(name, store, look_ups, records, waits=name not in ("memory", "SQLite", "SQLAlchemy, SQLite"))
        yield alone, Case("… cached", CachedLogoutStore(store, 86_400), 20_000, 1)


def sql_store(url: str, at_end: ExitStack) -> SQLAlchemyLogoutStore:
    store = at_end.enter_context(closing(SQLAlchemyLogoutStore(url, table_prefix=PREFIX, **CALM)))
    store.tick()
    at_end.callback(drop_tables, store)
    return store


def drop_tables(store: SQLAlchemyLogoutStore) -> None:
    with store.engine.begin() as connection:
        for table in ("mark", "logout", "idempotency_key"):
            connection.execute(sqlalchemy.text(f"DROP TABLE {PREFIX}{table}"))


def redis_store(url: str, at_end: ExitStack) -> RedisLogoutStore:
    at_end.callback(drop_key, url)
    return at_end.enter_context(closing(RedisLogoutStore(url, prefix=PREFIX, **CALM)))


def drop_key(url: str) -> None:
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        client.delete(f"{PREFIX}logouts")


# -- measuring ------------------------------------------------------------------------------------------------

Times = dict[str, list[float]]


def measure(pairs: list[tuple[Case, Case]], rounds: int, records: int) -> tuple[Times, Times, Times, Times]:
    """Look-ups alone, the same again, look-ups cached, records: microseconds in each round."""
    alone, again, cached, recorded = ({case.name: [] for case, _ in pairs} for _ in range(4))
    fresh, known = login_keys(20_000, records), login_keys(HITS, records) * (20_000 // HITS)
    for round_number in range(rounds):
        turn = round_number % len(pairs)
        for case, behind in pairs[turn:] + pairs[:turn]:
            recorded[case.name].append(case.record())
            alone[case.name].append(case.look_up(fresh))
            case.look_up(known[:HITS])
            again[case.name].append(case.look_up(known))
            behind.look_up(known)  # into memory
            cached[case.name].append(behind.look_up(known))
    return alone, again, cached, recorded


def print_table(alone: Times, again: Times, cached: Times, recorded: Times) -> None:
    print("| store | look-up µs | look-ups/s | again µs | cached µs | ratio | record µs | records/s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, values in alone.items():
        look_up, once_more, hit, record = (statistics.median(times[name]) for times in (alone, again, cached, recorded))
        ratio = statistics.median(v / c for v, c in zip(values, cached[name], strict=True))
        print(
            f"| {name} | {look_up:.1f} | {1e6 / look_up:,.0f} | {once_more:.1f} | {hit:.2f} | {ratio:,.0f} | "
            f"{record:,.0f} | {1e6 / record:,.0f} |"
        )


def server_versions(chosen: argparse.Namespace, pairs: list[tuple[Case, Case]]) -> Iterator[str]:
    yield f"SQLite {sqlite3.sqlite_version}"
    for case, _ in pairs:
        if isinstance(case.store, SQLAlchemyLogoutStore) and "SQLite" not in case.name:
            with case.store.engine.connect() as connection:
                text = str(connection.execute(sqlalchemy.text("SELECT version()")).scalar_one())
            yield text.split(" (")[0] if text.startswith("PostgreSQL") else f"MariaDB {text.split('-')[0]}"
        elif isinstance(case.store, RedisLogoutStore):
            with redis.Redis.from_url(chosen.redis) as client:
                yield f"Redis {client.info('server')['redis_version']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--postgresql", default="postgresql://postgres@127.0.0.1/test")
    parser.add_argument("--mariadb", default="mariadb://root@127.0.0.1/test")
    chosen = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name, ExitStack() as at_end:
        pairs = list(cases(chosen, Path(name), at_end))
        measure(pairs, 1, chosen.records)  # warm up
        print_table(*measure(pairs, chosen.rounds, chosen.records))
        versions = [f"{package} {importlib.metadata.version(package)}" for package in PACKAGES]
        versions += server_versions(chosen, pairs)
    print(f"\nCPython {platform.python_version()}, {', '.join(versions)}; {chosen.records:,} records, ", end="")
    print(f"{chosen.rounds} rounds; load average {load:.1f} before.")


if __name__ == "__main__":
    main()
