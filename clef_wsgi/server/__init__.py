"""The self-hosted login server: people sign in with passkeys, old Clef clients work against it unchanged.

``create_app`` makes the WSGI app. Importing this package alone loads no web framework and no database. It
meets the middleware over HTTP only; both stand on ``clef_wsgi.base``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clef_wsgi.server.errors import ConfigurationError

if TYPE_CHECKING:
    from clef_wsgi.server.app import create_app
    from clef_wsgi.server.options import Limits

__all__ = ["ConfigurationError", "Limits", "create_app"]

_ROOMS = {"Limits": "options", "create_app": "app"}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
