"""Ports of this machine for servers that a test starts as programs, and the wait until one listens."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing

_RANGE = range(10_000, 32_000)
"""Below the ports that systems hand out by themselves: another test's connection takes none of these."""

_choice = random.Random(os.urandom(16))  # not the shared one: a test may seed it

_given: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens, given once in this process."""
    for port in _choice.sample(_RANGE, 200):
        if port in _given:
            continue
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise OSError("no free port among 200")


def answers(port: int) -> bool:
    """Return True when a process listens on the port."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def await_listening(port: int, seconds: float = 30, *, is_alive: Callable[[], bool] = lambda: True) -> None:
    """Wait until a process listens on ``port``.

    :param is_alive: returns whether the program still runs; there is nothing to wait for when it has ended.
    :raises TimeoutError: nobody does after ``seconds``, or the program ended.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and is_alive():
        if answers(port):
            return
        threading.Event().wait(0.02)
    raise TimeoutError(f"nothing listens on port {port}")
