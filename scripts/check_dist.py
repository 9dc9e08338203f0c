"""Builds the sdist and the wheel once, and proves them: the tests run against the wheel, not the checkout.

    check_dist.py build demo tests

``build`` makes both and checks their metadata; ``demo`` walks the demo from the wheel alone; ``tests`` runs the
tests on every Python of the classifiers, and on the oldest once more at the lowest versions of setup.cfg. What a
browser sees is the checkout's to test, and what services answer is seen once more at the lowest versions of their
drivers. Each virtual environment goes to .venvs/. This file knows nothing of what the tests test.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
VENVS = ROOT / ".venvs"
RUNTIME_EXTRAS = ("metrics", "postgresql", "redis", "server", "sql", "testing")
QUICK = "not browser and not services"
WITH_SERVICES = "not browser"


def run(*command: object, cwd: Path = ROOT) -> None:
    """Runs a command and ends with its exit code if that is not 0."""
    print("+", *command, flush=True)
    done = subprocess.run([str(part) for part in command], cwd=cwd, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def lines(section: str, option: str) -> list[str]:
    text = setup_cfg().get(section, option)
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def wheel() -> Path:
    return next(DIST.glob("*.whl"))


def sdist() -> Path:
    return next(DIST.glob("*.tar.gz"))


def build() -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    # setuptools reuses build/lib: a file that was removed since would still land in the wheel.
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)
    run(sys.executable, "-m", "build", "--quiet", "--outdir", DIST)
    run(sys.executable, "-m", "twine", "check", "--strict", wheel(), sdist())
    # The project has no address of its own to name yet; all else must be there.
    run(sys.executable, "-m", "pyroma", "--skip-tests", "AuthorEmail,Url", "--min", "10", sdist())


def interpreter_versions() -> list[str]:
    prefix = "Programming Language :: Python :: 3."
    return [line.rpartition(" ")[2] for line in lines("metadata", "classifiers") if line.startswith(prefix)]


def find_interpreter(version: str) -> Path | None:
    """Looks among pyenv's versions first: its shims on PATH are there for versions that are not."""
    name = f"python{version}"
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    kept = sorted(root.glob(f"versions/{version}.*/bin/{name}"))
    on_path = shutil.which(name)
    for candidate in [*reversed(kept), *([Path(on_path)] if on_path else [])]:
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def fresh_venv(name: str, interpreter: object, *requirements: object) -> Path:
    """Makes an environment with the wheel in it; returns its Python."""
    python = VENVS / name / "bin" / "python"
    shutil.rmtree(VENVS / name, ignore_errors=True)
    run("uv", "venv", "--quiet", "--python", interpreter, VENVS / name)
    run("uv", "pip", "install", "--quiet", "--python", python, *requirements)
    return python


def floors() -> Iterator[str]:
    """The lowest versions that setup.cfg allows, as constraints."""
    needs = lines("options", "install_requires")
    for extra in RUNTIME_EXTRAS:
        needs += lines("options.extras_require", extra)
    # A constraint names no extras.
    return (re.sub(r"\[.*?\]", "", need).replace(">=", "==") for need in needs)


def demo() -> None:
    python = fresh_venv("demo", Path(sys.executable), f"{wheel()}[server]")
    run(python.with_name("clef-wsgi"), "demo", "--check", "--port", "0", cwd=VENVS)


def run_tests(name: str, which: str, interpreter: object, *options: object) -> bool:
    """Runs the sdist's tests where no other clef_wsgi than the installed one can be imported.

    :param which: pytest's marker expression.
    """
    python = fresh_venv(name, interpreter, f"{wheel()}[dev]", *options)
    with tempfile.TemporaryDirectory() as folder:
        shutil.unpack_archive(sdist(), folder)
        tree = next(Path(folder).iterdir())
        # Without this file it is no package, and the installed one is found; what docs link to stays.
        (tree / "clef_wsgi" / "__init__.py").unlink()
        for info in tree.glob("*.egg-info"):
            shutil.rmtree(info)
        done = subprocess.run(
            [python, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-n", "2", "--dist", "worksteal", "-m", which],
            cwd=tree,
            env={**os.environ, "CLEF_EXPECT_INSTALLED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    # In one piece: two of these run side by side.
    print(f"tests of the wheel: {name}\n{done.stdout}", flush=True)
    return done.returncode == 0


def tests() -> None:
    found = {version: find_interpreter(version) for version in interpreter_versions()}
    quick = {version: (QUICK, path) for version, path in found.items() if path}
    report_missing([version for version in found if version not in quick])
    constraints = VENVS / "lowest.txt"
    constraints.write_text("\n".join(floors()), encoding="utf-8")
    # The longest first; and each in two halves, since much of a test's time is waiting.
    jobs: dict[str, tuple[Any, ...]] = {}
    for oldest in list(quick)[:1]:
        jobs["lowest"] = (WITH_SERVICES, found[oldest], "--constraints", constraints)
    # The Python that runs this file has had the tests of the checkout, and the wheel's demo.
    mine = f"{sys.version_info[0]}.{sys.version_info[1]}"
    jobs.update({version: job for version, job in quick.items() if version != mine})
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        passed = list(pool.map(lambda job: run_tests(job[0], *job[1]), jobs.items()))
    failed = [name for name, is_well in zip(jobs, passed, strict=True) if not is_well]
    if failed:
        sys.exit(f"The tests of the wheel failed: {', '.join(failed)}")


def report_missing(versions: list[str]) -> None:
    """On a machine of one's own a missing Python is a remark; in CI it is a claim without proof."""
    if versions:
        print("not tested, no such interpreter here: Python", ", ".join(versions), file=sys.stderr, flush=True)
        if os.environ.get("CI"):
            sys.exit(1)


STEPS: dict[str, Callable[[], None]] = {"build": build, "demo": demo, "tests": tests}


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
