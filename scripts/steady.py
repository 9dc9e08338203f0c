"""Run tests as CI does: all once, then each that failed once more, alone.

    steady.py NAME COMMAND...      run the command (``python -m pytest ...``), and what failed again
    steady.py report               name the unsteady tests of all runs so far
    steady.py forget               forget those of earlier runs

A test that fails among others and passes alone is *unsteady*: its name is kept for the report, and the run passes.
An unsteady test is a bug to mend. More than five failures, or one outside of a test (a module that can't be
imported, an option that isn't there), are a failure at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NOTES = Path(__file__).resolve().parent.parent / "build" / "unsteady.txt"
MOST = 5
"""So many failures may be chance; more are a fault."""

SOME_FAILED = 1
"""pytest's exit code for failed tests; the others are for what no second run would change."""


@dataclass(frozen=True)
class Run:
    """One run of pytest, whose failures can be run again.

    :param command: with ``-m pytest`` in it, as it is started.
    :param memory: a folder of its own, where pytest writes which tests failed.
    """

    name: str
    command: Sequence[str]
    memory: Path
    cwd: Path | None = None
    env: Mapping[str, str] | None = None

    def first(self, capture: bool = False) -> subprocess.CompletedProcess[str]:
        """Run all tests."""
        return self._start((), capture)

    def again(self) -> int:
        """Run the failed tests in one process, one after the other; return pytest's exit code."""
        return self._start(("--last-failed", "--last-failed-no-failures=none", "-n", "0", "--dist", "no")).returncode

    def failed(self) -> list[str]:
        """Return the ids of the tests that failed in the latest run."""
        kept = self.memory / "v" / "cache" / "lastfailed"
        return sorted(json.loads(kept.read_text(encoding="utf-8"))) if kept.exists() else []

    def _start(self, options: Sequence[str], capture: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, "-o", f"cache_dir={self.memory}", *options],
            cwd=self.cwd,
            env=self.env,
            stdout=subprocess.PIPE if capture else None,
            stderr=subprocess.STDOUT if capture else None,
            text=True,
            check=False,
        )


def settle(run: Run, returncode: int) -> int:
    """Judge a first run, with a second one where that may help; note what was unsteady.

    :param returncode: of ``run.first()``.
    :returns: 0 if all tests passed, in the first run or alone.
    """
    failed = run.failed()
    if returncode != SOME_FAILED or not 0 < len(failed) <= MOST or not all("::" in name for name in failed):
        return returncode
    print(f"{run.name}: once more, alone: {', '.join(failed)}", flush=True)
    returncode = run.again()
    if returncode == 0:
        note([f"{run.name}: {name}" for name in failed])
    return returncode


def note(unsteady: list[str]) -> None:
    NOTES.parent.mkdir(exist_ok=True)
    with NOTES.open("a", encoding="utf-8") as notes:
        notes.writelines(f"{line}\n" for line in unsteady)


def report() -> int:
    """Name every unsteady test, where it can't be overlooked: at the end of the output."""
    noted = NOTES.read_text(encoding="utf-8").splitlines() if NOTES.exists() else []
    if noted:
        print(f"\n{'=' * 100}\nUNSTEADY, a bug to mend: failed among others, passed alone", *noted, "=" * 100, sep="\n")
    return 0


def forget() -> int:
    NOTES.unlink(missing_ok=True)
    return 0


def main(name: str, *command: str) -> int:
    if not command:
        return {"report": report, "forget": forget}[name]()
    with tempfile.TemporaryDirectory() as memory:
        run = Run(name, command, Path(memory))
        return settle(run, run.first().returncode)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
