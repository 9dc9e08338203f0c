"""Ask a provider over HTTP: allowed addresses alone, one deadline, no redirects, a cap on what is read.

Every provider goes through here.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import re
import ssl
import time
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from clef_wsgi.base.deadline import Exchange
from clef_wsgi.base.errors import ProviderUnavailable
from clef_wsgi.base.options import Faults, ca_file_faults, check_url, host_faults, proxy_faults, timeout_faults
from clef_wsgi.base.urls import is_loopback

from .deadline_adapter import DeadlineAdapter

MAX_BODY_BYTES = 64 * 1024
MAX_RETRY_AFTER_SECONDS = 3600

_FAILURES = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError, UnicodeError)
_SENTENCES = {
    "provider_refused_app": "The login service does not accept this site's app_id and app_secret.",
    "provider_timeout": "The login service did not answer in time.",
    "provider_tls": "The login service's certificate can't be verified.",
    "provider_answer": "The login service gave an answer that makes no sense.",
}


@dataclass(frozen=True)
class Answer:
    """A peer's answer: the HTTP status, and the JSON object that was its body.

    ``date`` is its ``Date`` in seconds since the epoch. A JWT (``application/jwt``) is not read: ``document`` is empty
    then.
    """

    status: int
    document: Mapping[str, Any] = field(repr=False)
    media_type: str = ""
    date: float | None = None


class HttpClient:
    """An HTTP client for JSON. Shared by all threads; nothing is kept between two exchanges, and nothing opened here.

    :param timeout_seconds: for a whole exchange: name look-up, connection, TLS, request, headers and body.
    :param ca_file: PEM file with the certificates to trust, instead of the usual authorities.
    :param proxy_url: an http or https proxy. It is not used for loopback hosts.
    :param allow_http_hosts: host names that may be asked without TLS; loopback hosts always may.
    :raises ConfigurationError: with all that is wrong.

    An exchange is one request, never repeated, never redirected. It returns an :class:`Answer` or raises
    ``ProviderUnavailable`` with ``http_status`` (int, or None where there was none), ``cause`` (class name of
    what failed, or None), ``retry_after`` (seconds) and one of these reasons:

    ======================== =========================================================================
    ``provider_unavailable`` no connection, a broken one, or a status of 429 or 500 and above
    ``provider_timeout``     no whole answer before the deadline
    ``provider_tls``         its certificate is not valid for its name, or TLS failed
    ``provider_answer``      an answer, but a redirect, cut off, too long, not a JSON object, or in another
                             coding than gzip; or an address from the provider's own documents that may not be asked
    ======================== =========================================================================
    """

    def __init__(
        self,
        *,
        timeout_seconds: float = 5.0,
        ca_file: str | None = None,
        proxy_url: str | None = None,
        allow_http_hosts: Collection[str] = (),
    ) -> None:
        faults = Faults()
        faults.add(*timeout_faults(timeout_seconds), *ca_file_faults(ca_file), *proxy_faults(proxy_url))
        faults.add(*host_faults(allow_http_hosts))
        faults.raise_all()
        self._timeout_seconds = timeout_seconds
        self._verify = ca_file or True
        self._proxies = {"http": proxy_url, "https": proxy_url} if proxy_url else {}
        self._allow_http_hosts = frozenset(host.lower() for host in allow_http_hosts)

    def deadline(self) -> float:
        """Return a moment of ``time.monotonic()``, ``timeout_seconds`` from now, for several exchanges together."""
        return time.monotonic() + self._timeout_seconds

    def get_json(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        until: float | None = None,
    ) -> Answer:
        """Send a GET. ``params`` go into the query; ``until`` is a :meth:`deadline`, without it a new one."""
        return self._exchange(requests.Request("GET", url, params=params, headers=headers), until)

    def post_form(
        self,
        url: str,
        form: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        until: float | None = None,
    ) -> Answer:
        """Send a POST of ``application/x-www-form-urlencoded``; ``until`` as in :meth:`get_json`."""
        return self._exchange(requests.Request("POST", url, data=form, headers=headers), until)

    def _exchange(self, request: requests.Request, until: float | None) -> Answer:
        if check_url(request.url, "url", allow_http_hosts=self._allow_http_hosts, allow_query=True):
            raise unavailable("provider_answer")
        seconds = (self.deadline() if until is None else until) - time.monotonic()
        if seconds <= 0:
            raise unavailable("provider_timeout")
        try:
            return Exchange[Answer](seconds).run(functools.partial(self._ask, request, seconds))
        except TimeoutError:
            failure = unavailable("provider_timeout")
        except OSError as error:  # no thread to be had
            failure = unavailable(cause=type(error).__name__)
        raise failure

    def _ask(self, request: requests.Request, seconds: float) -> Answer:
        # No requests.Session: that is where .netrc, cookies, redirects, and the environment's proxies and CAs
        # come from; and even told not to follow a redirect, it reads the whole of its body without a cap.
        try:
            request.headers = {**_headers(), **request.headers}
            prepared = request.prepare()
            proxies = {} if is_loopback(urlsplit(request.url).hostname or "") else self._proxies
            with (
                contextlib.closing(DeadlineAdapter()) as adapter,
                adapter.send(prepared, True, seconds, self._verify, None, proxies) as response,
            ):
                return _read(response)
        except _FAILURES as error:
            failure = _translate(error)
        # Outside of the handler, and so without the cause: its text holds the URL, which may hold a token.
        raise failure


def unavailable(
    reason: str = "provider_unavailable",
    *,
    http_status: int | None = None,
    cause: str | None = None,
    retry_after: str | None = None,
) -> ProviderUnavailable:
    """Make the error for ``reason``, with every detail set. ``retry_after`` is the header's text, if there was one."""
    details: dict[str, Any] = {"http_status": http_status, "cause": cause}
    if retry_after and re.fullmatch(r"[0-9]{1,10}", retry_after):  # RFC 9110, section 10.2.3, without dates
        details["retry_after"] = min(max(int(retry_after), 1), MAX_RETRY_AFTER_SECONDS)
    return ProviderUnavailable(_SENTENCES.get(reason), reason=reason, **details)


