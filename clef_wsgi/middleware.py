"""The middleware: a request's whole way, and ``wrap``, which puts Beaker around it.

The other files of the core are tools that this one uses. It knows nothing of what a provider speaks, how a
store keeps its records, or what Beaker's session is like inside.
"""

from __future__ import annotations

import functools
import json
import math
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeGuard
from weakref import WeakKeyDictionary, WeakSet

from beaker.middleware import SessionMiddleware
from beaker.session import SessionObject

from . import events, http, login_state, webhook_limit
from .base import paths, urls
from .base.errors import (
    ClaimRejected,
    ClefError,
    ConfigurationError,
    LoginRefused,
    LogoutRefused,
    ProviderUnavailable,
    StateExpired,
    StateMismatch,
    StoreUnavailable,
)
from .base.options import Faults
from .beaker import login_record
from .beaker.cookie import SessionCookie
from .beaker.options import session_options, unsafe_options
from .beaker.started_logins import Pending, StartedLogins
from .clef_login import ClefLogin
from .interfaces import IdentityProvider, LogoutStore
from .login_required import WWW_AUTHENTICATE, answer_for
from .logout_rule import Logins

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

Environ = dict[str, Any]
Endpoint = Callable[[Environ], "WSGIApplication"]

_MAX_PARAMETER_LENGTH = 2048
_SECONDS_BETWEEN_LINES = 60
_SHARERS: WeakKeyDictionary[object, WeakSet[ClefMiddleware]] = WeakKeyDictionary()
"""For each of Beaker's middlewares, those of ours inside of it that have been asked."""
_MAX_CODE_LENGTH = 8 * 1024  # codes of some login services hold an encrypted session
_CALLBACK_PARAMETERS = {**dict.fromkeys(("state", "error", "iss"), _MAX_PARAMETER_LENGTH), "code": _MAX_CODE_LENGTH}
_LATER = ("temporarily_unavailable", "server_error")
"""What an ``error`` of a login service is that may be gone in a moment (RFC 6749, section 4.1.2.1)."""
_NESTED = (dict, list)
_UNNAMED = (
    "Several middlewares share this session, and the provider of one has no issuer, so their logins can't "
    "be told apart: give each provider an `issuer`, or each middleware a session of its own."
)
_TROUBLES = {StoreUnavailable: "store_error", ProviderUnavailable: "provider_error"}


