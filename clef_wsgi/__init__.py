"""Login without passwords, and one logout for every site, for any WSGI app.

Public names only. What needs an extra is loaded when it is asked for.
"""

from .beaker_options import session_options
from .errors import (
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
from .interfaces import EVERYONE, Identity, IdentityProvider, LoginStart, Logout, LogoutStore
from .middleware import ClefMiddleware, wrap
from .providers.clef import ClefProvider
from .stores.memory import MemoryLogoutStore
from .stores.sqlite import SQLiteLogoutStore

__all__ = [
    "EVERYONE",
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
    "session_options",
    "wrap",
]
