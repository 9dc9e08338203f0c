"""A forked child that does one thing: gunicorn forks a loaded app in the same way."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def result_in_child(work: Callable[[], bool]) -> bool:
    """Fork, and return what ``work`` says in the child."""
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        status = 2
        try:
            status = 0 if work() else 1
        except BaseException:  # noqa: BLE001 - no exception may go on into the test runner of the child
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