class ClefMiddleware:
    """Login and single logout for any WSGI app, inside Beaker's ``SessionMiddleware``.

    Puts ``clef.user`` (a plain ``dict``, or ``None``) and ``clef.login`` (a ``ClefLogin``) into environ.

    :raises ConfigurationError: with every fault, each saying what to write instead. At the first request: when
        there is no Beaker session in environ, or its options in force are unsafe.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        # The two plugs, as instances.
        provider: IdentityProvider,
        logout_store: LogoutStore,
        # The site's public origin and mount prefix. Redirects are built from it, never from Host.
        base_url: str,
        # GET: where the provider sends the browser back.
        callback_path: str = "/clef/callback",
        # POST: where the provider reports a logout.
        webhook_path: str = "/clef/webhook",
        # GET ?next=/path: starts a login.
        login_path: str = "/clef/login",
        # POST, same origin: signs this browser out of this site.
        logout_path: str = "/clef/logout",
        # Path prefixes that need a login.
        protect: Iterable[str] = (),
        # Path prefixes that need none although protect covers them: the longer prefix decides.
        public: Iterable[str] = (),
        # Path prefixes for which nothing is read, asked or marked.
        ignore: Iterable[str] = (),
        # After this long a login ends whatever happens (timedelta or seconds).
        max_login_age: timedelta | float = timedelta(days=30),
        # How long a started login stays usable (timedelta or seconds).
        state_lifetime: timedelta | float = timedelta(hours=1),
        # What documents outside of protect carry for somebody signed in when the app says nothing: "private" or
        # "no-store", which keeps them from the Back button after a logout.
        signed_in_cache: str = "private",
        # When logins can't be checked: "unavailable" answers 503, "anonymous" goes on with nobody signed in.
        store_failure: str = "unavailable",
        # Called before a login is written: may add JSON values to user, or raise LoginRefused.
        on_login: Callable[[Environ, dict[str, Any]], None] | None = None,
        # Returns a WSGI app that answers instead of the built-in page.
        on_refusal: Callable[[Environ, ClefError], WSGIApplication] | None = None,
        # A key of user to put into REMOTE_USER.
        remote_user: str | None = None,
        # Where Beaker puts its session.
        session_key: str = "beaker.session",
        # Seconds since the epoch. For ages only: the store orders logins and logouts.
        clock: Callable[[], float] = time.time,
    ) -> None:
        faults = Faults()
        self.app: WSGIApplication = faults.app(app)
        self.provider = faults.plug("provider", provider, IdentityProvider)
        self.logout_store = faults.plug("logout_store", logout_store, LogoutStore)
        self.site = faults.site(base_url)
        self.login_path = faults.path("login_path", login_path)
        self.logout_path = faults.path("logout_path", logout_path)
        self._callback_path = faults.path("callback_path", callback_path)
        self._webhook_path = faults.path("webhook_path", webhook_path)
        self._rules = faults.path_rules(protect, public, ignore)
        self.state_lifetime = faults.seconds("state_lifetime", state_lifetime)
        self._signed_in_cache = faults.choice("signed_in_cache", signed_in_cache, ("private", "no-store"))
        self._goes_on = faults.choice("store_failure", store_failure, ("unavailable", "anonymous")) == "anonymous"
        self._on_login = on_login if on_login is None else faults.function("on_login", on_login)
        self._on_refusal = on_refusal if on_refusal is None else faults.function("on_refusal", on_refusal)
        self._remote_user = remote_user if remote_user is None else faults.name("remote_user", remote_user)
        self._session_key = faults.name("session_key", session_key)
        self._clock = faults.function("clock", clock)
        self.max_login_age = faults.seconds("max_login_age", max_login_age)
        self._issuer = faults.issuer(self.provider)
        self._entry = login_record.entry_name(self.site.url(""), self._issuer)
        self._started = StartedLogins(entry=self._entry, lifetime=self.state_lifetime, clock=self._clock)
        self._logins = Logins(
            self.logout_store, entry=self._entry, started=self._started, max_age=self.max_login_age, clock=self._clock
        )
        self._nobody = ClefLogin(self, {"REQUEST_METHOD": "GET", "clef.ignored": True})
        self._nobody.is_ignored = True
        self._cookie: SessionCookie | None = None  # known when the first request has shown Beaker's options
        self._endpoints: dict[str, Endpoint] = {
            self.login_path: self._login,
            self._callback_path: self._callback,
            self._webhook_path: self._webhook,
            self.logout_path: self._logout,
        }
        self._near_misses = {paths.folded(path): functools.partial(self._near_miss, path) for path in self._endpoints}
        self._told_of_prefix = -math.inf, ""  # when, and the reference in the log
        if len(self._near_misses) < 4:
            faults.add("login_path, callback_path, webhook_path and logout_path must be four different paths.")
        faults.raise_all()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        environ["clef.user"] = None
        if self._issuer is None:
            self._enter_unnamed(environ)
        if self._remote_user is not None:
            environ.pop("REMOTE_USER", None)
            environ.pop("AUTH_TYPE", None)
        endpoint = self._endpoints.get(path)
        readings: tuple[str, ...] = ()
        if endpoint is None:
            readings = self._rules.readings(environ, path)
            endpoint = self._astray(environ, path, readings)
            if endpoint is None and self._rules.ignore(readings):
                environ["clef.login"] = self._nobody
                return self.app(environ, start_response)
        login = environ["clef.login"] = ClefLogin(self, environ, start_response)
        answer = self._others(environ, readings, login) if endpoint is None else self._own(environ, endpoint, login)
        return answer(environ, login.start_response)

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

    def _kept_prefix(self, environ: Environ) -> WSGIApplication:
        """Refuse a path that nobody took the mount prefix from: ``protect`` would be compared with the wrong one."""
        sentence = f"PATH_INFO begins with {self.site.prefix}: let the front strip it, or set SCRIPT_NAME to it."
        error, now = ClefError(sentence, reason="prefix_not_stripped"), self._clock()
        if not 0 <= now - self._told_of_prefix[0] < _SECONDS_BETWEEN_LINES:
            self._told_of_prefix = now, self._told(environ, error)
        return http.error_answer(environ, error, self._told_of_prefix[1], "")

    def _near_miss(self, path: str, environ: Environ) -> WSGIApplication:
        """Lead to the endpoint that somebody meant; the login service's own requests are refused instead."""
        endpoint, url = self._endpoints[path], self.site.url(path)
        if endpoint in (self._login, self._logout) and environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return http.redirect(url + urls.query_of(environ))
        sentence = f"This is not the right address, which is {url} exactly."
        if endpoint == self._callback:
            raise LoginRefused(sentence, reason="wrong_callback_address")
        error = ClefError(sentence, reason="wrong_address", status=404)
        return http.error_json(error, self._told(environ, error))

    # -- requests for the app ---------------------------------------------------------------------------------

    def _others(self, environ: Environ, readings: Collection[str], login: ClefLogin) -> WSGIApplication:
        needs_login = self._rules.need_login(readings)
        login.document_cache = "no-store" if needs_login else self._signed_in_cache
        if self._carries_cookie(environ):
            try:
                record = self._logins.active(environ[self._session_key])
            except StoreUnavailable as error:
                if not self._goes_on or needs_login:
                    page = self._safe_next([urls.current_page(environ, self.site)])
                    return self._refusal(environ, error, retry_url=self._page(page))
                login.error = error
                self._told(environ, error)
            else:
                if record is not None:
                    self._introduce(environ, record, login)
        if needs_login and environ["clef.user"] is None:
            return self._ask_to_log_in(environ)
        return self.app

    def _introduce(self, environ: Environ, record: login_record.Record, login: ClefLogin) -> None:
        user = environ["clef.user"] = {**record["user"], "logged_in_at": record["logged_in_at"]}
        login.id, login.record = record["keys"][0], record
        login.is_private = True
        for name, value in user.items():
            if type(value) in _NESTED:  # the app's own copy: the session's must stay as it was stored
                user[name] = json.loads(json.dumps(value))
        if self._remote_user is not None and _fits_remote_user(name := user.get(self._remote_user)):
            environ["REMOTE_USER"] = name

    def _ask_to_log_in(self, environ: Environ) -> WSGIApplication:
        answer = answer_for(environ)
        if isinstance(answer, str):
            return http.redirect(answer)
        return http.json_answer(401, answer or {}, dict([WWW_AUTHENTICATE]))

    # -- requests for the middleware --------------------------------------------------------------------------

    def _own(self, environ: Environ, endpoint: Endpoint, login: ClefLogin) -> WSGIApplication:
        if self._cookie is None:
            self._check_session(environ)
        if endpoint in (self._login, self._callback, self._logout) and http.is_prefetch(environ):
            return http.no_content()
        # The URL of a callback holds a code: it must never become the page to come back to.
        login.return_to = self._page(None)
        try:
            return endpoint(environ)
        except ClefError as error:
            retry_url = self.site.url(self.logout_path) if endpoint == self._logout else login.url()
            return self._refusal(environ, error, retry_url=retry_url)

    def _login(self, environ: Environ) -> WSGIApplication:
        if environ["REQUEST_METHOD"] != "GET":
            return http.method_not_allowed("GET")
        target = self._safe_next((http.read_query(environ) or {}).get("next", []))
        environ["clef.login"].return_to = self._page(target)
        self._logins.check_store()
        if not http.is_page(environ):
            return self._ask_to_log_in(environ)
        return self._start_login(environ, target)

    def _start_login(self, environ: Environ, next: str | None, *, mark: str = "") -> WSGIApplication:
        state = login_state.new_state(next, mark=mark)
        start = self.provider.start_login(state, self._redirect_url)
        self._remember(environ, state, next, start.provider_state)
        return http.redirect(start.url)

    def _callback(self, environ: Environ) -> WSGIApplication:
        if environ["REQUEST_METHOD"] != "GET":
            return http.method_not_allowed("GET")
        query = _callback_query(environ)
        session = self._session(environ)
        pending = self._started.consume(session, query["state"]) if self._carries_cookie(environ) else None
        if pending is None or not self._started.is_fresh(pending):
            return self._unknown_state(environ, query, pending)
        target = self._target_of(environ, query["state"], pending)
        if "error" in query:
            raise _refused_by_provider(query["error"])
        started = self._logins.tick()
        identity = self.provider.finish_login(query, pending["provider_state"], self._redirect_url)
        if not login_record.are_keys(identity.keys):
            raise ClaimRejected()
        user = self._completed(environ, dict(identity.user))
        self._logins.begin(session, user, (self.provider.user_key(user["id"]), *identity.keys), started)
        self._tell_of_remote_user(user)
        return self._redirect_to(target)

    def _target_of(self, environ: Environ, state: str, pending: Pending | None) -> str | None:
        """Return the page that a login leads to: as the session has it, else as the state carries it."""
        kept = pending["next"] if pending else None
        target = self._safe_next([login_state.next_in(state)]) if kept is None else kept
        environ["clef.login"].return_to = self._page(target)
        return target

    def _tell_of_remote_user(self, user: dict[str, Any]) -> None:
        """Tell once a login why an app will miss its REMOTE_USER."""
        value = None if self._remote_user is None else user.get(self._remote_user)
        if value is not None and not _fits_remote_user(value):
            why = "it is no text, empty, beyond latin-1, or holds a control character"
            keys = events.digests([self.provider.user_key(user["id"])])
            events.emit("remote_user_missing", "no REMOTE_USER for a login: %s", why, keys=keys)

    def _unknown_state(self, environ: Environ, query: Mapping[str, str], expired: Pending | None) -> WSGIApplication:
        """A state that this browser does not hold, or no longer: starts over, once, where that can help."""
        carries_cookie, target = self._carries_cookie(environ), self._target_of(environ, query["state"], expired)
        is_second_try = query["state"].startswith(login_state.SECOND_TRY)
        if carries_cookie and self._logins.active(environ[self._session_key]) is not None:
            return self._redirect_to(target)
        if expired is None and is_second_try:
            raise StateMismatch(
                "This browser does not seem to keep cookies for this site: allow them, then try again.",
                reason="cookies_blocked",
            )
        if not carries_cookie or "error" in query or is_second_try:
            raise StateMismatch() if expired is None else StateExpired()
        self._logins.check_store()
        return self._start_login(environ, target, mark=login_state.SECOND_TRY)

    def _completed(self, environ: Environ, user: dict[str, Any]) -> dict[str, Any]:
        """The user with what ``on_login`` adds, as it will come back out of JSON."""
        user_id = user.get("id")
        if not login_record.is_user_id(user_id):
            raise ClaimRejected()
        try:
            if self._on_login is not None:
                self._on_login(environ, user)
            stored: dict[str, Any] = json.loads(json.dumps(user, allow_nan=False))
            if stored != user or stored["id"] != user_id:
                raise ValueError("on_login must add JSON values to user, and leave its id alone.")
        except LoginRefused:
            raise
        except Exception as error:  # the app's own code: whatever it raises, nobody is signed in
            events.emit("site_error", "on_login failed", hook="on_login")
            raise ClefError("The site could not finish this login.", reason="on_login_failed", status=503) from error
        return stored

    def _webhook(self, environ: Environ) -> WSGIApplication:
        if environ["REQUEST_METHOD"] != "POST":
            return http.method_not_allowed("POST")
        try:
            self._record_notice(http.read_form(environ))
        except ClefError as error:
            return http.error_json(error, self._told(environ, error))
        return http.json_answer(200, {"success": True})

    def _record_notice(self, form: Mapping[str, list[str]]) -> None:
        tokens = form.get("logout_token", [])
        if len(tokens) != 1 or not _is_visible(tokens[0]):
            sentence = "A notice holds exactly one logout_token, of at most 2,048 characters of printable ASCII."
            raise LogoutRefused(sentence, reason="malformed_form")
        bounds_itself = getattr(self.provider, "bounds_exchanges", False)
        with nullcontext() if bounds_itself else webhook_limit.of_this_process.place():
            logout = self.provider.read_logout({name: values[-1] for name, values in form.items()})
        if not logout.keys or not login_record.are_keys(logout.keys):
            raise ProviderUnavailable("The login service named nobody to log out.", reason="provider_answer")
        is_new = self.logout_store.record_logout(logout.keys, idempotency_key=logout.idempotency_key)
        outcome, words = ("recorded", "recorded") if is_new else ("known", "known already")
        events.emit("webhook", "a logout was %s", words, outcome=outcome, keys=events.digests(logout.keys))

    def _logout(self, environ: Environ) -> WSGIApplication:
        login: ClefLogin = environ["clef.login"]
        if environ["REQUEST_METHOD"] != "POST":
            form = login.sign_out_button()
            return http.page(405, "Log out?", "This signs you out of this site.", form, headers={"Allow": "POST"})
        if not urls.is_same_origin(environ, self.site.origin):
            raise LogoutRefused("Only a page of this site can sign you out.", reason="cross_origin", status=403)
        next_values = http.read_form(environ).get("next") or (http.read_query(environ) or {}).get("next", [])
        login.end()
        return self._redirect_to(self._safe_next(next_values))

    # -- for clef.login ---------------------------------------------------------------------------------------

    def draw_button(self, environ: Environ, next: str | None) -> str:
        """Starts a login, and draws the provider's own button for it."""
        draw = getattr(self.provider, "button_tag", None)
        if draw is None:
            raise RuntimeError("This provider has no script button: use button().")
        safe = self._safe_next([next])
        state = login_state.new_state(safe)
        self._remember(environ, state, safe, {})
        return str(draw(state, self._redirect_url))

    def sign_out(self, environ: Environ) -> None:
        """Ends this browser's login, if there is one."""
        session = self._session(environ)
        if self._carries_cookie(environ):
            self._logins.end(session)

    def is_active(self, record: login_record.Record) -> bool:
        """Ask the store whether a login still lives."""
        return self._logins.is_active(record)

    # -- shared -----------------------------------------------------------------------------------------------

    @property
    def _redirect_url(self) -> str:
        return self.site.url(self._callback_path)

    def _safe_next(self, values: list[str | None] | list[str]) -> str | None:
        return urls.safe_next(values[0], self.site, self._near_misses) if len(values) == 1 else None

    def _page(self, next: str | None) -> str:
        return self.site.prefix + "/" if next is None else next

    def _redirect_to(self, next: str | None) -> WSGIApplication:
        return http.redirect(self.site.origin + self._page(next))

    def _remember(self, environ: Environ, state: str, next: str | None, provider_state: Mapping[str, Any]) -> None:
        self._started.remember(self._session(environ), state, next, provider_state)

    def _session(self, environ: Environ) -> Any:
        if "clef.ignored" in environ:
            raise RuntimeError("On a path of `ignore` no login can begin or end: take the path out, or use button().")
        return environ[self._session_key]

    def _carries_cookie(self, environ: Environ) -> bool:
        """Whether a session comes with this request: a forged cookie, or another's, is as none."""
        cookie = self._cookie or self._check_session(environ)
        return cookie.session_id(environ.get("HTTP_COOKIE")) is not None

    def _check_session(self, environ: Environ) -> SessionCookie:
        session = environ.get(self._session_key)
        if not isinstance(session, SessionObject):
            raise ConfigurationError(
                f"There is no Beaker session in environ[{self._session_key!r}]: use clef_wsgi.wrap, or put "
                "ClefMiddleware inside Beaker's SessionMiddleware."
            )
        options = login_record.effective_options(session)
        is_shared = bool(environ.get("wsgi.multiprocess"))
        faults = unsafe_options(options, self.site, must_be_shared=is_shared)
        if is_shared and getattr(self.logout_store, "single_process", False):
            faults.append("This logout store lives in one process, and the server runs several: use another.")
        if self._meets_others_unnamed(environ):
            faults.append(_UNNAMED)
        if faults:
            raise ConfigurationError(*faults)
        self._cookie = login_record.cookie(options)
        return self._cookie

    def _meets_others_unnamed(self, environ: Environ) -> bool:
        """Whether one of the middlewares in the same session can't be told from the others."""
        outer = getattr(environ.get("beaker.get_session"), "__self__", self)
        sharers = _SHARERS.setdefault(outer, WeakSet())
        sharers.add(self)
        return len(sharers) > 1 and any(sharer._issuer is None for sharer in sharers)

    def _enter_unnamed(self, environ: Environ) -> None:
        """Refuse a second middleware of the same name, each in a Beaker of its own that has the same cookie."""
        session = environ.get(self._session_key)
        outer, outer_session = environ.setdefault("clef.unnamed", (self, session))
        if outer is not self and outer._entry == self._entry and _same_cookie(outer_session, session):
            raise ConfigurationError(_UNNAMED)

    def _refusal(self, environ: Environ, error: ClefError, *, retry_url: str) -> WSGIApplication:
        login: ClefLogin = environ["clef.login"]
        login.error, login.must_not_store = error, True
        login_record.forget(environ[self._session_key])  # a refused request writes nothing more
        reference = self._told(environ, error)
        if self._on_refusal is not None:
            try:
                answer: WSGIApplication | None = self._on_refusal(environ, error)
                if answer is not None:
                    return answer
            except Exception:  # noqa: BLE001 - the app's own code: the built-in page answers instead
                events.emit("site_error", "on_refusal failed [%s]", reference, hook="on_refusal")
        actions = http.link(retry_url, "Try again") + http.link(self.site.home, "To the front page")
        return http.error_answer(environ, error, reference, actions)

    def _told(self, environ: Environ, error: ClefError) -> str:
        """Tells of a refusal, in one line, and returns the reference that stands in it."""
        reference = secrets.token_hex(4)
        # The cause's own text may hold an URL with a token in it: its name has to do.
        cause = getattr(error, "cause", None) or (type(error.__cause__).__name__ if error.__cause__ else "-")
        endpoint = self._endpoints.get(environ.get("PATH_INFO", ""))
        events.emit(
            next((event for kind, event in _TROUBLES.items() if isinstance(error, kind)), "refusal"),
            "%s: %s (cause: %s) [%s]",
            *(error.reason, error.message, cause, reference),
            reason=error.reason,
            cause=cause,
            endpoint="page" if endpoint is None else endpoint.__name__.strip("_"),
            reference=reference,
        )
        return reference


