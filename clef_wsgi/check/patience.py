"""A deadline for what has none of its own. Knows nothing of what is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T]) -> T:
    """What ``work`` returns or raises. When it takes longer it is left alone, and ends with the process at the latest.

    :raises TimeoutError: it took longer.
    """
    outcome: Future[T] = Future()
    threading.Thread(target=_run, args=(work, outcome), daemon=True).start()
    try:
        return outcome.result(seconds)
    except FutureTimeout:
        raise TimeoutError from None  # before Python 3.11 these are two classes


def _run(work: Callable[[], T], outcome: Future[T]) -> None:
    try:
        outcome.set_result(work())
    except BaseException as error:  # noqa: BLE001  whatever it is, it belongs to the caller
        outcome.set_exception(error)
