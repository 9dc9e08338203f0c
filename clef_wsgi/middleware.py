"""The middleware: a request's whole way, and ``wrap``, which puts Beaker around it."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from beaker.middleware import SessionMiddleware

from . import events, http, login_hints, webhook
from .base import paths, urls
from .base.errors import ClefError, LoginRefused, StoreUnavailable
from .beaker import login_record
from .beaker.provider_state import ProviderStates
from .beaker.sessions import Sessions
from .beaker.started_logins import StartedLogins
from .cache_headers import CacheHeaders
from .challenge import with_challenge
from .clef_login import ClefLogin, IgnoredLogin
from .interfaces import IdentityProvider, LogoutStore
from .login_flow import LoginFlow, Visit, fits_remote_user
from .login_required import WWW_AUTHENTICATE, answer_for
from .logout_flow import LogoutFlow
from .logout_rule import Logins
from .middleware_options import Environ, MiddlewareOptions, check_layers
from .return_addresses import ReturnAddresses
from .texts import is_of_operators, text, wanted_language

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

Endpoint = Callable[[Visit], "WSGIApplication"]
Verdict = tuple[Endpoint | None, bool, bool]
"""Of a path: which answer of ours it gets, if any; is it ignored; does it need a login."""

_MAX_VERDICTS = 1024
_MAX_REMEMBERED_LENGTH = 256
_SECONDS_BETWEEN_LINES = 60
_NESTED = (dict, list)


class ClefMiddleware(MiddlewareOptions):
    """Log people in and out of any WSGI app (relying party), inside Beaker's ``SessionMiddleware``.

    Put ``clef.user`` (a plain ``dict``, or ``None``) and ``clef.login`` (a ``ClefLogin``) into environ.

    :raises ConfigurationError: with every fault, each saying what to write instead. At the first request: when
        there is no Beaker session in environ, or its options in force are unsafe.
    """

    def _prepare(self) -> None:
        provider, logout_store, entry = self.provider, self.logout_store, self.entry
        self._endpoints: dict[str, Endpoint] = {
            self.login_path: self._login,
            self.callback_path: self._callback,
            self.webhook_path: self._webhook,
            self.logout_path: self._logout,
        }
        self._near_misses = {paths.folded(path): functools.partial(self._near_miss, path) for path in self._endpoints}
        self._addresses = ReturnAddresses(self.site, self._near_misses)
        self._sessions = Sessions(
            key=self._session_key,
            site=self.site,
            entry=entry,
            has_issuer=not self._is_unnamed,
            single_process=getattr(logout_store, "single_process", False),
        )
        started = StartedLogins(entry=entry, lifetime=self.state_lifetime, clock=self._clock)
        keeps_states = hasattr(provider, "end_login")
        self._logins = Logins(
            logout_store,
            entry=entry,
            started=started,
            max_age=self.max_login_age,
            clock=self._clock,
            states=ProviderStates(entry=entry, lifetime=self.max_login_age) if keeps_states else None,
        )
        self._flow = LoginFlow(
            provider=provider,
            redirect_url=self.site.url(self.callback_path),
            addresses=self._addresses,
            sessions=self._sessions,
            started=started,
            logins=self._logins,
            on_login=self._on_login,
            remote_user=self._remote_user,
        )
        self._logout_flow = LogoutFlow(
            provider=provider,
            site=self.site,
            return_url=self.site.url(self.logout_path),
            language_for=self.language_for,
            addresses=self._addresses,
            sessions=self._sessions,
            logins=self._logins,
        )
        self._ignored_login = IgnoredLogin(self)
        self._verdicts: dict[str, Verdict] = {}
        self._prefix_logged = -math.inf, ""  # when, and the reference in the log

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        environ["clef.user"] = None
        if self._is_unnamed:
            self._sessions.enter(environ)
        if self._remote_user is not None:
            environ.pop("REMOTE_USER", None)
            environ.pop("AUTH_TYPE", None)
        verdict = self._verdicts.get(path)
        if verdict is None or paths.STEERING_HEADER in environ:
            verdict = self._judge(environ, path)
        endpoint, is_ignored, needs_login = verdict
        if is_ignored:
            environ["clef.login"] = self._ignored_login
            return self.app(environ, start_response)
        headers = CacheHeaders()
        if endpoint is None:
            answer = self._pass_on(environ, needs_login, headers)
        else:
            answer = self._answer_endpoint(environ, endpoint, headers)
        return answer(environ, functools.partial(headers.pass_on, start_response))

    def _judge(self, environ: Environ, path: str) -> Verdict:
        """Decide by every reading of a path, and remember it of a plain path, whose only reading is itself."""
        if (endpoint := self._endpoints.get(path)) is not None:
            return endpoint, False, False
        readings = self._rules.readings(environ, path)
        endpoint = self._astray(environ, path, readings)
        is_ignored = endpoint is None and self._rules.ignore(readings)
        verdict = endpoint, is_ignored, self._rules.need_login(readings)
        # What the mount prefix means for a path is decided for each request, by its SCRIPT_NAME.
        is_lasting = readings == (path,) and paths.is_plain(path) and not path.startswith(self.site.prefix or "\0")
        if is_lasting and len(path) <= _MAX_REMEMBERED_LENGTH:
            if len(self._verdicts) >= _MAX_VERDICTS:
                self._verdicts.clear()
            self._verdicts[path] = verdict
        return verdict

    # -- requests for nobody ----------------------------------------------------------------------------------

    def _astray(self, environ: Environ, path: str, readings: Collection[str]) -> Endpoint | None:
        """Return what answers a request that must not reach the app, nor is for one of our own paths."""
        if not readings:
            return _malformed_path if self._rules.protect_anything else None
        spellings = readings if len(readings) == 1 else paths.spellings(path)
        if self.site.prefix and urls.keeps_prefix(environ, spellings, self.site.prefix):
            return self._kept_prefix
        for spelling in spellings:
            if (near_miss := self._near_misses.get(paths.folded(spelling))) is not None:
                return near_miss
        return None

    def _kept_prefix(self, visit: Visit) -> WSGIApplication:
        """Refuse a path that nobody took the mount prefix from: ``protect`` would be compared with the wrong one."""
        sentence = f"PATH_INFO begins with {self.site.prefix}: let the front strip it, or set SCRIPT_NAME to it."
        error, now = ClefError(sentence, reason="prefix_not_stripped"), self._clock()
        if not 0 <= now - self._prefix_logged[0] < _SECONDS_BETWEEN_LINES:
            self._prefix_logged = now, self._emit(visit.environ, error)
        return http.error_answer(visit.environ, error, self._prefix_logged[1], "", self.language_for(visit.environ))

    def _near_miss(self, path: str, visit: Visit) -> WSGIApplication:
        """Lead to the endpoint that somebody meant; the login service's own requests are refused instead."""
        endpoint, url = self._endpoints[path], self.site.url(path)
        if endpoint in (self._login, self._logout) and visit.environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return http.redirect(url + urls.query_of(visit.environ))
        sentence = f"This is not the right address, which is {url} exactly."
        if endpoint == self._callback:
            raise LoginRefused(sentence, reason="wrong_callback_address")
        error = ClefError(sentence, reason="wrong_address", status=404)
        return http.error_json(error, self._emit(visit.environ, error))

    # -- requests for the app ---------------------------------------------------------------------------------

    def _pass_on(self, environ: Environ, needs_login: bool, headers: CacheHeaders) -> WSGIApplication:
        login = environ["clef.login"] = ClefLogin(self, environ, headers)
        if self._sessions.carried_by(environ):
            headers.document_cache = "no-store" if needs_login else self._signed_in_cache
            try:
                record = self._logins.active(self._sessions.of(environ))
            except StoreUnavailable as error:
                if not self._goes_on or needs_login:
                    page = self._addresses.judged([urls.current_page(environ, self.site)])
                    return self._refusal(environ, headers, error, retry_url=self._addresses.page(page))
                login.error = error
                self._emit(environ, error)
            else:
                if record is not None:
                    headers.is_private = True
                    self._introduce(environ, record, login)
        if needs_login and environ["clef.user"] is None:
            return self._ask_to_log_in(environ)
        if self._challenge and environ["clef.user"] is None and login.error is None and http.is_page(environ):
            return with_challenge(self.app, functools.partial(_login_answer, login))
        return self.app

    def _introduce(self, environ: Environ, record: login_record.Record, login: ClefLogin) -> None:
        began = record["logged_in_at"]
        user = environ["clef.user"] = {**record["user"], "logged_in_at": began}
        user.setdefault("authenticated_at", began)
        login.id, login.record = record["keys"][0], record
        for name, value in user.items():
            if type(value) in _NESTED:  # the app's own copy: the session's must stay as it was stored
                user[name] = json.loads(json.dumps(value))
        if self._remote_user is not None and fits_remote_user(name := user.get(self._remote_user)):
            environ["REMOTE_USER"] = name

    def _ask_to_log_in(self, environ: Environ) -> WSGIApplication:
        answer = answer_for(environ)
        if isinstance(answer, str):
            return http.redirect(answer)
        return http.json_answer(401, answer or {}, dict([WWW_AUTHENTICATE]))

    # -- requests for the middleware --------------------------------------------------------------------------

    def _answer_endpoint(self, environ: Environ, endpoint: Endpoint, headers: CacheHeaders) -> WSGIApplication:
        # The URL of a callback holds a code: it must never become the page to come back to.
        visit = Visit(self, environ, headers, self._addresses.page(None))
        self._sessions.check(environ)
        if endpoint in (self._login, self._callback, self._logout) and http.is_prefetch(environ):
            return http.no_content()
        try:
            return endpoint(visit)
        except ClefError as error:
            if endpoint == self._logout:
                return self._refusal(environ, headers, error, retry_url=self.site.url(self.logout_path))
            is_of_account = self._flow.takes_hints and hasattr(error, "account")
            retry_url = visit.login.url(prompt="select_account" if is_of_account else None)
            return self._refusal(environ, headers, error, retry_url=retry_url)

    def _login(self, visit: Visit) -> WSGIApplication:
        if visit.environ["REQUEST_METHOD"] != "GET":
            return http.method_not_allowed("GET")
        query = http.read_query(visit.environ) or {}
        asked = self._flow.third_party_targets(query, self.site) if "iss" in query else query.get("next", [])
        target = self._addresses.judged(asked)
        visit.lead_back_to(self._addresses.page(target))
        self._logins.check_store()
        if not http.is_page(visit.environ):
            return self._ask_to_log_in(visit.environ)
        return self._flow.start(visit.environ, target, hints=login_hints.read(query))

    def _callback(self, visit: Visit) -> WSGIApplication:
        return self._flow.callback(visit)

    def _webhook(self, visit: Visit) -> WSGIApplication:
        try:
            return webhook.answer(self.provider, self.logout_store, visit.environ)
        except ClefError as error:
            return http.error_json(error, self._emit(visit.environ, error))

    def _logout(self, visit: Visit) -> WSGIApplication:
        return self._logout_flow.answer(visit)

    # -- for clef.login ---------------------------------------------------------------------------------------

    def draw_button(self, environ: Environ, next: str | None) -> str:
        """Start a login, and draw the provider's own button for it."""
        return self._flow.draw_button(environ, next)

    def sign_out(self, environ: Environ) -> None:
        """End this browser's login, if there is one."""
        if self._sessions.carried_by(environ):
            self._logins.end(self._sessions.of(environ))

    def language_for(self, environ: Environ) -> str:
        """Return the language of a page for this request."""
        return self._language or wanted_language(environ.get("HTTP_ACCEPT_LANGUAGE"))

    def is_active(self, record: login_record.Record) -> bool:
        """Ask the store whether a login is still active."""
        return self._logins.is_active(record)

    def provider_state(self, environ: Environ) -> Mapping[str, Any] | None:
        """Return what the provider needs to end its own session, or None."""
        return self._logout_flow.provider_state(environ)

    def end_url(self, provider_state: Mapping[str, Any], next: str | None) -> str | None:
        """Return where a browser may end the provider's own session, or None."""
        return self._logout_flow.end_url(provider_state, next)

    # -- refusals ---------------------------------------------------------------------------------------------

    def _refusal(self, environ: Environ, headers: CacheHeaders, error: ClefError, *, retry_url: str) -> WSGIApplication:
        environ["clef.login"].error, headers.must_not_store = error, True
        self._sessions.discard(environ)  # a refused request writes nothing more
        reference = self._emit(environ, error)
        if self._on_refusal is not None:
            try:
                answer: WSGIApplication | None = self._on_refusal(environ, error)
                if answer is not None:
                    return answer
            except Exception:  # noqa: BLE001 - the app's own code: the built-in page answers instead
                events.emit("site_error", "on_refusal failed [%s]", reference, hook="on_refusal")
        return http.error_answer(environ, error, reference, *self._way_on(environ, error, retry_url))

    def _way_on(self, environ: Environ, error: ClefError, retry_url: str) -> tuple[str, str]:
        """Return the links of an error page, as HTML, and its language."""
        language = self.language_for(environ)
        t = functools.partial(text, language)
        account, actions = getattr(error, "account", None), ""
        if account is not None:
            actions = http.terms({t("site"): urlsplit(self.site.origin).netloc, t("account"): account})
        if not is_of_operators(error):
            is_choice = account is not None and self._flow.takes_hints
            actions += http.link(retry_url, t("another_account" if is_choice else "retry"))
        return actions + http.link(self.site.home, t("home")), language

    def _emit(self, environ: Environ, error: ClefError) -> str:
        """Emit a refusal, and return the reference that stands in its line of the log."""
        endpoint = self._endpoints.get(environ.get("PATH_INFO", ""))
        return events.emit_refusal(error, "page" if endpoint is None else endpoint.__name__.strip("_"))


