"""``environ["clef.login"]``: what an app calls to show a button, ask which login this is, or end it.

It draws and delegates. It knows nothing of sessions, stores or providers: the middleware hands in what
starts a login and what ends one.
"""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import quote

from . import http
from .base import urls
from .base.errors import ClefError

_DOCUMENTS = ("", "text/html", "application/xhtml+xml")


class Gate(Protocol):
    """What the middleware does for an app."""

    site: urls.Site
    login_path: str
    logout_path: str

    def draw_button(self, environ: dict[str, Any], next: str | None) -> str: ...

    def sign_out(self, environ: dict[str, Any]) -> None: ...

    def is_active(self, record: Any) -> bool: ...


class ClefLogin:
    """The login of one request.

    ``id`` is opaque text, new at each login, ``None`` when nobody is signed in: an app that keeps a session of
    its own compares it and clears when it changed. ``error`` is the :class:`ClefError` that kept somebody from
    being signed in at this request, or ``None``.

    ``next``, where a method takes it, is a path of this site as the browser shows it, prefix included; without
    it the page of this request.
    """

    # Defaults of the class, not of the instance: one is made for every request.
    id: str | None = None
    record: Any = None
    error: ClefError | None = None
    return_to: str | None = None
    is_private = False
    document_cache = "private"
    must_not_store = False
    is_ignored = False
    has_started = False

    def __init__(self, gate: Gate, environ: dict[str, Any], start_response: Any = None) -> None:
        self._gate = gate
        self._environ = environ
        self._start_response = start_response

    def __repr__(self) -> str:
        return f"<ClefLogin {'signed in' if self.id else 'nobody'}>"

    def is_active(self) -> bool:
        """Ask the store whether this request's login still lives: for a stream or a WebSocket, which outlives a logout.

        Touches neither session nor network beyond the store, writes nothing, and works from any thread and after
        ``start_response``. False where nobody was signed in.

        :raises StoreUnavailable: the store can't be asked: end the stream then.
        """
        return self.id is not None and self._gate.is_active(self.record)

    def url(self, next: str | None = None) -> str:
        """The absolute URL that starts a login. Writes nothing."""
        return login_url(self._gate.site, self._gate.login_path, self._next(next))

    def button(self, next: str | None = None, label: str = "Log in") -> http.Html:
        """A plain link to :meth:`url`, as HTML. Writes nothing."""
        return http.link(self.url(next), label)

    def sign_out_button(self, next: str | None = None, label: str = "Log out") -> http.Html:
        """A form that signs this browser out of this site, as HTML. Writes nothing."""
        return http.post_form(self._gate.site.url(self._gate.logout_path), label, next=self._next(next))

    def script_button(self, next: str | None = None) -> http.Html:
        """The original Clef script tag with a fresh state, as HTML.

        It starts a login, so it writes the session, and the page is marked ``no-store``: one cached page would
        serve its state to all.

        :raises RuntimeError: after ``start_response``, or with a provider that has no such button.
        :raises StoreUnavailable: the session can't be written.
        """
        if self.has_started:
            raise RuntimeError(
                "script_button() must be called before start_response, since it writes the session: "
                "build the page first, or use button(), which works at any time."
            )
        tag = self._gate.draw_button(self._environ, self._next(next))
        self.must_not_store = True
        return http.Html(tag)

    def end(self) -> None:
        """Signs this browser out of this site, now; ``clef.user`` is ``None`` afterwards.

        :raises StoreUnavailable: the logout could not be recorded; the login lives on.
        """
        self._gate.sign_out(self._environ)
        self._environ["clef.user"] = None
        self.id = None

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """The server's ``start_response`` with a marked copy of the headers, and otherwise not there."""
        self.has_started = True
        marked = mark(
            status,
            headers,
            is_private=self.is_private,
            must_not_store=self.must_not_store,
            document_cache=self.document_cache,
        )
        return self._start_response(status, marked, exc_info)

    def _next(self, next: str | None) -> str:
        if next is not None:
            return next
        if self.return_to is None and self._environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return urls.current_page(self._environ, self._gate.site)
        return self.return_to or self._gate.site.prefix + "/"


def login_url(site: urls.Site, login_path: str, next: str) -> str:
    return site.url(login_path) + "?next=" + quote(next, safe="/", errors="replace")


def mark(
    status: str, headers: list[tuple[str, str]], *, is_private: bool, must_not_store: bool, document_cache: str
) -> list[tuple[str, str]]:
    """A copy that says what a cache needs to know (RFC 9111, sections 4.1 and 5.2).

    A copy, since Beaker appends its cookie to the list it gets: an app with one list for all answers would hand
    the cookie of one visitor to the next. ``Vary: Cookie`` always; for somebody signed in, unless the app spoke
    itself, a ``Cache-Control``: ``document_cache`` for what a browser shows as a page and may keep for Back, else
    ``private``; and ``no-store``, whatever the app said, where it must not be kept.
    """
    says_cookie = says_cache = False
    is_document = not status.startswith("304")
    for name, value in headers:
        # Names are told apart by their length first, since this runs for every header of every answer.
        if len(name) == 4 and name.lower() == "vary":
            says_cookie = says_cookie or _names_cookie(value)
        elif len(name) == 13 and name.lower() == "cache-control":
            says_cache = True
        elif len(name) == 12 and name.lower() == "content-type":
            is_document = value.partition(";")[0].strip().lower() in _DOCUMENTS
    marked = list(headers)
    if not says_cookie:
        marked.append(("Vary", "Cookie"))
    if must_not_store:
        marked = [header for header in marked if header[0].lower() != "cache-control"]
        marked.append(("Cache-Control", "no-store"))
    elif is_private and not says_cache:
        marked.append(("Cache-Control", document_cache if is_document else "private"))
    return marked


def _names_cookie(vary: str) -> bool:
    fields = [field.strip().lower() for field in vary.split(",")]
    return "cookie" in fields or "*" in fields
