"""The attack on the rule of logout, in its long form: every store, alone and behind the cache.

    python benchmarks/history.py [--operations 500000] [--seconds 900] [--seed 0] [--store NAME ...] [--mutant NAME]
                                 [--postgresql URL] [--mariadb URL] [--redis URL]

Several processes of one site, and a crowd that signs in, logs out and looks, for each store twice: with clocks that
are apart and jump, and with the store wiped at times. In both, processes are killed and restarted, notifications are
repeated, old records pruned, and everybody is logged out at times. Then a judge looks for what no order of the events
could explain:

    R1: somebody was served after a logout that was acknowledged
    R2: a login was refused or ended without a logout that overlaps with it or follows it

Operations and seconds are for all runs together: each has its part of the seconds, and of the operations that are left,
and ends when one of them is used up. The exit code is 1 where anything was found. ``--mutant`` gives the stores a
fault, which has to be found. Needs the checkout with its tests, ``pip install ".[dev]"``, and the servers: the
databases get tables of their own, and Redis a key, which are removed at the end. A server that does not answer is left
out, and named.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.attack import Nursery, Outcome, Plan, attack
from support.databases import MARIADB_URL, PORTS, POSTGRESQL_URL, REDIS_URL
from support.nursery import MUTANTS
from support.ports import answers

MAX_STALENESS = 0.5
STORES = {
    "SQLAlchemy, PostgreSQL": "postgresql",
    "SQLAlchemy, MariaDB": "mariadb",
    "SQLAlchemy, SQLite": "sqlite:",
    "SQLite": "file:",
    "Redis": "redis",
    "memory": "memory:",
}
"""Those that write slowly come first: what they leave over is done by the others."""


def plans(chosen: argparse.Namespace) -> Iterator[Plan]:
    for name in chosen.store:
        url = getattr(chosen, STORES[name], STORES[name])
        if "://" in url and not answers(urlsplit(url).port or PORTS[STORES[name]]):
            print(f"{name} does not answer, and is left out.\n")
            continue
        for max_staleness in (None,) if name == "memory" else (None, MAX_STALENESS):
            for wipes in (False, True):
                yield Plan(
                    name,
                    url,
                    wipes=wipes,
                    max_staleness=max_staleness,
                    mutant=chosen.mutant,
                    processes=chosen.processes,
                    threads=chosen.threads,
                    seed=chosen.seed,
                )


def row(outcome: Outcome) -> str:
    plan = outcome.plan
    name = plan.name if plan.max_staleness is None else "… cached"
    cells = [name, "wipes" if plan.wipes else "clocks", f"{outcome.operations:,}", f"{outcome.seconds:.0f}"]
    cells += [str(outcome.counts[what]) for what in ("processes killed", "wipes", "clocks moved")]
    return f"| {' | '.join(cells)} | {len(outcome.served)} | {len(outcome.ended)} | {len(outcome.odd)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=500_000)
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=12)
    parser.add_argument("--store", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--mutant", choices=MUTANTS)
    for name, url in (("postgresql", POSTGRESQL_URL), ("mariadb", MARIADB_URL), ("redis", REDIS_URL)):
        parser.add_argument(f"--{name}", default=url)
    chosen = parser.parse_args()
    runs = list(plans(chosen))
    print("| store | what happens | operations | s | killed | wiped | clocks moved | R1 | R2 | mixed up |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    outcomes: list[Outcome] = []
    with Nursery() as nursery:
        for number, plan in enumerate(runs):
            left = chosen.operations - sum(outcome.operations for outcome in outcomes)
            share = left / (len(runs) - number)
            outcomes.append(attack(nursery, plan, seconds=chosen.seconds / len(runs), operations=share))
            print(row(outcomes[-1]), flush=True)
            for line in (*outcomes[-1].faults[:5], outcomes[-1].story):
                print(f"    {plan.name}: {line}", file=sys.stderr, flush=True)
    total = sum(outcome.operations for outcome in outcomes)
    served, ended, odd = (
        sum(len(found) for found in lists)
        for lists in zip(*[(outcome.served, outcome.ended, outcome.odd) for outcome in outcomes], strict=True)
    )
    print(
        f"\n{total:,} operations, seed {chosen.seed}, CPython {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.1f} at the end."
    )
    print(f"R1, served after an acknowledged logout: {served}")
    print(f"R2, refused or ended without a logout: {ended}")
    print(f"Served as somebody else: {odd}")
    return int(served + ended + odd > 0)


if __name__ == "__main__":
    sys.exit(main())
