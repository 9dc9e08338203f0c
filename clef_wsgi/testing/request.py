"""Make environ as the middleware would leave it, for unit tests without the middleware."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

from webob import Request

from clef_wsgi.base.urls import Site
from clef_wsgi.cache_headers import CacheHeaders
from clef_wsgi.clef_login import ClefLogin


class _Gate:
    """Stands for the middleware: buttons lead to its usual paths, and a sign-out has nothing to end."""

    site = Site("http://localhost")
    login_path = "/clef/login"
    logout_path = "/clef/logout"
    button_language = "en"

    def draw_button(self, environ: dict[str, Any], next: str | None) -> str:
        return '<script class="clef-button"></script>'

    def sign_out(self, environ: dict[str, Any]) -> None:
        pass

    def is_active(self, record: Any) -> bool:
        return True

    def provider_state(self, environ: dict[str, Any]) -> None:
        return None

    def end_url(self, provider_state: Mapping[str, Any], next: str | None) -> None:
        return None


def environ(user: str | Mapping[str, Any] | None = None, path: str = "/", **more: Any) -> dict[str, Any]:
    """Return a WSGI environ with ``clef.user`` and ``clef.login``.

    :param user: an id, a dict with ``id``, or ``None`` for nobody.
    :param path: the request's path and query.
    :param more: further entries, such as ``REQUEST_METHOD="POST"``.
    """
    made: dict[str, Any] = {**Request.blank(path).environ, **clef_entries(user)}
    made.update(more)
    login = made["clef.login"]
    login._environ, login._path = made, made["PATH_INFO"]
    return made


def clef_entries(user: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return ``clef.user`` and ``clef.login``, to be merged into an environ."""
    entries: dict[str, Any] = {"clef.user": None}
    login = entries["clef.login"] = ClefLogin(_Gate(), {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, CacheHeaders())
    if user is not None:
        person = {"id": user} if isinstance(user, str) else dict(user)
        now = time.time()
        entries["clef.user"] = {"authenticated_at": now, **person, "logged_in_at": now}
        login.id = "login:" + secrets.token_hex(16)
    return entries