def _same_cookie(one: object, other: object) -> bool:
    """Whether two sessions are found by cookies of one name."""
    keys = [login_record.effective_options(each)["key"] for each in (one, other) if isinstance(each, SessionObject)]
    return len(keys) == 2 and keys[0] == keys[1]


def _malformed_path(environ: Environ) -> WSGIApplication:
    """Refuse what is no native string of PEP 3333, or long and odd: routers read it as they like."""
    content = {"error": "malformed_path", "message": "This address has characters that no address can have."}
    return http.json_answer(400, content)


def _callback_query(environ: Environ) -> dict[str, str]:
    """The callback's parameters: one state, and one code or error, in visible ASCII (RFC 6749, appendix A)."""
    fields = http.read_query(environ)
    if (
        fields is None
        or any(len(fields.get(name, [])) > 1 for name in _CALLBACK_PARAMETERS)
        or not all(
            _is_visible(value, limit) for name, limit in _CALLBACK_PARAMETERS.items() for value in fields.get(name, [])
        )
        or "state" not in fields
        or not ("code" in fields or "error" in fields)
    ):
        raise LoginRefused("The answer of the login service is incomplete or garbled.", reason="malformed_callback")
    return {name: found[-1] for name, found in fields.items()}


def _fits_remote_user(value: object) -> TypeGuard[str]:
    """Whether a WSGI server can carry it: text of latin-1 (PEP 3333), so that no two names look alike to the app."""
    return isinstance(value, str) and bool(value) and value.isprintable() and ord(max(value)) < 256


