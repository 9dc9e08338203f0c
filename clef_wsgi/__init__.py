"""Login without passwords, and one logout for every site, for any WSGI app.

Public names only. What needs an extra is loaded when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .base.errors import (
    ClaimRejected,
    ClefError,
    CodeRejected,
    ConfigurationError,
    LoggedOutMeanwhile,
    LoginRefused,
    LogoutRefused,
    ProviderUnavailable,
    StateExpired,
    StateMismatch,
    StoreUnavailable,
)
from .beaker.options import session_options
from .interfaces import EVERYONE, Identity, IdentityProvider, LoginStart, Logout, LogoutStore
from .middleware import ClefMiddleware, wrap
from .providers.clef import ClefProvider
from .settings import from_settings, settings_from_environ
from .stores.cached import CachedLogoutStore
from .stores.memory import MemoryLogoutStore
from .stores.sqlite import SQLiteLogoutStore

if TYPE_CHECKING:
    from .providers.oidc import OIDCProvider as OIDCProvider
    from .stores.redis import RedisLogoutStore as RedisLogoutStore
    from .stores.sql import SQLAlchemyLogoutStore as SQLAlchemyLogoutStore

__all__ = [
    "EVERYONE",
    "CachedLogoutStore",
    "ClaimRejected",
    "ClefError",
    "ClefMiddleware",
    "ClefProvider",
    "CodeRejected",
    "ConfigurationError",
    "Identity",
    "IdentityProvider",
    "LoggedOutMeanwhile",
    "LoginRefused",
    "LoginStart",
    "Logout",
    "LogoutRefused",
    "LogoutStore",
    "MemoryLogoutStore",
    "ProviderUnavailable",
    "SQLiteLogoutStore",
    "StateExpired",
    "StateMismatch",
    "StoreUnavailable",
    "from_settings",
    "session_options",
    "settings_from_environ",
    "wrap",
]

# Public too, and not in __all__: a star import shall work without the extras.
_EXTRAS = {
    "OIDCProvider": (".providers.oidc", "oidc"),
    "RedisLogoutStore": (".stores.redis", "redis"),
    "SQLAlchemyLogoutStore": (".stores.sql", "sql"),
}


def __getattr__(name: str) -> object:
    if name not in _EXTRAS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, extra = _EXTRAS[name]
    try:
        return getattr(import_module(module, __name__), name)
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        raise ConfigurationError(f'{name} needs {library}: pip install ".[{extra}]" in its clone') from None


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXTRAS})
