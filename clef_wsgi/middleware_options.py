"""The options of ``ClefMiddleware``: their one list, and the check of them with those of Beaker's sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from .base import paths
from .base.errors import ClefError, ConfigurationError
from .base.options import Faults
from .beaker import login_record
from .beaker.options import session_options
from .interfaces import IdentityProvider, LogoutStore
from .texts import LANGUAGES

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

Environ = dict[str, Any]
DEFAULT_LOGIN_AGE = timedelta(days=30)
"""Unless the provider has a ``default_login_age``. Told from an option of the same length by its identity."""


class MiddlewareOptions:
    """Check the options, and hold them as requests need them: paths, ages in seconds, the site.

    :raises ConfigurationError: with every fault, each saying what to write instead.
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
        # The app's own 401 leads a page to the login, as protect does.
        challenge: bool = False,
        # After this long a login ends whatever happens (timedelta or seconds). A provider may have another default.
        max_login_age: timedelta | float = DEFAULT_LOGIN_AGE,
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
        # The language of buttons and pages ("en", "de"). None: buttons in English, pages as the visitor's browser asks.
        language: str | None = None,
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
        self.callback_path = faults.path("callback_path", callback_path)
        self.webhook_path = faults.path("webhook_path", webhook_path)
        self._rules = faults.path_rules(protect, public, ignore)
        self._challenge = faults.switch("challenge", challenge)
        self.state_lifetime = faults.seconds("state_lifetime", state_lifetime)
        self._signed_in_cache = faults.choice("signed_in_cache", signed_in_cache, ("private", "no-store"))
        self._goes_on = faults.choice("store_failure", store_failure, ("unavailable", "anonymous")) == "anonymous"
        self._on_login = on_login if on_login is None else faults.function("on_login", on_login)
        self._on_refusal = on_refusal if on_refusal is None else faults.function("on_refusal", on_refusal)
        self._remote_user = remote_user if remote_user is None else faults.name("remote_user", remote_user)
        self._language = language if language is None else faults.choice("language", language, LANGUAGES)
        self.button_language = self._language or LANGUAGES[0]
        self._session_key = faults.name("session_key", session_key)
        self._clock = faults.function("clock", clock)
        if max_login_age is DEFAULT_LOGIN_AGE:
            max_login_age = getattr(provider, "default_login_age", DEFAULT_LOGIN_AGE)
        self.max_login_age = faults.seconds("max_login_age", max_login_age)
        self._is_unnamed = faults.issuer(self.provider) is None
        self.entry = login_record.entry_name(self.site.url(""), self.provider)
        own = (self.login_path, self.callback_path, self.webhook_path, self.logout_path)
        if len(set(map(paths.folded, own))) < len(own):
            faults.add("login_path, callback_path, webhook_path and logout_path must be four different paths.")
        faults.raise_all()
        self._prepare()

    def _prepare(self) -> None:
        """Make what answers requests: nothing, where the options are only checked."""


Inner = TypeVar("Inner", bound=MiddlewareOptions)


def check_layers(
    inner_class: type[Inner], app: WSGIApplication, *, base_url: str, session: Any, **options: Any
) -> tuple[Inner, dict[str, Any]]:
    """Check the options of both layers: return the inner one, and Beaker's options for the outer one.

    :param inner_class: ``ClefMiddleware``, or the class of its options alone.
    :raises ConfigurationError: with every fault of both layers.
    """
    faults = Faults()
    inner: Inner = faults.made(inner_class, app, base_url=base_url, **options)
    beaker: dict[str, Any] = faults.made(_beaker_options, base_url, session, inner)
    faults.raise_all()
    return inner, beaker


def _beaker_options(base_url: str, session: Any, inner: MiddlewareOptions | None) -> dict[str, Any]:
    """Return Beaker's options, with records and a cookie that last as long as a login can."""
    if not isinstance(session, Mapping):
        raise ConfigurationError('session must be a dict of Beaker\'s options, such as {"secret": "..."}.')
    ages = {"max_login_age": inner.max_login_age, "state_lifetime": inner.state_lifetime} if inner else {}
    given = {name.removeprefix("session."): value for name, value in session.items()}
    return session_options(base_url=base_url, **{**ages, **given})
