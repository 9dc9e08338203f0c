"""Log somebody in by redirect: start at the provider, and take the callback (RFC 6749, section 4.1).

A state belongs to one browser and one login, and is consumed before anybody speaks to the network (login CSRF,
RFC 9700, section 4.7); the session id is new after a login (session fixation).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from . import events, http, login_hints, login_state
from .base import urls
from .base.authorization_errors import refused_by_provider
from .base.errors import ClaimRejected, ClefError, LoginRefused, StateExpired, StateMismatch
from .beaker.sessions import Sessions
from .beaker.started_logins import Pending, StartedLogins
from .clef_login import ClefLogin, Gate
from .interfaces import IdentityProvider, account_of, are_keys, is_user_id
from .logout_rule import Logins
from .return_addresses import ReturnAddresses

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

Environ = dict[str, Any]

_MAX_CODE_LENGTH = 8 * 1024  # codes of some login services hold an encrypted session
_CALLBACK_PARAMETERS = {
    **dict.fromkeys(("state", "error", "iss"), http.MAX_PARAMETER_LENGTH),
    "code": _MAX_CODE_LENGTH,
}


class Visit:
    """One request to an endpoint. Its steps name, as soon as it is known, the page that it leads back to."""

    def __init__(self, gate: Gate, environ: Environ, headers: Any, page: str) -> None:
        self.environ = environ
        self._gate, self._headers = gate, headers
        self.lead_back_to(page)

    def lead_back_to(self, page: str) -> None:
        """Let ``clef.login``, and a refusal's way on, lead to this page by default."""
        self.login = self.environ["clef.login"] = ClefLogin(self._gate, self.environ, self._headers, page)


