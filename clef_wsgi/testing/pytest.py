"""Fixtures, for who asks for them: ``pytest_plugins = ["clef_wsgi.testing.pytest"]`` in a ``conftest.py``.

There is no entry point: nothing of this package is imported into the test runs of others.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clef_wsgi.testing.fake_provider import FakeProvider
from clef_wsgi.testing.local_clef import LocalClef


@pytest.fixture
def fake_provider() -> FakeProvider:
    """A provider for ``wrap(app, provider=fake_provider, ...)``: then :func:`clef_wsgi.testing.sign_in` works."""
    return FakeProvider()


@pytest.fixture
def local_clef() -> Iterator[LocalClef]:
    """A Clef on a free port of this machine, running while the test does."""
    with LocalClef() as clef:
        yield clef