def _is_visible(value: str, max_length: int = _MAX_PARAMETER_LENGTH) -> bool:
    return value.isascii() and value.isprintable() and 0 < len(value) <= max_length


def _refused_by_provider(error: str) -> ClefError:
    if error == "access_denied":
        return LoginRefused("The login was cancelled.", reason="access_denied")
    if error in _LATER:
        return ProviderUnavailable("The login service can't do this right now.", reason="provider_error")
    return LoginRefused("The login service could not complete this login.", reason="provider_error")


def wrap(
    app: WSGIApplication,
    *,
    provider: IdentityProvider,
    logout_store: LogoutStore,
    base_url: str,
    session: Mapping[str, Any],
    **options: Any,
) -> WSGIApplication:
    """Wraps an app in both layers: Beaker's sessions outside, :class:`ClefMiddleware` inside.

    :param session: Beaker's options, without prefix; ``secret`` (32 bytes or more) is required. See
        :func:`session_options` for the rest and their defaults.
    :param options: those of :class:`ClefMiddleware`.
    :returns: the wrapped WSGI app.
    :raises ConfigurationError: with every fault of both layers.
    """
    faults: list[str] = []
    inner, beaker = None, {}
    try:
        inner = ClefMiddleware(app, provider=provider, logout_store=logout_store, base_url=base_url, **options)
    except ConfigurationError as error:
        faults += error.faults
    try:
        beaker = session_options(base_url=base_url, **_with_cookie_age(session, inner))
    except ConfigurationError as error:
        faults += [fault for fault in error.faults if fault not in faults]
    if faults:
        raise ConfigurationError(*faults)
    outer: WSGIApplication = SessionMiddleware(inner, beaker, environ_key=options.get("session_key", "beaker.session"))
    return outer


def _with_cookie_age(session: Any, inner: ClefMiddleware | None) -> dict[str, Any]:
    """Beaker's options, with records and a cookie that live as long as a login can."""
    if not isinstance(session, Mapping):
        raise ConfigurationError('session must be a dict of Beaker\'s options, such as {"secret": "..."}.')
    ages = {"max_login_age": inner.max_login_age, "state_lifetime": inner.state_lifetime} if inner else {}
    return {**ages, **{name.removeprefix("session."): value for name, value in session.items()}}
