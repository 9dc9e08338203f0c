"""The values of ``LocalClef``: people, apps, logins, logout tokens, and the two refusals."""

from __future__ import annotations

from dataclasses import dataclass, field

from clef_wsgi.base import redirect_rules


class InvalidRedirect(ValueError):
    """A URL is not allowed, or its app unknown. The message is the service's own, and says no more."""

    def __init__(self) -> None:
        super().__init__("Invalid redirect URL.")


class ApiRefused(Exception):
    """An API call is refused with ``status`` and one of the exact strings that old clients know."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True)
class Person:
    """Somebody who can sign in; a test names them by ``first_name``. What is ``None`` is left out."""

    first_name: str
    last_name: str | None = None
    email: str | None = None
    phone_number: str | None = None


@dataclass(frozen=True)
class LocalApp:
    """A relying party, as registered.

    :param redirect_url: the only place browsers are sent back to; ``None`` allows every loopback address.
    :param webhook_url: where logouts are reported; ``None``: the ``webhook`` beside the ``callback``.
    """

    app_id: str
    app_secret: str = field(repr=False)
    redirect_url: str | None = None
    webhook_url: str | None = None

    def allows(self, url: str) -> bool:
        """Return whether a browser may be sent to this URL."""
        registered = [url] if self.redirect_url is None and redirect_rules.is_loopback_url(url) else self._urls
        return redirect_rules.is_allowed(url, registered)

    def allows_webhook(self, url: str, redirect_url: str | None = None) -> bool:
        """Return whether a login may name this webhook: it is where the app is.

        :param redirect_url: stands for the registered URLs of an app that has none.
        """
        instead = redirect_url or url * redirect_rules.is_loopback_url(url)
        return redirect_rules.is_on_domain(url, self._urls or [instead])

    @property
    def _urls(self) -> list[str]:
        return [url for url in (self.redirect_url, self.webhook_url) if url is not None]


@dataclass(frozen=True)
class LoginRequest:
    """An authorization request of a known app, with an allowed URL."""

    app: LocalApp
    redirect_url: str = field(repr=False)
    state: str | None = field(repr=False)
    code_challenge: str | None = field(repr=False)


@dataclass(frozen=True)
class Login:
    """A person is logged in at ``site`` (an origin), which is notified of a logout at ``webhook_url``."""

    app_id: str
    site: str
    webhook_url: str | None


@dataclass
class LogoutToken:
    """A logout token, and whether its site has confirmed the logout (wire protocol, section 4).

    It has when an attempt was answered 2xx or 3xx and the site exchanged the token after that attempt began, in
    either order.
    """

    text: str = field(repr=False)
    app_id: str
    user_id: int
    attempts: int = 0
    answered_attempt: int | None = None
    exchanged_attempt: int | None = None
    confirmed_at: float | None = None
