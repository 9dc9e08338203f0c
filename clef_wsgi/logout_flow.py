"""Log somebody out of this site, and lead on to the provider's own logout (OpenID Connect RP-Initiated Logout 1.0)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from . import events, http, login_state
from .base import urls
from .base.errors import LogoutRefused, ProviderUnavailable
from .beaker.sessions import Sessions
from .interfaces import IdentityProvider
from .login_flow import Visit
from .logout_rule import Logins
from .return_addresses import ReturnAddresses
from .texts import text

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

Environ = dict[str, Any]
_MAX_URL_LENGTH = 8 * 1024


class LogoutFlow:
    """The logouts that begin at one site.

    :param return_url: the absolute address of the logout path, where the browser comes back from the provider.
    """

    def __init__(
        self,
        *,
        provider: IdentityProvider,
        site: urls.Site,
        return_url: str,
        addresses: ReturnAddresses,
        sessions: Sessions,
        logins: Logins,
        language_for: Callable[[Environ], str],
    ) -> None:
        self._end_login: Callable[..., str | None] | None = getattr(provider, "end_login", None)
        self._site = site
        self._return_url = return_url
        self._addresses = addresses
        self._sessions = sessions
        self._logins = logins
        self._language_for = language_for

    def answer(self, visit: Visit) -> WSGIApplication:
        """End this browser's login, then lead on to the provider's logout, or to ``next`` where there is none.

        GET is the way back from there. Its ``state`` only chooses a page of this site, so nothing is kept for it.

        :raises LogoutRefused: no page of this site sent the form (CSRF), or it is not well-formed.
        :raises StoreUnavailable: the logout could not be recorded; the login goes on.
        """
        environ = visit.environ
        method, query = environ["REQUEST_METHOD"], http.read_query(environ) or {}
        if method == "GET" and ("state" in query or not self._is_signed_in(environ)):
            states = map(login_state.next_after_logout, query.get("state", []))
            return self._addresses.redirect(self._addresses.judged([*states]))
        if method != "POST":
            language = self._language_for(environ)
            form = visit.login.sign_out_button(label=text(language, "log_out"))
            title, sentence = text(language, "logout.title"), text(language, "logout.text")
            return http.page(405, title, sentence, form, language=language, headers={"Allow": "POST"})
        if not urls.is_same_origin(environ, self._site.origin):
            raise LogoutRefused("Only a page of this site can log you out.", reason="cross_origin", status=403)
        target = self._addresses.judged(http.read_form(environ).get("next") or query.get("next", []))
        provider_state = self.provider_state(environ)
        visit.login.end()
        if provider_state is None:
            return self._addresses.redirect(target)
        end_url = self.end_url(provider_state, self._addresses.page(target))
        if not http.is_shown(environ):
            return http.json_answer(200, {"success": True, "end_url": end_url})
        if end_url is None:
            return self._addresses.redirect(target)
        return http.logout_page(end_url, self._addresses.page(target), self._language_for(environ))

    def provider_state(self, environ: Environ) -> Mapping[str, Any] | None:
        """Return what the provider needs to end its own session; None for nobody, or without such a provider."""
        if self._end_login is None or not self._is_signed_in(environ):
            return None
        return self._logins.provider_state(self._sessions.of(environ))

    def end_url(self, provider_state: Mapping[str, Any], next: str | None) -> str | None:
        """Return where a browser may end the provider's own session, or None where there is no such address.

        None as well where the provider can't be asked: the logout of this site must not wait for it.
        """
        state = login_state.logout_state(self._addresses.judged([next]))
        try:
            url = self._end_login and self._end_login(provider_state, self._return_url, state)
        except ProviderUnavailable as error:
            events.emit_refusal(error, "logout")
            return None
        return url if url and http.is_visible(url, _MAX_URL_LENGTH) and urls.origin_of(url) is not None else None

    def _is_signed_in(self, environ: Environ) -> bool:
        """Return whether this browser's session holds a login that nothing has ended."""
        return self._sessions.carried_by(environ) and self._logins.active(self._sessions.of(environ)) is not None
