"""Build the sdist and the wheel once, and prove them: the tests run against the wheel, not the checkout.

    check_dist.py build demo tests

``build`` makes both, checks their metadata, builds the wheel once more from the checkout (it must be the same to the
byte) and lists its components (SBOM). ``demo`` walks the demo from the wheel alone. ``tests`` runs the quick tests on
every other Python of the classifiers; on the oldest one at the lowest versions of setup.cfg too, with those that ask a
service through a library; and the contracts and fixtures of ``clef_wsgi.testing`` at the lowest pytest. ``newest``
runs the quick tests with the newest version of everything, and only warns. Each virtual environment goes to .venvs/.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import steady
from project import CONSTRAINTS, ROOT, find_interpreter, lines, python_versions, setup_cfg

DIST = ROOT / "dist"
VENVS = ROOT / ".venvs"
QUICK = "not browser and not services and not process and not slow"
SERVICES = "services and not browser and not process and not slow"

# At the lowest versions, services are asked where the answer is a library's doing: redis-py, SQLAlchemy and psycopg in
# the stores and in the server's database, Beaker's sessions in Redis. Requests, WebOb and webauthn need no service.
ASK_SERVICES = [
    "server/test_server_connections.py",
    "server/test_server_database.py",
    "server/test_server_delivery.py",
    "server/test_server_statements.py",
    "server/test_server_upgrade.py",
    "server/test_server_wire.py",
    "test_old_stores.py",
    "test_races.py",
    "test_sessions.py",
    "test_shared_stores.py",
    "test_started_logins.py",
    "test_stock_beaker.py",
    "test_store_faults.py",
]

NO_ADDRESS = "AuthorEmail,Url"
"""The project has no address of its own to name yet: see RELEASING.md. Pyroma finds all else."""

EARLIEST = "315532800"
"""1980-01-01, where the time of a zip file begins: for a tree without a history."""


def run(*command: object, cwd: Path = ROOT) -> None:
    """Run a command, and end with its exit code if that is not 0."""
    print("+", *command, flush=True)
    done = subprocess.run([str(part) for part in command], cwd=cwd, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def wheel() -> Path:
    return next(DIST.glob("*.whl"))


def sdist() -> Path:
    return next(DIST.glob("*.tar.gz"))


def build() -> None:
    """Build and check what a release uploads: dist/ has the sdist, the wheel and its SBOM."""
    os.environ.setdefault("SOURCE_DATE_EPOCH", time_of_commit())
    shutil.rmtree(DIST, ignore_errors=True)
    build_to(DIST)
    check_reproducible()
    python = fresh_venv("release", sys.executable, "dev.txt", *lines("options.extras_require", "release"))
    run(python, "-m", "twine", "check", "--strict", wheel(), sdist())
    run(python, "-m", "pyroma", "--skip-tests", NO_ADDRESS, "--min", "10", sdist())
    list_components(python)


def time_of_commit() -> str:
    """Return the time of the latest commit, in seconds, as SOURCE_DATE_EPOCH has it."""
    command = ["git", "log", "-1", "--format=%ct"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or EARLIEST


def build_to(folder: Path, *options: str) -> None:
    # setuptools reuses build/lib: a file that was removed since would still land in the wheel.
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)
    locked = ("--build-constraints", CONSTRAINTS / "dev.txt")
    run("uv", "build", "--quiet", "--python", sys.executable, *locked, "--out-dir", folder, *options)


def check_reproducible() -> None:
    """Build the wheel a second time, not through the sdist: every byte must be the same."""
    with tempfile.TemporaryDirectory() as folder:
        build_to(Path(folder), "--wheel")
        digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel(), *Path(folder).glob("*.whl"))}
    if len(digests) != 1:
        sys.exit("The wheel is not reproducible: built from the sdist and from the checkout, it differs.")
    print(f"sha256 of {wheel().name}, built twice: {digests.pop()}", flush=True)


def list_components(tools: Path) -> None:
    """Write dist/*.cdx.json: the wheel with every optional part, and each package below it, at the locked versions."""
    python = fresh_venv("components", sys.executable, "dev.txt", f"{wheel()}[all]")
    for address in python.parent.parent.rglob("direct_url.json"):
        address.unlink()  # where the wheel lay on this machine is nobody's business
    components = DIST / f"{wheel().name.partition('-py3')[0]}.cdx.json"
    run(tools, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--output-file", components, python)


def fresh_venv(name: str, interpreter: object, constraints: str | None, *requirements: object) -> Path:
    """Make an environment in .venvs/, and return its Python.

    :param constraints: a file of constraints/ with the versions; None for the newest ones.
    """
    python = VENVS / name / "bin" / "python"
    shutil.rmtree(VENVS / name, ignore_errors=True)
    run("uv", "venv", "--quiet", "--python", interpreter, VENVS / name)
    locked = ("--constraints", CONSTRAINTS / constraints) if constraints else ("--upgrade",)
    run("uv", "pip", "install", "--quiet", "--python", python, *locked, *requirements)
    return python


def demo() -> None:
    python = fresh_venv("demo", Path(sys.executable), "dev.txt", f"{wheel()}[server]")
    run(python.with_name("clef-wsgi"), "demo", "--check", "--port", "0", cwd=VENVS)


def unpack_tests(folder: Path) -> Path:
    """Unpack the sdist so that no other clef_wsgi than the installed one can be imported."""
    shutil.unpack_archive(sdist(), folder)
    tree = next(path for path in folder.iterdir() if path.is_dir())
    # Without this file it is no package, and the installed one is found; what docs link to stays.
    (tree / "clef_wsgi" / "__init__.py").unlink()
    for info in tree.glob("*.egg-info"):
        shutil.rmtree(info)
    return tree


def wheel_run(name: str, interpreter: object, constraints: str | None, folder: Path) -> steady.Run:
    """Prepare a run of the sdist's quick tests against the wheel.

    :param folder: an empty one, for the tests and for what pytest writes.
    """
    python = fresh_venv(name, interpreter, constraints, f"{wheel()}[dev]")
    command = [str(python), "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "-m", QUICK]
    environ = {**os.environ, "CLEF_EXPECT_INSTALLED": "1"}
    return steady.Run(f"wheel, {name}", command, folder / "memory", unpack_tests(folder), environ)


def services_run(quick: steady.Run) -> steady.Run:
    """Prepare a run of the tests that ask services through libraries, where the quick ones of a run are."""
    command = [*quick.command[:-1], SERVICES, *(f"tests/{file}" for file in ASK_SERVICES)]
    return replace(quick, name=f"{quick.name}, services", command=command, memory=quick.memory.with_name("services"))


def lowest_pytest_run(interpreter: object, folder: Path) -> steady.Run:
    """Prepare a run of what the extra ``testing`` offers, without our own conftest and at its lowest versions."""
    python = fresh_venv("lowest-pytest", interpreter, "lowest-testing.txt", f"{wheel()}[testing]")
    tests = ROOT / "tests" / "lowest_pytest"
    command = [str(python), "-m", "pytest", "-q", "-c", str(tests / "pytest.ini"), "--noconftest", str(tests)]
    return steady.Run("wheel, lowest pytest", command, folder / "memory", folder)


def tests() -> None:
    found = {version: find_interpreter(version) for version in python_versions()}
    there = {version: path for version, path in found.items() if path}
    report_missing([version for version in found if version not in there])
    oldest, *_ = there
    # The Python that runs this file has had the tests of the checkout, and the wheel's demo.
    others = [version for version in there if version != f"{sys.version_info[0]}.{sys.version_info[1]}"]
    with tempfile.TemporaryDirectory() as folder:
        # Each in two halves, since much of a test's time is waiting; and first the one that waits most.
        lowest = wheel_run("lowest", there[oldest], "lowest.txt", subfolder(folder, "lowest"))
        runs = [services_run(lowest), lowest]
        runs += [wheel_run(name, there[name], "dev.txt", subfolder(folder, name)) for name in others]
        runs.append(lowest_pytest_run(there[oldest], subfolder(folder, "pytest")))
        run_all(runs)


def subfolder(folder: str, name: str) -> Path:
    path = Path(folder, name)
    path.mkdir()
    return path


def run_all(runs: list[steady.Run]) -> None:
    """Run some side by side, then, one after the other, what failed in them."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        codes = list(pool.map(run_and_show, runs))
    failed = [one.name for one, code in zip(runs, codes, strict=True) if steady.settle(one, code)]
    if failed:
        sys.exit(f"The tests of the wheel failed: {'; '.join(failed)}")


def run_and_show(one: steady.Run) -> int:
    """Run all tests of one run; its output comes in one piece, since several run side by side."""
    started = time.monotonic()
    done = one.first(capture=True)
    print(f"{one.name} ({time.monotonic() - started:.0f} s)\n{done.stdout}", flush=True)
    return done.returncode


def newest() -> None:
    """Run the quick tests with the newest version of everything; a failure is a warning."""
    with tempfile.TemporaryDirectory() as folder:
        one = wheel_run("newest", sys.executable, None, Path(folder))
        if steady.settle(one, run_and_show(one)):
            print("WARNING: the tests fail with the newest versions of what they need.", flush=True)


def report_missing(versions: list[str]) -> None:
    """On a machine of one's own a missing Python is a remark; in CI it is a claim without proof."""
    if versions:
        print("not tested, no such interpreter here: Python", ", ".join(versions), file=sys.stderr, flush=True)
        if os.environ.get("CI"):
            sys.exit(1)


def tag() -> None:
    """Refuse a tag that is not the version, or without addresses: CI names it in CLEF_TAG, as in ``v0.1.0``."""
    name, metadata = os.environ.get("CLEF_TAG", ""), setup_cfg()["metadata"]
    if name != f"v{metadata['version']}":
        sys.exit(f"CLEF_TAG is {name!r}, and the version in setup.cfg {metadata['version']}: v{metadata['version']}?")
    if "project_urls" not in metadata:
        sys.exit("setup.cfg has no project_urls: RELEASING.md says which, before the first release.")


STEPS: dict[str, Callable[[], None]] = {"build": build, "demo": demo, "tests": tests, "newest": newest, "tag": tag}


def main(names: list[str]) -> None:
    # `uv` and the tools of the environment that runs this file, whether it is activated or not.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # As pip does: behind a proxy with a certificate of its own, the system knows it.
    os.environ.setdefault("UV_SYSTEM_CERTS", "1")
    VENVS.mkdir(exist_ok=True)
    for name in names:
        started = time.monotonic()
        STEPS[name]()
        print(f"{name}: done in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
