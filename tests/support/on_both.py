"""The two databases of the login server, for fixtures: an empty SQLite file, an empty PostgreSQL schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ON_BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.services)]
"""The parameters of a fixture that is made on each."""


@contextmanager
def empty_database(kind: str, folder: Path) -> Iterator[str]:
    """Yield where an empty database is, gone afterwards."""
    if kind == "sqlite":
        yield str(folder / "clef.db")
    else:
        from support.login_server import postgresql  # loads the server's extra

        with postgresql() as url:
            yield url


@pytest.fixture(params=ON_BOTH)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of an empty database, on each of the two back-ends in turn."""
    with empty_database(request.param, tmp_path) as found:
        yield found
