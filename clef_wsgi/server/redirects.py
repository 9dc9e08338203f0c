"""Which addresses a browser is sent back to, and how; and which hooks belong to an app.

The rule (Clef wire protocol, section 1): scheme, host, port and path equal a registered address; the query is
free, but must not hold ``code`` or ``state``; no fragment, no userinfo. Knows nothing of apps or databases.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[!-\[\]-~]+")  # visible ASCII without the backslash: urlsplit drops tabs and newlines
_TO_ESCAPE = re.compile(r"[ \u00a0-\U0010ffff]")  # never control characters
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9._:\[\]-]+")  # no userinfo, and nothing that ends a CSP directive
_NOT_FOR_APPS = {"javascript", "data", "blob", "file", "vbscript", "about", "view-source", "filesystem"}
MAX_LENGTH = 2048
"""The longest redirect URL or hook, in characters."""


def default_port(scheme: str) -> int | None:
    """Return the default port of http or https (RFC 9110, section 4.2)."""
    return _DEFAULT_PORTS.get(scheme)


def escaped(url: str) -> str:
    """Escape what is no ASCII in an address's query, and spaces: some clients send it as it is.

    Bytes that were no UTF-8 (as surrogates) come back as they came. Elsewhere than in the query nothing changes.
    """
    place, mark, query = url.partition("?")
    return place + mark + _TO_ESCAPE.sub(lambda found: quote(found[0], errors="surrogateescape"), query)


def is_web_url(url: str) -> bool:
    """Whether ``url`` is a plain absolute http or https address: no userinfo, no fragment, nothing to escape."""
    parts = _split(url)
    return parts is not None and parts.scheme in _DEFAULT_PORTS


def is_redirect_url(url: str) -> bool:
    """Whether an app may register ``url``: http, https, or a scheme of its own such as ``myapp://clef``."""
    parts = _split(url)
    return parts is not None and not _answers(parts)


def is_allowed(url: str, registered: Iterable[str]) -> bool:
    """Whether a browser may be sent to ``url``."""
    parts = _split(url)
    if parts is None or _answers(parts):
        return False
    return _place(parts) in {_place(known) for known in map(_split, registered) if known is not None}


def with_answer(redirect_url: str, code: str, state: str | None) -> str:
    """The address with ``code`` and ``state`` added; what stood in its query stays byte for byte."""
    separator = "?" if "?" not in redirect_url else "&" if not redirect_url.endswith("?") else ""
    answer = f"code={quote(code, safe='')}"
    if state is not None:
        # surrogateescape: bytes that are no UTF-8 come back as they came
        answer += "&state=" + quote(state, safe="", errors="surrogateescape")
    return redirect_url + separator + answer


def is_on_domain(hook: str, registered: Iterable[str]) -> bool:
    """Whether scheme, host and port of a web address equal those of a registered one."""
    parts = _split(hook)
    if parts is None or parts.scheme not in _DEFAULT_PORTS:
        return False
    return _place(parts)[:3] in {_place(known)[:3] for known in map(_split, registered) if known is not None}


def host_of(url: str) -> str:
    """What people call a site: host and port, or the whole address where there is none."""
    parts = urlsplit(url)
    return parts.netloc or url


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine (RFC 6761, section 6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult | None:
    """The parts of a plain absolute URL, or ``None`` where it is anything else."""
    if len(url) > MAX_LENGTH or not _PLAIN.fullmatch(url) or "#" in url:
        return None
    try:
        parts = urlsplit(url)
        usable = _SCHEME.fullmatch(parts.scheme) and parts.scheme not in _NOT_FOR_APPS and parts.port != 0
    except ValueError:
        return None
    # "myapp:clef" has no host; an address of the web must have one, or "http:evil" would be plain
    named = _HOST_AND_PORT.fullmatch(parts.netloc) and parts.hostname
    return parts if usable and (named or (not parts.netloc and parts.scheme not in _DEFAULT_PORTS)) else None


def _place(parts: SplitResult) -> tuple[str, str, int | None, str]:
    port = parts.port if parts.port is not None else default_port(parts.scheme)
    path = parts.path or ("/" if parts.scheme in _DEFAULT_PORTS else "")
    return parts.scheme, parts.hostname or "", port, path


def _answers(parts: SplitResult) -> set[str]:
    names = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    return names & {"code", "state"}
