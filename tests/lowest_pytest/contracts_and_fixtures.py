"""The extra ``testing`` as its users have it: no conftest of ours, no other package, the lowest pytest of setup.cfg.

``scripts/check_dist.py tests`` runs this file against the wheel. The dev extra's pytest is newer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import webob

from clef_wsgi import MemoryLogoutStore, SQLiteLogoutStore, wrap
from clef_wsgi.interfaces import LoginStart
from clef_wsgi.testing import FakeProvider, LocalClef, fake_provider
from clef_wsgi.testing.provider_contract import IdentityProviderContract
from clef_wsgi.testing.store_contract import ClockedLogoutStoreContract, FakeClock

pytest_plugins = ["clef_wsgi.testing.pytest"]


class TestMemoryLogoutStore(ClockedLogoutStoreContract):
    """The contract of stores, with a clock."""

    def make_store(self, tmp_path: Path, clock: FakeClock) -> MemoryLogoutStore:
        return MemoryLogoutStore(clock=clock)


class TestSQLiteLogoutStore(ClockedLogoutStoreContract):
    """The same for a file."""

    def make_store(self, tmp_path: Path, clock: FakeClock) -> SQLiteLogoutStore:
        return SQLiteLogoutStore(tmp_path / "logouts.db", clock=clock)


class TestFakeProvider(IdentityProviderContract):
    """The contract of providers."""

    def make_provider(self) -> FakeProvider:
        return FakeProvider()

    def approve(self, start: LoginStart, person: str) -> Mapping[str, str]:
        return fake_provider.callback_query(start.url, {"id": person})

    def notification(self, person: str) -> Mapping[str, str]:
        return fake_provider.logout_notification(person)


def hello(environ: dict[str, Any], start_response: Any) -> Any:
    return webob.Response(text=str(environ["clef.user"]))(environ, start_response)


def test_fixtures(fake_provider: FakeProvider, local_clef: LocalClef) -> None:
    """The fixtures are found, and an app can be wrapped with what they give."""
    assert local_clef.url.startswith("http://localhost:")
    store, session = MemoryLogoutStore(), {"secret": "a secret of 32 bytes or even more"}
    app = wrap(hello, provider=fake_provider, logout_store=store, base_url="http://localhost", session=session)
    assert webob.Request.blank("/").get_response(app).text == "None"
