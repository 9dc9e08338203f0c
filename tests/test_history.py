"""The rule of logout under attack, in its short form; and the judge, who has to find what is wrong.

The long form is ``benchmarks/history.py``. docs/tests.md says what it has seen.
"""

from __future__ import annotations

import dataclasses
import os
import random
import time
from collections.abc import Iterator

import pytest
from support.attack import Nursery, Outcome, Plan, attack
from support.cases import each
from support.databases import MARIADB_URL, POSTGRESQL_URL, REDIS_URL, require_at
from support.history import NEVER, Check, History, Login, Logout, Refusal

SECONDS = float(os.environ.get("CLEF_SOAK_SECONDS", "0.6"))
PATIENCE_SECONDS = 60.0
PLANS = [
    Plan("memory", "memory:"),
    Plan("SQLite", "file:"),
    Plan("SQLAlchemy on SQLite", "sqlite:"),
    *(
        pytest.param(Plan(name, url), marks=pytest.mark.services)
        for name, url in (
            ("SQLAlchemy on PostgreSQL", POSTGRESQL_URL),
            ("SQLAlchemy on MariaDB", MARIADB_URL),
            ("Redis", REDIS_URL),
        )
    ),
]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as running:
        yield running


def played(nursery: Nursery, plan: Plan, seconds: float = SECONDS) -> Outcome:
    if "127.0.0.1" in plan.url:
        require_at(plan.url)
    seed = int(os.environ.get("CLEF_SOAK_SEED", random.randrange(10**6)))
    short = dataclasses.replace(plan, seed=seed, processes=2, threads=8, trouble_every_seconds=0.1)
    outcome = attack(nursery, short, seconds=seconds)
    print(f"seed {seed}, {outcome.operations} operations: {outcome.story}")
    return outcome


@pytest.mark.process
@pytest.mark.parametrize("wipes", [False, True], ids=["clocks", "wipes"])
@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_row_51_the_rule_holds_under_attack(nursery: Nursery, plan: Plan, wipes: bool) -> None:
    """Processes are killed while clocks are apart and jump, or the store is wiped: nobody is served after a logout
    that was acknowledged, and no login is refused or ended without one (rows 47 to 51)."""
    outcome = played(nursery, dataclasses.replace(plan, wipes=wipes))
    assert outcome.faults == []
    assert outcome.missing == []


@pytest.mark.process
@pytest.mark.parametrize("wipes", [False, True], ids=["clocks", "wipes"])
def test_row_51_the_rule_holds_behind_the_cache(nursery: Nursery, wipes: bool) -> None:
    """A logout at another process is seen within ``max_staleness``, one at the same process at once."""
    outcome = played(nursery, Plan("cached SQLite", "file:", wipes=wipes, max_staleness=0.3))
    assert outcome.faults == []
    assert outcome.missing == []


@pytest.mark.process
@pytest.mark.parametrize(("mutant", "way"), [("skips look-ups", "served"), ("ticks late", "ended")])
def test_a_store_with_a_fault_is_found(nursery: Nursery, mutant: str, way: str) -> None:
    """Look-ups left out in 2 % of calls serve somebody who is out; a tick 30 ms too old ends who is in."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not getattr(played(nursery, Plan(mutant, "memory:", mutant=mutant)), way):
        assert time.monotonic() < deadline, "the attack is blind"


# -- the judge ----------------------------------------------------------------------------------------------

LOGIN = Login(1, "ann", 10, 11)


def words(history: History) -> list[str]:
    return [text.partition(":")[0] for text in history.faults()]


@each(
    ("logout", "check", "fault"),
    [
        (Logout(12, 13, user="ann"), Check(1, 13, 14, True), "stale"),
        (Logout(12, 13, login=1), Check(1, 14, 15, True), "stale"),
        (Logout(12, 13, everyone=True), Check(1, 14, 15, True), "stale"),
        (Logout(12, 13, user="ann"), Check(1, 12.9, 14, True), None),
        (Logout(12, NEVER, user="ann"), Check(1, 14, 15, True), None),
        (Logout(10.5, 12, user="ann"), Check(1, 14, 15, True), None),
        (Logout(12, 13, user="bo"), Check(1, 14, 15, True), None),
        (Logout(12, 13, user="bo"), Check(1, 14, 15, False), "false sign-out"),
        (Logout(12, 13, login=2), Check(1, 14, 15, False), "false sign-out"),
        (Logout(8, 9, user="ann"), Check(1, 14, 15, False), "false sign-out"),
        (Logout(8, 9, everyone=True), Check(1, 14, 15, False), "false sign-out"),
        (Logout(8, 10.5, user="ann"), Check(1, 14, 15, False), None),
        (Logout(16, 17, user="ann"), Check(1, 14, 15, False), "false sign-out"),
        (Logout(14.5, NEVER, user="ann"), Check(1, 14, 15, False), None),
    ],
)
def test_the_judge_finds_what_no_order_explains(logout: Logout, check: Check, fault: str | None) -> None:
    """One login, one logout, one request: what may be, and what may not."""
    assert words(History([LOGIN], [logout], [check])) == ([] if fault is None else [fault])


def test_the_judge_finds_what_came_back_to_life() -> None:
    """Overlapping with the login, a logout may end it or not; but not first the one, then the other."""
    logout = Logout(10.5, 12, user="ann")
    checks = [Check(1, 14, 15, True), Check(1, 12, 13, False), Check(1, 12.5, 13.5, True)]
    assert words(History([LOGIN], [logout], checks)) == ["revived"]


@each(
    ("logout", "fault"),
    [
        (Logout(9, 10.5, user="ann"), None),
        (Logout(10.5, 12, everyone=True), None),
        (Logout(10.5, 12, user="bo"), "refused for nothing"),
        (Logout(8, 9, user="ann"), "refused for nothing"),
        (Logout(12, 13, user="ann"), "refused for nothing"),
    ],
)
def test_the_judge_finds_logins_that_were_refused_for_nothing(logout: Logout, fault: str | None) -> None:
    """A login is refused for a logout that overlaps with it alone."""
    assert words(History(logouts=[logout], refusals=[Refusal("ann", 10, 11)])) == ([] if fault is None else [fault])


@each(
    ("check", "fault"),
    [
        (Check(1, 13.4, 14, True, place=2), None),
        (Check(1, 13.6, 14, True, place=2), "stale"),
        (Check(1, 13.4, 14, True, place=1), "stale"),
    ],
)
def test_the_judge_gives_a_cache_its_time(check: Check, fault: str | None) -> None:
    """Behind a cache another process may see a logout that much later, and the one that took it may not."""
    logout = Logout(12, 13, user="ann", place=1)
    history = History([LOGIN], [logout], [check], max_staleness=0.5)
    assert words(history) == ([] if fault is None else [fault])


@each(("began", "fault"), [(13.4, None), (13.6, "revived")])
def test_the_judge_gives_a_cache_no_more_than_its_time(began: float, fault: str | None) -> None:
    """A login that was seen ended may be served once more within that time, and never after it."""
    checks = [Check(1, 12, 13, False, place=1), Check(1, began, 15, True, place=1)]
    history = History([LOGIN], [Logout(10.5, NEVER, user="ann")], checks, max_staleness=0.5)
    assert words(history) == ([] if fault is None else [fault])
