"""Four worker processes of one server share a store: a logout recorded by one of them counts in all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from support.databases import POSTGRESQL_URL, REDIS_URL, redis_store, require_at, sql_store
from support.gunicorn_workers import PATIENCE_SECONDS, Workers, workers
from support.services import require

pytestmark = [pytest.mark.services, pytest.mark.process]

COUNT = 4
MAX_STALENESS = 1.0


@contextmanager
def served(directory: Path, url: str, max_staleness: float | None) -> Iterator[Workers]:
    require("gunicorn", find_spec("gunicorn") is not None, 'pip install ".[dev]"')
    require_at(url)
    is_redis = url == REDIS_URL
    with redis_store() if is_redis else sql_store(url) as store:
        prefix: Any = getattr(store, "prefix" if is_redis else "table_prefix")
        with workers(directory, COUNT, url=url, prefix=prefix, max_staleness=max_staleness) as site:
            yield site


def sign_in(site: Workers, person: str) -> None:
    _, _, headers = site.ask("GET", "/clef/login?next=/")
    state = parse_qs(urlsplit(headers["Location"]).query)["state"][0]
    status, text, _ = site.ask("GET", "/clef/callback?" + urlencode({"code": person, "state": state}))
    assert status == 303, text


def first_answers(site: Workers) -> dict[int, tuple[float, str]]:
    """Each process's first answer from now on: when it was asked for, and whom it saw."""
    found: dict[int, tuple[float, str]] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < COUNT:
        assert time.monotonic() < deadline, f"only {len(found)} processes answered"
        asked_at = time.monotonic()
        pid, seen = site.look()
        found.setdefault(pid, (asked_at, seen))
    return found


@pytest.mark.parametrize("url", [REDIS_URL, POSTGRESQL_URL], ids=["Redis", "PostgreSQL"])
def test_all_workers_refuse_at_their_next_request(tmp_path: Path, url: str) -> None:
    """A notification to one process ends the login in all of them at once; the next login lives in all."""
    with served(tmp_path, url, None) as site:
        for number in range(2):
            sign_in(site, "ann")
            assert {seen for _, seen in first_answers(site).values()} == {"ann"}
            assert site.ask("POST", "/clef/webhook", urlencode({"logout_token": f"ann.{number}"}))[0] == 200
            assert {seen for _, seen in first_answers(site).values()} == {"nobody"}


@pytest.mark.parametrize("url", [REDIS_URL, POSTGRESQL_URL], ids=["Redis", "PostgreSQL"])
def test_all_workers_refuse_in_time_behind_the_cache(tmp_path: Path, url: str) -> None:
    """Behind the cache the others may see the person for a while, and nobody any longer than that."""
    with served(tmp_path, url, MAX_STALENESS) as site:
        sign_in(site, "ann")
        assert {seen for _, seen in first_answers(site).values()} == {"ann"}
        status, _, headers = site.ask("POST", "/clef/webhook", urlencode({"logout_token": "ann.1"}))
        told, recorded_at = int(headers["X-Process"]), time.monotonic()
        assert status == 200
        while time.monotonic() <= recorded_at + MAX_STALENESS:
            pid, seen = site.look()
            assert seen == "nobody" or pid != told, "the process that was told itself"
        assert {seen for _, seen in first_answers(site).values()} == {"nobody"}
