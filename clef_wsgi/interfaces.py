"""Contracts of the two plugs, identity provider and logout store, and the values that pass through them.

A plug is an instance, made once, and shared by all threads of a process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

EVERYONE = "everyone"
"""The key that counts for every login: a logout recorded under it ends them all."""

MAX_ACCOUNT_LENGTH = 200
"""The most that a page shows of an account's name, in characters."""

MAX_USER_ID_LENGTH = 512
"""The longest ``id`` of a person, in characters."""


@dataclass(frozen=True)
class LoginStart:
    """The beginning of a login: where to send the browser, and what the provider wants back at the end.

    ``url`` is absolute. ``provider_state`` is a small dict of JSON values that waits in the session.
    """

    url: str = field(repr=False)
    provider_state: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Identity:
    """The person who logged in.

    ``user`` holds ``id`` (a non-empty ``str`` of at most 512 characters, case-sensitive) and, where known,
    ``email``, ``first_name``, ``last_name``, ``phone_number`` (``str``), and ``authenticated_at``, when the provider
    last authenticated the person (``float`` seconds since the epoch); without it the moment of the callback is taken.
    ``keys`` are logout keys beyond the person's own, such as the provider's session. ``provider_state`` is a small
    dict of JSON values that ``end_login`` needs: it stays beside the login, is read at a logout alone, is never shown
    to the app, and may be lost.
    """

    user: Mapping[str, Any] = field(repr=False)
    keys: tuple[str, ...] = ()
    provider_state: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Logout:
    """A logout that the provider vouches for.

    ``keys`` are the logout keys it ends. ``idempotency_key`` is a digest of the notification, so that the same one has
    one effect only; ``None`` where every delivery shall count.
    """

    keys: tuple[str, ...]
    idempotency_key: str | None = field(default=None, repr=False)


@runtime_checkable
class IdentityProvider(Protocol):
    """Authenticate people (OpenID Connect: OP; OAuth: authorization server).

    No method may block longer than the provider's own deadline.

    ``issuer`` (``str``), an attribute or property beside the methods, says who answers for the identities: two
    instances have the same one just when the same people have the same ids at both, and it is the same in every
    process. A login in a session belongs to the site and the issuer that it began with (RFC 9700, section 4.4). A
    provider without it may be used alone in a session: a second middleware there is refused. ``client_id`` (``str``),
    where there is one, tells two clients of one issuer apart.

    Optional: ``bounds_exchanges = True`` says that :meth:`read_logout` asks nobody, or bounds its exchanges itself.
    Without it at most two calls of it are under way in a process, since anybody can post to a webhook.

    Optional: ``end_login(provider_state, return_url, state) -> str | None`` gives the absolute URL where a browser may
    end the provider's own session (OpenID Connect RP-Initiated Logout 1.0), or None where there is none.
    ``provider_state`` is that of :class:`Identity`, or empty where it was lost; ``return_url`` is where the browser
    comes back to, with ``state`` in its query. It may not take longer than a second, and may raise
    ``ProviderUnavailable``.

    Optional: ``start_login`` may take a keyword ``hints``: a dict with at most ``login_hint`` (``str``, at most 255
    characters), ``prompt`` (``login`` or ``select_account``) and ``max_age`` (seconds, ``int``: how long ago the person
    may have been authenticated; what ``finish_login`` accepts is checked against that).

    Optional: ``default_login_age`` (``timedelta`` or seconds) in place of 30 days; ``max_logout_token_length``
    (characters) in place of 2,048; ``reads_errors = True``, where ``finish_login`` is to be called for an ``error`` of
    the provider, too, since the error has to be proven; ``advertises_logout() -> bool``, for ``clef-wsgi check``.

    Optional: ``check_peer(redirect_url)`` tells ``clef-wsgi check`` whether the other side knows this site: an iterable
    of findings, each a tuple of severity (``ok``, ``warning`` or ``error``), sentence and remedy. It may raise
    ``ProviderUnavailable``.
    """

    def start_login(self, state: str, redirect_url: str) -> LoginStart:
        """Return where a login begins: the authorization request (RFC 6749, section 4.1.1).

        :param state: opaque ASCII text that has to come back unchanged.
        :param redirect_url: this site's absolute callback URL.
        :raises ProviderUnavailable: when that can't be told without asking the provider, in vain.
        """

    def finish_login(self, query: Mapping[str, str], provider_state: Mapping[str, Any], redirect_url: str) -> Identity:
        """Turn the callback into an identity: the authorization response and the token request (RFC 6749, section 4.1).

        :param query: the callback's query; ``code`` and ``state`` are there, once each, and the state has
            been matched and spent already.
        :param provider_state: what :meth:`start_login` gave for this very login.
        :param redirect_url: as given to :meth:`start_login`.
        :raises LoginRefused: the login must not go on.
        :raises ProviderUnavailable: the provider can't be asked, or makes no sense.
        """

    def read_logout(self, form: Mapping[str, str]) -> Logout:
        """Verify a back-channel logout request, and return whom it logs out.

        :param form: the request's form; ``logout_token`` is there, once, and not empty.
        :raises LogoutRefused: the request is not genuine.
        :raises ProviderUnavailable: it can't be told, or the provider makes no sense.
        """

    def user_key(self, user_id: str) -> str:
        """Return the logout key of a person: it names provider, application and id, since sites may share a store."""


@runtime_checkable
class LogoutStore(Protocol):
    """Stamp logins and logouts with one hybrid logical clock, which never goes back.

    A stamp is an ``int`` of microseconds: the store's own time, or one more than the greatest stamp it ever
    gave out for anything, whichever is greater. Keys are opaque text. A store is born with a record for
    :data:`EVERYONE`; one that lost its records is born again, so that the logins it forgot are signed out.

    Every method raises ``StoreUnavailable`` when the store can't be asked, within its time-out. A store that
    only works inside one process sets ``single_process = True``.
    """

    def tick(self) -> int:
        """Return a new stamp in microseconds, greater than all before it."""

    def record_logout(self, keys: Iterable[str], *, idempotency_key: str | None = None) -> bool:
        """Record a logout of all ``keys`` under one new stamp, in one transaction, durably.

        :param idempotency_key: a digest; when the store knows it already, nothing is done.
        :returns: True when recorded, False when ``idempotency_key`` was known.
        """

    def newest_logout(self, keys: Iterable[str]) -> int:
        """Return the newest stamp among ``keys`` and :data:`EVERYONE`, in one round trip."""

    def prune(self, older_than: float) -> int:
        """Drop records older than ``older_than`` seconds, and raise :data:`EVERYONE` to that moment.

        Nothing that was pruned can come back to life: a login of before the cut is dead by ``everyone``.

        :returns: the number of records dropped.
        """


def account_of(found: Mapping[str, Any], id_name: str) -> str:
    """Return what a person knows their account by, for the page that refuses it.

    :param found: ``user``, or a provider's claims.
    :param id_name: where the id stands in it.
    """
    names = (found.get(name) for name in ("email", "preferred_username", "name", id_name))
    texts = (name for name in names if isinstance(name, str) and name and name.isprintable())
    return next(texts, "?")[:MAX_ACCOUNT_LENGTH]


def is_user_id(value: Any) -> bool:
    """Return whether a person can have this ``id``."""
    return type(value) is str and 0 < len(value) <= MAX_USER_ID_LENGTH


def are_keys(value: Any) -> bool:
    """Return whether these can be logout keys."""
    return isinstance(value, tuple | list) and all(isinstance(key, str) for key in value)
