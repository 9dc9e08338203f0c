"""What a test wants the API to do instead, and what the API was asked. Knows nothing of Clef's own rules."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from clef_wsgi.testing.local_clef.messages import Answer, Request


@dataclass(frozen=True)
class ApiCall:
    """A call that the API saw: the names of its form fields and query, never their values."""

    name: str
    method: str
    fields: tuple[str, ...]
    status: int


@dataclass
class _Line:
    status: int | None
    body: Any
    delay: float
    during: Callable[[], object] | None
    times: int


@dataclass
class Script:
    """Lines for each call, used in order, and the log of calls."""

    requests: list[ApiCall] = field(default_factory=list)
    _lines: dict[str, list[_Line]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def add(self, name: str, line: _Line) -> None:
        with self._lock:
            self._lines.setdefault(name, []).append(line)

    def wait_as_told(self) -> None:
        """Delays are kept, until :meth:`stop_waiting`."""
        self._stopping.clear()

    def stop_waiting(self) -> None:
        """Lets every delayed answer go at once."""
        self._stopping.set()

    def play(self, name: str, request: Request, real: Callable[[], Answer]) -> Answer:
        """The answer to one call: the next line's, or ``real()``'s."""
        line = self._next_line(name)
        answer = real() if line is None or line.status is None else _canned(line.status, line.body)
        if line is not None and line.during is not None:
            line.during()
        if line is not None and line.delay:
            self._stopping.wait(line.delay)
        names = tuple(sorted({*request.query, *request.form}))
        self.requests.append(ApiCall(name, request.method, names, answer.status))
        return answer

    def _next_line(self, name: str) -> _Line | None:
        with self._lock:
            lines = self._lines.get(name)
            if not lines:
                return None
            lines[0].times -= 1
            return lines[0] if lines[0].times else lines.pop(0)


def line(*, status: int | None, body: Any, delay: float, during: Callable[[], object] | None, times: int) -> _Line:
    """One line of a script; a ``body`` alone means status 200."""
    if times < 1:
        raise ValueError("times must be 1 or more.")
    return _Line(200 if status is None and body is not None else status, body, delay, during, times)


def _canned(status: int, body: Any) -> Answer:
    if isinstance(body, bytes):
        return Answer(status, body)
    if isinstance(body, str):
        return Answer(status, body.encode())
    return Answer(status, json.dumps({} if body is None else body).encode(), "application/json")
