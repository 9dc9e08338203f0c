"""Check every request against CSRF and foreign hosts, and add security headers to every answer.

A POST outside the API needs both: same origin (``Sec-Fetch-Site``, ``Origin`` or ``Referer``), and the CSRF token of
a page, as field ``token`` or header ``X-Clef-Token``.
"""

from __future__ import annotations

import logging
import re
from urllib.parse import urlsplit

from flask import Flask, Response, g, request

from clef_wsgi.base.urls import DEFAULT_PORTS, is_same_origin, origin_of
from clef_wsgi.server.web.support import cookies
from clef_wsgi.server.web.support.context import request_address, server
from clef_wsgi.server.web.support.pages import PageError

_log = logging.getLogger(__name__)
API = "/api/"
_ANY_HOST = (API, "/healthz", "/metrics")  # asked by machines, perhaps under a name inside a network
_SAFE = ("GET", "HEAD", "OPTIONS")
_MAX_OTHER_HOSTS = 20
"""Largest number of foreign host names that are logged: clients choose them freely."""
_PLAIN_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,120}")
_PORT = re.compile(r":[0-9]{1,5}$")
MAX_BODY = 64 * 1024
"""Bytes of a request; a passkey's response has a few KiB."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)


def install(app: Flask) -> None:
    """Check every request before, and add headers to every answer after it is handled."""
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["MAX_FORM_MEMORY_SIZE"] = MAX_BODY
    app.before_request(_check)
    app.after_request(cookies.write_cookies)
    app.after_request(_add_headers)


def limit(kind: str) -> None:
    """Count this request against the rate limit of its client address.

    :raises TooManyRequests: it is one too many.
    """
    server().limiter.hit(kind, request_address())


def _check() -> None:
    if request.path.startswith(_ANY_HOST):
        return
    if not _is_own_host(host := request.headers.get("Host", "")):
        raise _other_host(host)
    if "\0" in request.path:  # no database of ours is asked for that: PostgreSQL would refuse it
        raise PageError("not_found", 404)
    if request.method in _SAFE:
        return
    if not is_same_origin(request.environ, origin_of(server().options.origin) or ""):
        raise PageError("other_site", 403)
    if not cookies.is_form_token(request.headers.get("X-Clef-Token") or request.form.get("token", "")):
        raise PageError("old_page", 403)
    if any("\0" in value for values in request.form.listvalues() for value in values):
        raise PageError("bad_request")


def _is_own_host(host: str) -> bool:
    """Return whether a Host header names this server, in any case, with or without the default port and a final dot."""
    parts = urlsplit(server().options.origin)
    usual = DEFAULT_PORTS[parts.scheme]
    port = _PORT.search(host)
    name = host.removesuffix(port[0]) if port else host
    given = name.lower().removesuffix("."), int(port[0][1:]) if port else usual
    return given == (parts.hostname, parts.port or usual)


def _other_host(host: str) -> PageError:
    """Name the host that was asked for and the server's own (RFC 9110, section 15.5.20); log each such host once."""
    asked = host if _PLAIN_HOST.fullmatch(host) else "?"
    own, logged = urlsplit(server().options.origin).netloc, server().other_hosts
    if asked not in logged and len(logged) < _MAX_OTHER_HOSTS:
        logged.add(asked)
        _log.warning("asked for as %s, and the server is %s: a proxy in front must pass on Host", asked, own)
    return PageError("other_host", 421, asked=asked, own=own)


def _add_headers(response: Response) -> Response:
    headers = response.headers
    headers["Content-Security-Policy"] = _POLICY
    headers["X-Frame-Options"] = "DENY"
    headers["X-Content-Type-Options"] = "nosniff"
    # With no-referrer a form says "Origin: null" (Fetch, "append a request Origin header"), which is all that browsers
    # without Sec-Fetch-Site say. The address of a page without a form, which may hold a secret, goes to nobody.
    headers["Referrer-Policy"] = "same-origin" if g.get("has_form") else "no-referrer"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    headers.setdefault("Cache-Control", "no-store")
    if server().options.is_https:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return response