def _login_answer(login: ClefLogin) -> WSGIApplication:
    login.forbid_storing()
    return http.redirect(login.url())


def _malformed_path(visit: Visit) -> WSGIApplication:
    """Refuse what is no native string of PEP 3333, or long and odd: routers read it as they like."""
    content = {"error": "malformed_path", "message": "This address has characters that no address can have."}
    return http.json_answer(400, content)


def wrap(
    app: WSGIApplication,
    *,
    provider: IdentityProvider,
    logout_store: LogoutStore,
    base_url: str,
    session: Mapping[str, Any],
    **options: Any,
) -> WSGIApplication:
    """Wrap an app in both layers: Beaker's sessions outside, :class:`ClefMiddleware` inside.

    :param session: Beaker's options, without prefix; ``secret`` (32 bytes or more) is required. See
        :func:`session_options` for the rest and their defaults.
    :param options: those of :class:`ClefMiddleware`.
    :returns: the wrapped WSGI app.
    :raises ConfigurationError: with every fault of both layers.
    """
    plugs: dict[str, Any] = {"provider": provider, "logout_store": logout_store}
    inner, beaker = check_layers(ClefMiddleware, app, base_url=base_url, session=session, **plugs, **options)
    outer: WSGIApplication = SessionMiddleware(inner, beaker, environ_key=options.get("session_key", "beaker.session"))
    return outer