@functools.lru_cache(maxsize=1)
def _headers() -> dict[str, str]:
    try:
        version = metadata.version("clef_wsgi")
    except metadata.PackageNotFoundError:  # run from a source tree
        version = "unknown"
    return {
        "User-Agent": f"clef_wsgi/{version}",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }


def _read(response: requests.Response) -> Answer:
    status = response.status_code
    if status == 429 or status >= 500:
        raise unavailable(http_status=status, retry_after=response.headers.get("Retry-After"))
    if status < 200 or 300 <= status < 400:
        raise unavailable("provider_answer", http_status=status)
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type == "application/jwt":
        return Answer(status, {}, media_type)
    body = response.raw.read(MAX_BODY_BYTES + 1, decode_content=False)
    is_cut_off = bool(response.raw.length_remaining)  # fewer bytes than its Content-Length says; or far too many
    content = None if is_cut_off else _decoded(body, response.headers.get("Content-Encoding", ""))
    document = json_object(content) if content is not None and len(content) <= MAX_BODY_BYTES else None
    if document is None:
        raise unavailable("provider_answer", http_status=status)
    return Answer(status, document, media_type, _seconds(response.headers.get("Date", "")))


def _seconds(date: str) -> float | None:
    """Return the seconds since the epoch of an HTTP date (RFC 9110, section 5.6.7), or None."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _decoded(body: bytes, coding: str) -> bytes | None:
    """Decode the content, up to a byte more than the cap; None where it is cut off, or in a coding that is not read.

    We ask for none (RFC 9110, section 12.5.3). Servers behind a proxy that compresses all the same are told from a
    bomb by the cap.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip"):
        return None
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # gzip alone
    try:
        content = unpacking.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        return None
    return content if unpacking.eof and not unpacking.unused_data else None


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return the object, or None where the body is anything else than one object of I-JSON (RFC 7493).

    A byte order mark in front is ignored, as RFC 8259, section 8.1, allows.
    """
    try:
        document = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_unique)
        # NaN, Infinity, 1e999 and half a surrogate pair pass the parser, but can't be written again.
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError):  # ValueError: also too many digits
        return None
    return document if isinstance(document, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name occurs twice")
    return members


def _translate(error: Exception) -> ProviderUnavailable:
    root: BaseException = error
    while (inner := root.__cause__ or root.__context__) is not None:
        root = inner
    return unavailable(_reason(error, root), cause=type(root).__name__)


def _reason(error: BaseException, root: BaseException) -> str:
    timeouts = (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)
    if isinstance(error, timeouts) or isinstance(root, timeouts):
        return "provider_timeout"
    if isinstance(error, requests.exceptions.SSLError) or isinstance(root, ssl.SSLError):
        return "provider_tls"
    return "provider_unavailable" if isinstance(root, OSError) else "provider_answer"
