"""A system that is out of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

MORE_THAN_ANY_MEMORY = 2**46


@contextmanager
def no_thread_to_be_had() -> Iterator[None]:
    """Keep every thread from being started, as the system does when it has no memory for another stack."""
    usual = threading.stack_size(MORE_THAN_ANY_MEMORY)
    try:
        yield
    finally:
        threading.stack_size(usual)
