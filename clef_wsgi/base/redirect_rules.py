"""Judge redirect URLs and webhooks by the rules of the Clef wire protocol (section 1): no open redirect.

Scheme, host, port and path equal those of a registered URL, character by character; the query is free, but must not
hold ``code`` or ``state``; no fragment, no userinfo. What browsers read in more than one way is refused: all but
visible ASCII, backslashes, port 0 and ports above 65535, brackets elsewhere than around an IPv6 address, more than
2,048 characters. A name with an underscore is taken, since browsers and containers use such names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from .urls import DEFAULT_PORTS, is_loopback

MAX_LENGTH = 2048
"""The longest redirect URL or webhook, in characters, its query escaped."""

CALLBACK_PATH = "/clef/callback"
"""Default path of the middleware's callback, behind its mount prefix."""

_PLAIN = re.compile(r"[!-\[\]-~]+")  # visible ASCII without the backslash: urlsplit drops tabs and newlines
_TO_ESCAPE = re.compile(r"[ \u00a0-\U0010ffff]")  # never control characters
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_HOST_AND_PORT = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")  # nothing that ends a CSP directive
_NOT_FOR_APPS = {"javascript", "data", "blob", "file", "vbscript", "about", "view-source", "filesystem"}


def escape_query(url: str) -> str:
    """Escape spaces and what is not ASCII in a URL's query: some clients send it raw.

    Bytes that are not UTF-8, given as surrogates, come back as they came.
    """
    place, mark, query = url.partition("?")
    return place + mark + _TO_ESCAPE.sub(lambda found: quote(found[0], errors="surrogateescape"), query)


def is_web_url(url: str) -> bool:
    """Return whether this is a plain absolute http or https URL: no userinfo, no fragment, nothing to escape."""
    parts = _split(url)
    return parts is not None and parts.scheme in DEFAULT_PORTS


def is_redirect_url(url: str) -> bool:
    """Return whether an app may register this URL: http, https, or a scheme of its own such as ``myapp://clef``."""
    parts = _split(url)
    return parts is not None and not _holds_answer(parts)


def is_allowed(url: str, registered: Iterable[str]) -> bool:
    """Return whether a browser may be sent to this URL: it equals a registered one, but for its query."""
    parts = _split(url)
    if parts is None or _holds_answer(parts):
        return False
    return _place(parts) in {_place(known) for known in map(_split, registered) if known is not None}


def is_loopback_url(url: str) -> bool:
    """Return whether this is a plain absolute http or https URL of this machine."""
    return is_web_url(url) and is_loopback(urlsplit(url).hostname or "")


def with_answer(redirect_url: str, code: str, state: str | None) -> str:
    """Add ``code`` and ``state``; the query that is there stays byte for byte."""
    separator = "?" if "?" not in redirect_url else "&" if not redirect_url.endswith("?") else ""
    answer = f"code={quote(code, safe='')}"
    if state is not None:
        # surrogateescape: bytes that are no UTF-8 come back as they came
        answer += "&state=" + quote(state, safe="", errors="surrogateescape")
    return redirect_url + separator + answer


def is_on_domain(webhook: str, registered: Iterable[str]) -> bool:
    """Return whether a web URL has the scheme, host and port of a registered one (wire protocol, section 2)."""
    parts = _split(webhook)
    if parts is None or parts.scheme not in DEFAULT_PORTS:
        return False
    return _place(parts)[:3] in {_place(known)[:3] for known in map(_split, registered) if known is not None}


def host_of(url: str) -> str:
    """Return host and port, by which people know a site, or the whole URL where it has none."""
    return urlsplit(url).netloc or url


def front_page(redirect_url: str) -> str | None:
    """Return a page of the site whose registered redirect URL this is, for people; ``None`` where it is no web site.

    The path in front of ``/clef/callback``, where the middleware is mounted, or else the front page of the host.
    """
    parts = _split(redirect_url)
    if parts is None or parts.scheme not in DEFAULT_PORTS:
        return None
    mount = parts.path.removesuffix(CALLBACK_PATH) if parts.path.endswith(CALLBACK_PATH) else ""
    return f"{parts.scheme}://{parts.netloc}{mount}/"


def _split(url: str) -> SplitResult | None:
    if len(url) > MAX_LENGTH or not _PLAIN.fullmatch(url) or "#" in url:
        return None
    try:
        parts = urlsplit(url)
        usable = _SCHEME.fullmatch(parts.scheme) and parts.scheme not in _NOT_FOR_APPS and parts.port != 0
    except ValueError:
        return None
    # "myapp:clef" has no host; a web URL must have one: browsers read "http:evil" as http://evil
    named = _HOST_AND_PORT.fullmatch(parts.netloc)
    return parts if usable and (named or (not parts.netloc and parts.scheme not in DEFAULT_PORTS)) else None


def _place(parts: SplitResult) -> tuple[str, str, int | None, str]:
    port = parts.port if parts.port is not None else DEFAULT_PORTS.get(parts.scheme)
    path = parts.path or ("/" if parts.scheme in DEFAULT_PORTS else "")
    return parts.scheme, parts.hostname or "", port, path


def _holds_answer(parts: SplitResult) -> bool:
    """Return whether the query sets ``code`` or ``state``, as the most lenient site reads it.

    Old frameworks part fields at ``;`` too, some take names in any case, and PHP cuts them at ``[`` and NUL.
    """
    fields = parse_qsl(parts.query.replace(";", "&"), keep_blank_values=True)
    return any(re.split(r"[\[\0]", name.strip().lower())[0] in ("code", "state") for name, _ in fields)
