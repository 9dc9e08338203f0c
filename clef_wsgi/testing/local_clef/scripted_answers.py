"""Answer API calls as a test has scripted, and log the calls."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from webob import Request, Response

from clef_wsgi.testing.local_clef.api import form_of, single_fields


@dataclass(frozen=True)
class ApiCall:
    """A call of the API: the names of its form fields and query, never their values."""

    name: str
    method: str
    fields: tuple[str, ...]
    status: int


@dataclass
class ScriptedAnswer:
    """An answer for the next ``times`` calls; ``status`` None is the real answer. ``delay`` in seconds."""

    status: int | None
    body: Any
    delay: float
    during: Callable[[], object] | None
    times: int

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ValueError("times must be 1 or more.")
        if self.status is None and self.body is not None:
            self.status = 200

    def response(self, real: Callable[[], Response]) -> Response:
        if self.status is None:
            return real()
        if isinstance(self.body, bytes | str):
            body, kind = self.body, "text/html; charset=utf-8"
        else:
            body, kind = json.dumps({} if self.body is None else self.body), "application/json"
        return Response(
            body.encode() if isinstance(body, str) else body, status=self.status, headerlist=[("Content-Type", kind)]
        )


@dataclass
class ScriptedAnswers:
    """Scripted answers of each call, used in order, and the log of calls."""

    requests: list[ApiCall] = field(default_factory=list)
    _answers: dict[str, list[ScriptedAnswer]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set, it ends every delay."""

    def add(self, name: str, answer: ScriptedAnswer) -> None:
        with self._lock:
            self._answers.setdefault(name, []).append(answer)

    def play(self, name: str, request: Request, real: Callable[[], Response]) -> Response:
        """Return the next scripted answer to a call, or ``real()``."""
        scripted = self._next(name)
        response = real() if scripted is None else scripted.response(real)
        if scripted is not None and scripted.during is not None:
            scripted.during()
        if scripted is not None and scripted.delay:
            self.stopping.wait(scripted.delay)
        names = tuple(sorted({*single_fields(request.query_string), *form_of(request)}))
        self.requests.append(ApiCall(name, request.method, names, response.status_int))
        return response

    def _next(self, name: str) -> ScriptedAnswer | None:
        with self._lock:
            answers = self._answers.get(name)
            if not answers:
                return None
            answers[0].times -= 1
            return answers[0] if answers[0].times else answers.pop(0)