class LoginFlow:
    """The logins of one site.

    :param redirect_url: the absolute address of the callback.
    :param on_login: the app's own function, called before a login is written.
    :param remote_user: a key of ``user`` for ``REMOTE_USER``.
    """

    def __init__(
        self,
        *,
        provider: IdentityProvider,
        redirect_url: str,
        addresses: ReturnAddresses,
        sessions: Sessions,
        started: StartedLogins,
        logins: Logins,
        on_login: Callable[[Environ, dict[str, Any]], None] | None,
        remote_user: str | None,
    ) -> None:
        self._provider = provider
        self._redirect_url = redirect_url
        self._addresses = addresses
        self._sessions = sessions
        self._started = started
        self._logins = logins
        self._on_login = on_login
        self._remote_user = remote_user
        self._issuer = getattr(provider, "issuer", None)
        self.takes_hints = login_hints.are_taken_by(provider)

    def third_party_targets(self, query: Mapping[str, list[str]], site: urls.Site) -> list[str]:
        """Return where a login leads that our own provider asks for (OpenID Connect Core 1.0, section 4).

        :raises LoginRefused: another provider, or several, ask for it.
        """
        if query["iss"] != [self._issuer]:
            raise LoginRefused("This site does not log in with that login service.", reason="wrong_issuer")
        uris = query.get("target_link_uri", [])
        return [uri.removeprefix(site.origin) for uri in uris if uri.startswith(f"{site.origin}/")]

    def start(
        self, environ: Environ, next: str | None, *, mark: str = "", hints: Mapping[str, Any] | None = None
    ) -> WSGIApplication:
        """Keep a new state in the session, and send the browser to the provider.

        :param hints: as :func:`.login_hints.read` returns them, for a provider that takes them.
        :raises StoreUnavailable: the session can't be written.
        """
        state = login_state.new_state(next, mark=mark)
        more = {"hints": dict(hints or {})} if self.takes_hints else {}
        start = self._provider.start_login(state, self._redirect_url, **more)
        self._started.remember(self._sessions.of(environ), state, next, start.provider_state)
        return http.redirect(start.url)

    def draw_button(self, environ: Environ, next: str | None) -> str:
        """Start a login, and draw the provider's own button for it."""
        draw = getattr(self._provider, "button_tag", None)
        if draw is None:
            raise RuntimeError("This provider has no script button: use button().")
        page = self._addresses.judged([next])
        state = login_state.new_state(page)
        self._started.remember(self._sessions.of(environ), state, page, {})
        return str(draw(state, self._redirect_url))

    def callback(self, visit: Visit) -> WSGIApplication:
        """Turn the provider's answer into a login, and lead back to the page where it began.

        :raises LoginRefused: the login must not go on.
        :raises ProviderUnavailable: the provider can't be asked, or makes no sense.
        :raises StoreUnavailable: the store or the session can't be asked.
        """
        environ = visit.environ
        if environ["REQUEST_METHOD"] != "GET":
            return http.method_not_allowed("GET")
        query = _callback_query(environ)
        if query["state"].startswith(login_state.LOGOUT):
            raise StateMismatch()
        session, carries_cookie = self._sessions.of(environ), self._sessions.carried_by(environ)
        pending = self._started.consume(session, query["state"]) if carries_cookie else None
        kept = pending["next"] if pending else None
        target = self._addresses.judged([login_state.next_in(query["state"])]) if kept is None else kept
        visit.lead_back_to(self._addresses.page(target))
        if pending is None or not self._started.is_fresh(pending):
            return self._unknown_state(environ, query, target, carries_cookie=carries_cookie, expired=pending)
        if "error" in query and not getattr(self._provider, "reads_errors", False):
            raise refused_by_provider(query["error"])
        started = self._logins.tick()
        identity = self._provider.finish_login(query, pending["provider_state"], self._redirect_url)
        if not are_keys(identity.keys):
            raise ClaimRejected()
        try:
            user = self._completed(environ, dict(identity.user))
        except LoginRefused as error:
            # A new one for each login: an app may raise one instance for everybody.
            refused = type(error).__new__(type(error), *error.args)
            vars(refused).update({"account": account_of(identity.user, "id"), **vars(error)})
            raise refused from error.__cause__
        keys = (self._provider.user_key(user["id"]), *identity.keys)
        self._logins.begin(session, user, keys, started, identity.provider_state)
        self._emit_remote_user_missing(user)
        return self._addresses.redirect(target)

    def _unknown_state(
        self,
        environ: Environ,
        query: Mapping[str, str],
        target: str | None,
        *,
        carries_cookie: bool,
        expired: Pending | None,
    ) -> WSGIApplication:
        """Start over, once, for a state that this browser does not hold, or no longer; refuse where that can't help."""
        is_second_try = query["state"].startswith(login_state.SECOND_TRY)
        if carries_cookie and self._logins.active(self._sessions.of(environ)) is not None:
            return self._addresses.redirect(target)
        if expired is None and is_second_try:
            raise StateMismatch(
                "This browser does not seem to keep cookies for this site: allow them, then try again.",
                reason="cookies_blocked",
            )
        if not carries_cookie or "error" in query or is_second_try:
            raise StateMismatch() if expired is None else StateExpired()
        self._logins.check_store()
        return self.start(environ, target, mark=login_state.SECOND_TRY)

    def _completed(self, environ: Environ, user: dict[str, Any]) -> dict[str, Any]:
        """Return the user with what ``on_login`` adds, as it will come back out of JSON."""
        user_id = user.get("id")
        if not is_user_id(user_id):
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

    def _emit_remote_user_missing(self, user: dict[str, Any]) -> None:
        """Emit once a login why an app will miss its ``REMOTE_USER``."""
        value = None if self._remote_user is None else user.get(self._remote_user)
        if value is not None and not fits_remote_user(value):
            why = "it is no text, empty, beyond latin-1, or holds a control character"
            keys = events.digests([self._provider.user_key(user["id"])])
            events.emit("remote_user_missing", "no REMOTE_USER for a login: %s", why, keys=keys)


def fits_remote_user(value: object) -> TypeGuard[str]:
    """Return whether a WSGI server can carry it: text of latin-1 (PEP 3333), so that no two names look alike."""
    return isinstance(value, str) and bool(value) and value.isprintable() and ord(max(value)) < 256


def _callback_query(environ: Environ) -> dict[str, str]:
    """Return the callback's parameters: one state, and one code or error, in visible ASCII (RFC 6749, appendix A)."""
    fields = http.read_query(environ)
    if (
        fields is None
        or any(len(fields.get(name, [])) > 1 for name in _CALLBACK_PARAMETERS)
        or not all(
            http.is_visible(value, limit)
            for name, limit in _CALLBACK_PARAMETERS.items()
            for value in fields.get(name, [])
        )
        or "state" not in fields
        or not ("code" in fields or "error" in fields)
    ):
        raise LoginRefused("The answer of the login service is incomplete or garbled.", reason="malformed_callback")
    return {name: found[-1] for name, found in fields.items()}
