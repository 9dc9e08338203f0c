"""Shared hooks of all tests. Where ``CLEF_REQUIRE_SERVICES`` is set, a test skipped for a missing component fails."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

pytest_plugins = ["pytester", "support.on_both"]

# Thousands of tests are made and none is thrown away: the garbage collector has nothing to find until they run.
gc.disable()

# A shell's job in the background ignores Ctrl-C, and so would the programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

MEMORY = Path("/dev/shm")
"""A file system where a database's fsync costs nothing, on Linux."""

ENOUGH_BYTES = 512 * 1024 * 1024

if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# Run once, against the checkout: what the old clients need is built for one Python alone; what servers and fronts make
# of a request line, and what OpenID providers send, is the same for each; an installation is one of the checkout.
ONCE = [
    "server/test_server_clients.py",
    "test_install.py",
    "test_oidc_real.py",
    "test_openid_providers.py",
    "test_raw_lines.py",
]
collect_ignore = ONCE if os.environ.get("CLEF_EXPECT_INSTALLED") else []

# The same examples everywhere; and how long one takes says something of the machine, and nothing of what is tested.
hypothesis.settings.register_profile(
    "any machine",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("any machine")

PROCESSES = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn")
"""The audit events of a process that starts another."""

MAY_START = ("process", "browser", "services")
_running: list[pytest.Item] = []


def _refuse_process(event: str, _arguments: tuple[object, ...], own: int = os.getpid()) -> None:
    """``make quick`` starts no process: a test that does carries a mark."""
    test = _running[-1] if event in PROCESSES and os.getpid() == own and _running else None
    if test and not any(test.get_closest_marker(name) for name in MAY_START):
        raise AssertionError(f"{test.nodeid} starts a process: it needs the mark `process`")


def pytest_configure(config: pytest.Config) -> None:
    if "not process" in config.getoption("markexpr"):
        sys.addaudithook(_refuse_process)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    _running.append(item)
    try:
        return (yield)
    finally:
        _running.pop()


MUST_BE_THERE = ("CLEF_REQUIRE_SERVICES", "1")
NEEDS_MORE = ("browser", "services")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """``-n auto``: two for each processor, since many tests wait for a peer; one where those are left out."""
    return (os.cpu_count() or 1) * (1 if "not process" in config.getoption("markexpr") else 2)


def pytest_collection_finish() -> None:
    """Freeze all objects that exist now, so that garbage collections skip them from here on."""
    gc.freeze()
    gc.enable()


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport, needs_more: bool) -> None:
    """Under ``CLEF_REQUIRE_SERVICES=1``, as CI runs the tests, a missing component is a failure.

    ``tests/support/services.py`` says of each that it "is missing". A case that does not apply may still be skipped.
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
