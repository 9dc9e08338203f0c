"""A server as real processes that can be killed at any moment and replaced behind the same address.

Run as a program, this file is the nursery: it loads the server once, and forks a process of it whenever it is
told to, so that a start takes no longer than it must.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from support.programs import python_path, unmeasured

PATIENCE_SECONDS = 30.0


class Nursery:
    """Starts and kills processes of a server. They share one socket: what is asked meanwhile waits there."""

    def __init__(self, database: str, *, pace: Mapping[str, Any]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.origin = f"http://localhost:{self.port}"
        self._settings = {"database": database, "origin": self.origin, "pace": pace, "fd": self._listener.fileno()}
        self.living: list[int] = []
        self.kills = 0

    def __enter__(self) -> Nursery:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            pass_fds=[self._listener.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**unmeasured(), "PYTHONPATH": python_path()},  # who is killed writes no data
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in list(self.living):
            self.kill(pid)
        self._process.communicate(timeout=PATIENCE_SECONDS)
        self._listener.close()

    def start(self, *, deliver: bool = True) -> int:
        """Start a process and return its id; with ``deliver`` False it sends no notifications."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({**self._settings, "deliver": deliver}), file=self._process.stdin, flush=True)
        pid = int(self._process.stdout.readline())
        self.living.append(pid)
        return pid

    def kill(self, pid: int) -> None:
        """SIGKILL: it gets no chance to write anything more."""
        self.living.remove(pid)
        os.kill(pid, signal.SIGKILL)
        self.kills += 1


def nurse() -> None:
    import waitress  # noqa: F401  loaded before the first fork

    import clef_wsgi.server.app  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.close(0)
            serve(json.loads(line))
        print(pid, flush=True)


def serve(settings: Mapping[str, Any]) -> None:
    import waitress

    from clef_wsgi.server import Limits, create_app
    from clef_wsgi.server.clock import system_clock
    from clef_wsgi.server.delivery.slots import Pace
    from clef_wsgi.server.delivery.worker import Worker

    app = create_app(
        origin=settings["origin"],
        database=settings["database"],
        deliver=False,
        limits=Limits(sign_in=10_000, refused_calls=10_000),
    )
    database = app.extensions["clef"].database
    if settings["deliver"]:
        Worker(database, system_clock, user_agent="Clef/1.0 (test)", pace=Pace(**settings["pace"])).start()
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    listener = socket.socket(fileno=settings["fd"])
    waitress.create_server(app, sockets=[listener], threads=8).run()


if __name__ == "__main__":
    nurse()
