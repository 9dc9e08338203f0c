"""Give psycopg's connections a time-out below the 2 s of libpq.

The least that libpq waits for a connection is 2 s, and for an answer it waits for ever; the server's own
``statement_timeout`` is of no use when the server is what stands still. So psycopg's waiting, which is made of
generators that it asks at least every 0.1 s, is cut off here.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg


class Connection(psycopg.Connection[Any]):
    """End :meth:`connect`, and each answer, with ``psycopg.OperationalError`` when they take too long."""

    connect_timeout_seconds = 0.5
    read_timeout_seconds = 0.5

    @classmethod
    def _connect_gen(cls, *args: Any, **kwargs: Any) -> Any:
        return _in_time(super()._connect_gen(*args, **kwargs), cls.connect_timeout_seconds)

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        return super().wait(_in_time(gen, self.read_timeout_seconds), *args, **kwargs)


def connection_class(connect_timeout_seconds: float, read_timeout_seconds: float) -> type[Connection]:
    limits = {"connect_timeout_seconds": connect_timeout_seconds, "read_timeout_seconds": read_timeout_seconds}
    return type("Connection", (Connection,), limits)


def _in_time(waiting: Generator[Any, Any, Any], seconds: float) -> Generator[Any, Any, Any]:
    deadline = time.monotonic() + seconds
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if time.monotonic() > deadline:
                raise psycopg.OperationalError("the server did not answer in time")
            wanted = waiting.send(ready)
    except StopIteration as end:
        return end.value
