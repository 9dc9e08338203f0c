"""``environ["clef.login"]``: draw a login button, read which login this is, or end it, from inside an app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from . import http, login_hints
from .base import urls
from .base.errors import ClefError, StoreUnavailable
from .cache_headers import CacheHeaders
from .texts import text

_IGNORED = "On a path of `ignore` no login can begin or end: take the path out, or use button()."


class Gate(Protocol):
    """The middleware, as an app's calls need it."""

    site: urls.Site
    login_path: str
    logout_path: str
    button_language: str

    def draw_button(self, environ: dict[str, Any], next: str | None) -> str: ...

    def sign_out(self, environ: dict[str, Any]) -> None: ...

    def is_active(self, record: Any) -> bool: ...

    def provider_state(self, environ: dict[str, Any]) -> Mapping[str, Any] | None: ...

    def end_url(self, provider_state: Mapping[str, Any], next: str | None) -> str | None: ...


class ClefLogin:
    """The login of one request.

    ``id`` is opaque text, new at each login, ``None`` when nobody is signed in: an app that keeps a session of
    its own compares it and clears when it changed. ``error`` is the :class:`ClefError` that kept somebody from
    being signed in at this request, or ``None``.

    ``next``, where a method takes it, is a path of this site as the browser shows it, prefix included; without
    it the page of this request.

    :param gate: the middleware.
    :param page: where ``next`` leads by default, if not to this request's own page.
    """

    # Defaults of the class, not of the instance: one is made for every request.
    id: str | None = None
    record: Any = None
    error: ClefError | None = None
    is_ignored = False
    _ended_state: Mapping[str, Any] | None = None

    def __init__(self, gate: Gate, environ: dict[str, Any], headers: CacheHeaders, page: str | None = None) -> None:
        self._gate = gate
        self._environ = environ
        self._path = environ.get("PATH_INFO", "")  # a router that mounts an app cuts it off (PEP 3333, SCRIPT_NAME)
        self._headers = headers
        self._page = page

    def __repr__(self) -> str:
        return f"<ClefLogin {'signed in' if self.id else 'nobody'}>"

    def is_active(self) -> bool:
        """Ask the store whether this request's login is still active: for a stream or a WebSocket that outlives it.

        Touches neither session nor network beyond the store, writes nothing, and works from any thread and after
        ``start_response``. False where nobody was signed in.

        :raises StoreUnavailable: the store can't be asked: end the stream then.
        """
        return self.id is not None and self._gate.is_active(self.record)

    def url(self, next: str | None = None, *, prompt: str | None = None, max_age: int | None = None) -> str:
        """Return the absolute URL that starts a login. Writes nothing.

        :param prompt: ``login`` asks the person to authenticate again, ``select_account`` for another account; as far
            as the provider can.
        :param max_age: seconds; who was authenticated longer ago is asked to authenticate again (step-up). A visitor
            can change the query: compare ``clef.user["authenticated_at"]`` afterwards.
        :raises ValueError: another ``prompt``, or a ``max_age`` that is no whole number of seconds.
        """
        more = login_hints.check(prompt, max_age)
        url = self._gate.site.url(self._gate.login_path) + "?next=" + quote(self._next(next), "/", errors="replace")
        return f"{url}&{urlencode(more)}" if more else url

    def end_url(self, next: str | None = None) -> str | None:
        """Return where this browser may end its session at the provider, too, or None where there is no such address.

        It answers before and after :meth:`end` of the same request. The browser comes back to ``next``. None as well
        while logins can't be checked: a page that draws a link must not fail by it.
        """
        state = self._ended_state
        if state is None:
            try:
                state = self._gate.provider_state(self._environ)
            except StoreUnavailable:
                return None
        return None if state is None else self._gate.end_url(state, self._next(next))

    def button(self, next: str | None = None, label: str | None = None) -> http.Html:
        """Draw a plain link to :meth:`url`, as HTML. Writes nothing.

        :param label: "Log in", unless the option ``language`` says otherwise: the button stands in the app's own page.
        """
        return http.link(self.url(next), self._words(label, "log_in"))

    def sign_out_button(self, next: str | None = None, label: str | None = None) -> http.Html:
        """Draw a form that logs this browser out of this site, as HTML. Writes nothing.

        :param label: "Log out", unless the option ``language`` says otherwise.
        """
        words, url = self._words(label, "log_out"), self._gate.site.url(self._gate.logout_path)
        return http.post_form(url, words, next=self._next(next))

    def script_button(self, next: str | None = None) -> http.Html:
        """Draw the original Clef script tag with a fresh state, as HTML.

        It starts a login, so it writes the session, and the page is marked ``no-store``: one cached page would
        serve its state to all (login CSRF).

        :raises RuntimeError: after ``start_response``, or with a provider that has no such button.
        :raises StoreUnavailable: the session can't be written.
        """
        if self._headers.has_started:
            raise RuntimeError(
                "script_button() must be called before start_response, since it writes the session: "
                "build the page first, or use button(), which works at any time."
            )
        tag = self._gate.draw_button(self._environ, self._next(next))
        self.forbid_storing()
        return http.Html(tag)

    def end(self) -> None:
        """Log this browser out of this site, now; ``clef.user`` is ``None`` afterwards.

        :raises StoreUnavailable: the logout could not be recorded; the login goes on.
        """
        state = self._gate.provider_state(self._environ)
        self._gate.sign_out(self._environ)
        self._ended_state = self._ended_state if state is None else state
        self._environ["clef.user"] = None
        self.id = None

    def forbid_storing(self) -> None:
        """Mark this request's answer ``no-store``, whatever the app says."""
        self._headers.must_not_store = True

    def _words(self, label: str | None, key: str) -> str:
        return text(self._gate.button_language, key) if label is None else label

    def _next(self, next: str | None) -> str:
        if next is not None:
            return next
        if self._page is None and self._environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return urls.page_address(self._path, self._environ.get("QUERY_STRING", ""), self._gate.site)
        return self._page or self._gate.site.prefix + "/"


class IgnoredLogin(ClefLogin):
    """Stand for the login of every request under ``ignore``: nobody's, and none begins or ends there."""

    is_ignored = True

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate, {}, CacheHeaders(), gate.site.prefix + "/")

    def script_button(self, next: str | None = None) -> http.Html:
        raise RuntimeError(_IGNORED)

    def end(self) -> None:
        raise RuntimeError(_IGNORED)

    def end_url(self, next: str | None = None) -> str | None:
        return None
