"""Send one notification to one webhook: the form ``logout_token=...`` (Clef wire protocol, section 4).

2xx and 3xx are answers; the body means nothing. No redirect is followed, no cookie, proxy or ``.netrc`` is used,
and certificates are verified.
"""

from __future__ import annotations

import functools
import http.client
import re
import ssl
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlencode, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from clef_wsgi.base.deadline import AddressRefused, Exchange, NoAddress
from clef_wsgi.server.delivery import failures
from clef_wsgi.server.delivery.address import is_public, parsed

CALL_SECONDS = 10.0
"""For a whole call: the site exchanges the token meanwhile, and records the logout."""

MAX_BODY = 64 * 1024
"""Bytes of an answer that are read, so that no site is cut off while it writes; they are not looked at."""


@dataclass(frozen=True)
class AttemptResult:
    """The result of a call: the HTTP status, or why there is none. ``retry_after`` is the header's text.

    ``connected`` is whether a connection was made, where there is no status.
    """

    status: int | None = None
    failure: str | None = None
    retry_after: str | None = field(default=None, repr=False)
    connected: bool = field(default=False, compare=False)

    @property
    def is_answered(self) -> bool:
        """Return whether the status is 2xx or 3xx. That alone confirms nothing."""
        return self.failure is None

    @property
    def is_busy(self) -> bool:
        """Return whether the site answered 503 and asked for another attempt within two seconds: no failure."""
        return self.status == 503 and re.fullmatch("0*[0-2]", (self.retry_after or "").strip()) is not None


Call = Callable[..., AttemptResult]


def call(
    url: str,
    token: str,
    *,
    user_agent: str,
    allow_private: bool,
    seconds: float = CALL_SECONDS,
    context: ssl.SSLContext | None = None,
    **resolve: Callable[..., list[tuple[object, ...]]],
) -> AttemptResult:
    """Send one notification, once. Raises nothing: every way to fail is a result.

    :param allow_private: whether the webhook may be in a private network, or on this machine (SSRF).
    :param seconds: for the whole call, from name look-up to the answer's header.
    :param context: whose certificates are trusted, if not those of :func:`trusted`.
    """
    exchange: Exchange[AttemptResult] = Exchange(seconds, may_connect=_any if allow_private else _public, **resolve)
    try:
        return exchange.run(functools.partial(_post, exchange, urlsplit(url), token, user_agent, context))
    except Exception as error:  # noqa: BLE001  a foreign server's bytes went through parsers
        return AttemptResult(failure=_failure(error), connected=exchange.connected)


@functools.lru_cache(maxsize=1)
def trusted() -> ssl.SSLContext:
    """Return a context with the usual authorities, and those this machine trusts (``SSL_CERT_FILE`` is obeyed)."""
    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


def _public(address: str) -> bool:
    return is_public(parsed(address))


def _any(address: str) -> bool:
    return True


def _post(
    exchange: Exchange[AttemptResult],
    url: SplitResult,
    token: str,
    user_agent: str,
    context: ssl.SSLContext | None,
) -> AttemptResult:
    body = urlencode({"logout_token": token})
    headers = {
        "User-Agent": user_agent,
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "*/*",
        "Connection": "close",
    }
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    with closing(_connected(exchange, url, context)) as connection:
        connection.request("POST", target, body, headers)
        with closing(connection.getresponse()) as response:
            outcome = _outcome(response)
            exchange.settle(outcome)
            response.read(MAX_BODY)  # a site that is cut off while it writes may stop what it is doing
    return outcome


def _connected(
    exchange: Exchange[AttemptResult], url: SplitResult, context: ssl.SSLContext | None
) -> http.client.HTTPConnection:
    """Return a connection with a socket already, so that ``http.client`` never connects to anything by itself."""
    host, is_tls = url.hostname or "", url.scheme == "https"
    port = url.port or (443 if is_tls else 80)
    context = (context or trusted()) if is_tls else None
    sock = exchange.open_socket(host, port)
    try:
        if context is None:
            connection = http.client.HTTPConnection(host, port)
            connection.sock = sock
        else:
            connection = http.client.HTTPSConnection(host, port, context=context)
            connection.sock = context.wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise
    return connection


def _outcome(response: http.client.HTTPResponse) -> AttemptResult:
    status = response.status
    if 200 <= status < 400:
        return AttemptResult(status)
    return AttemptResult(status, failures.of_status(status), response.headers.get("Retry-After"))


def _failure(error: Exception) -> str:
    kinds = (
        (AddressRefused, failures.REFUSED_ADDRESS),
        (NoAddress, failures.NO_ADDRESS),
        (TimeoutError, failures.TIMEOUT),
        (ssl.SSLError, failures.TLS),
        (OSError, failures.CONNECTION),
    )
    return next((code for kind, code in kinds if isinstance(error, kind)), failures.ANSWER)
