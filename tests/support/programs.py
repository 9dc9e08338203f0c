"""Programs that tests start: their environment, and how busy the machine is beside them."""

from __future__ import annotations

import os
from pathlib import Path

import clef_wsgi


def python_path(*first: str) -> str:
    """Return a ``PYTHONPATH`` with which a program imports this package and ``support``, after ``first``."""
    package, tests = Path(clef_wsgi.__file__).parent.parent, Path(__file__).parent.parent
    return os.pathsep.join(filter(None, [*first, str(package), str(tests), os.environ.get("PYTHONPATH", "")]))


def unmeasured() -> dict[str, str]:
    """Return the environment without what has coverage.py trace a program: for servers that answer thousands."""
    return {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}


def busyness() -> float:
    """Return how many threads want to run for each processor of this machine; 1 where none waits."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
