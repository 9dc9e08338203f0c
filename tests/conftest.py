"""What every test shares: where nothing may be missing, a test that is skipped for it fails."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

pytest_plugins = ["pytester"]

# The old clients are run once, against the checkout: what they need is built for one Python alone.
collect_ignore = ["server/test_server_clients.py"] if os.environ.get("CLEF_EXPECT_INSTALLED") else []

MUST_BE_THERE = ("CLEF_REQUIRE_SERVICES", "1")
NEEDS_MORE = ("browser", "services")


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport, needs_more: bool) -> None:
    """Under ``CLEF_REQUIRE_SERVICES=1``, as CI runs the tests, a missing component is a failure.

    ``tests/services.py`` says of each that it "is missing". A case that does not apply may still be skipped.
    """
    is_short = needs_more or "is missing: " in str(report.longrepr)
    if is_short and report.skipped and not hasattr(report, "wasxfail") and MUST_BE_THERE in os.environ.items():
        report.longrepr = f"Skipped, and nothing may be missing here: {report.longrepr}"
        report.outcome = "failed"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report, any(item.get_closest_marker(name) for name in NEEDS_MORE))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips itself is short of something."""
    report = yield
    _refuse_skip(report, needs_more=True)
    return report
