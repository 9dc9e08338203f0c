"""Replace an app's own 401 by the way to the login: the option ``challenge`` of the middleware."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
ServerStart = Callable[..., Callable[[bytes], object]]


def with_challenge(app: WSGIApplication, login_answer: Callable[[], WSGIApplication]) -> WSGIApplication:
    """Wrap an app for one page request of nobody, and answer its 401 with ``login_answer``.

    Passed on untouched: any other status, a 401 with ``WWW-Authenticate`` (RFC 9110, section 11.6.1: the app has a way
    of its own), and one that comes when part of the body is out. Of a lazy app the first block is taken, since it may
    start no sooner (PEP 3333, "The start_response() Callable").
    """

    def answer(environ: Environ, start_response: ServerStart) -> Iterable[bytes]:
        held = _HeldStart(start_response)
        body = app(environ, held.start_response)
        passed = body if held.is_called else _with_first_block(body)
        refused = held.end()
        if refused is None:
            return passed
        _close(body)
        return login_answer()(environ, refused)

    return answer


class _HeldStart:
    """A ``start_response`` that keeps a bare 401 back until it is known whether it is the answer."""

    def __init__(self, start_response: ServerStart) -> None:
        self._start_response = start_response
        self._server_write: Callable[[bytes], object] | None = None
        self._held: tuple[str, Headers, Any] | None = None
        self._is_open = True  # nothing of the body is out yet
        self.is_called = False

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        if self._held is not None and exc_info is None:
            self._start_response(*self._held)  # the server refuses the second call, as it would without us
        self.is_called, self._held = True, None
        if self._is_open and status.startswith("401") and not _has_own_challenge(headers):
            self._held = status, headers, exc_info
        else:
            self._server_write = self._start_response(status, headers, exc_info)
        return self._write

    def _write(self, data: bytes) -> object:
        if self._held is not None or self._server_write is None:
            return None
        self._is_open = False
        return self._server_write(data)

    def end(self) -> ServerStart | None:
        """Let everything pass from now on; return what starts the login's answer where a 401 is held."""
        self._is_open = False
        if self._held is None:
            return None
        exc_info, self._held = self._held[2], None
        return lambda status, headers, _exc_info=None: self._start_response(status, headers, exc_info)


class _Started:
    """A body of which the first block was taken: the same blocks, and the app's own ``close``."""

    def __init__(self, first: list[bytes], rest: Iterator[bytes], body: Iterable[bytes]) -> None:
        self._blocks, self._body = chain(first, rest), body

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks

    def close(self) -> None:
        _close(self._body)


def _with_first_block(body: Iterable[bytes]) -> _Started:
    try:
        rest = iter(body)
        first = next(rest, None)
    except BaseException:
        _close(body)  # nobody else ever will: the server is not given it
        raise
    return _Started([] if first is None else [first], rest, body)


def _close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _has_own_challenge(headers: Headers) -> bool:
    return any(name.lower() == "www-authenticate" for name, _ in headers)
