"""The basis of make, CI and releases: locked versions, marks of the tests, the one version number."""

from __future__ import annotations

import configparser
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "constraints"
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[\w, -]+\])?(?: >= ([\d.]+))?")


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def requirements(section: str, option: str) -> dict[str, str | None]:
    """Return the names and lowest versions, our own extras aside."""
    text = setup_cfg().get(section, option).splitlines()
    found = [REQUIREMENT.match(line) for line in text if line and not line.startswith(("#", "clef_wsgi"))]
    return {re.sub(r"[-_.]+", "-", match[1].lower()): match[2] for match in found if match}


def locked(name: str) -> dict[str, set[str]]:
    """The versions that a file of constraints/ has for each package."""
    versions: dict[str, set[str]] = {}
    for line in (LOCK / name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            package, version = line.partition(" ;")[0].split("==")
            versions.setdefault(package, set()).add(version)
    return versions


def same(version: str, other: str) -> bool:
    """``2.5`` is ``2.5.0``."""
    first, second = (re.sub(r"(\.0)+$", "", text) for text in (version, other))
    return first == second


def test_every_requirement_is_locked() -> None:
    """Each requirement in setup.cfg has its exact version in constraints/dev.txt: run ``make lock`` after a change."""
    asked = requirements("options", "install_requires")
    for extra in setup_cfg().options("options.extras_require"):
        asked |= requirements("options.extras_require", extra)
    assert set(asked) - set(locked("dev.txt")) == set()


@pytest.mark.parametrize("extra", ["metrics", "oidc", "postgresql", "redis", "server", "sql"])
def test_the_lowest_versions_are_those_of_setup_cfg(extra: str) -> None:
    """constraints/lowest.txt has the very floors, and so has the file for the extra ``testing``."""
    lowest, alone = locked("lowest.txt"), locked("lowest-testing.txt")
    needed = requirements("options", "install_requires")
    for package, floor in (needed | requirements("options.extras_require", extra)).items():
        assert floor, package
        assert all(same(floor, version) for version in lowest[package]), package
    for package, floor in (needed | requirements("options.extras_require", "testing")).items():
        assert floor, package
        assert all(same(floor, version) for version in alone[package]), package


def test_the_lock_names_no_index() -> None:
    """The files hold names and versions, and no address."""
    assert [path.name for path in LOCK.iterdir() if re.search(r"https?:|--|@", path.read_text(encoding="utf-8"))] == []


def load(script: str) -> Any:
    """A module of scripts/."""
    spec = importlib.util.spec_from_file_location(script, ROOT / "scripts" / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[script] = module  # its dataclass looks there
    spec.loader.exec_module(module)
    return module


class FakeRun:
    """A test run with given failures."""

    name = "a run"

    def __init__(self, failed: list[str], second: int) -> None:
        self._failed, self._second, self.started_again = failed, second, False

    def failed(self) -> list[str]:
        return self._failed

    def again(self) -> int:
        self.started_again = True
        return self._second


SOME_FAILED, INTERRUPTED = 1, 2
TESTS = [f"test_it.py::test_{number}" for number in range(6)]


@pytest.mark.parametrize(
    ("first", "failed", "second", "outcome"),
    [
        (0, [], 0, "well"),
        (SOME_FAILED, TESTS[:5], 0, "unsteady"),
        (SOME_FAILED, TESTS[:5], SOME_FAILED, "failed twice"),
        (SOME_FAILED, TESTS, 0, "failed"),
        (SOME_FAILED, [], 0, "failed"),
        (SOME_FAILED, ["test_it.py"], 0, "failed"),
        (INTERRUPTED, TESTS[:1], 0, "failed"),
    ],
    ids=["none", "five", "twice", "six", "no test", "a module", "interrupted"],
)
def test_what_is_unsteady(
    first: int, failed: list[str], second: int, outcome: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A few failures get a second run, alone; all else fails at once."""
    steady = load("steady")
    steady.NOTES = tmp_path / "build" / "unsteady.txt"
    run = FakeRun(failed, second)
    assert steady.settle(run, first) == (0 if outcome in ("well", "unsteady") else first)
    assert run.started_again == (outcome in ("unsteady", "failed twice"))
    capsys.readouterr()
    steady.report()
    assert capsys.readouterr().out.count("a run: test_it.py::") == (len(failed) if outcome == "unsteady" else 0)
    steady.forget()
    steady.report()
    assert capsys.readouterr().out == ""


SHAKY = """
import pathlib, pytest
seen = pathlib.Path(__file__).with_name("seen")

def test_passes(): pass

def test_second_time():
    if not seen.exists():
        seen.touch()
        pytest.fail("the first time")
"""


@pytest.mark.process
def test_a_real_second_run(tmp_path: Path) -> None:
    """pytest is started again with what failed alone, in one process, whatever the first run's options were."""
    (tmp_path / "test_it.py").write_text(SHAKY, encoding="utf-8")
    options = ("-q", "-n", "2", "--dist", "worksteal", "test_it.py")
    run = load("steady").Run("a run", (sys.executable, "-m", "pytest", *options), tmp_path / "memory", tmp_path)
    assert run.first(capture=True).returncode == SOME_FAILED
    assert run.failed() == ["test_it.py::test_second_time"]
    assert run.again() == 0
    assert run.failed() == []


@pytest.mark.process
def test_a_tag_is_the_version() -> None:
    """``check_dist.py tag`` refuses a tag with another number, and none at all."""
    version = setup_cfg().get("metadata", "version")
    for tag in ("v0.0.0", version, ""):
        environ = {**os.environ, "CLEF_TAG": tag}
        command = [sys.executable, str(ROOT / "scripts" / "check_dist.py"), "tag"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert f"v{version}" in done.stderr


ADDED = re.compile(r"^\.\. auto\w+:: ([\w.]+)\n(?: +:.*\n)*\n   \.\. versionadded:: [\d.]+$", re.MULTILINE)


@pytest.mark.parametrize("package", ["clef_wsgi", "clef_wsgi.testing"])
def test_every_public_name_says_since_when(package: str) -> None:
    """The reference has each public name, and the version that brought it."""
    module = importlib.import_module(package)
    dated = set(ADDED.findall((ROOT / "docs" / "reference.rst").read_text(encoding="utf-8")))
    assert {*module.__all__, *getattr(module, "_EXTRAS", ())} - dated == set()
