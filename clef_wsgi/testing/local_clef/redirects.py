"""Which addresses a Clef sends a browser back to, and how.

The rule (Clef wire protocol, section 1): scheme, host, port and path equal the registered ones; the query
is free, but must not hold ``code`` or ``state``; no fragment, no userinfo. This file knows nothing of apps,
people or HTTP.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit, urlunsplit

from clef_wsgi._paths import is_loopback

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[!-\[\]-~]+")  # visible ASCII without the backslash: urlsplit drops tabs and newlines
_TO_ESCAPE = re.compile(r"[ \u00a0-\U0010ffff]")  # never control characters
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9.:\[\]-]+")  # no userinfo, and nothing that ends a CSP directive


class InvalidRedirect(ValueError):
    """The browser must not be sent there. The message is the service's own, and says no more."""

    def __init__(self) -> None:
        super().__init__("Invalid redirect URL.")


def is_loopback_url(url: str) -> bool:
    """Whether ``url`` is a plain absolute http or https address of this machine."""
    try:
        parts = _split(url)
    except ValueError:
        return False
    return parts.scheme in _DEFAULT_PORTS and is_loopback(parts.hostname or "")


def check_redirect(redirect_url: str, registered: str | None) -> None:
    """Lets an allowed address pass.

    :param registered: the app's redirect URL; ``None`` allows every loopback address.
    :raises InvalidRedirect: for any other.
    """
    try:
        parts = _split(redirect_url)
        names = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        allowed = is_loopback_url(redirect_url) if registered is None else _place(parts) == place(registered)
    except ValueError:
        raise InvalidRedirect from None
    if not allowed or names & {"code", "state"}:
        raise InvalidRedirect


def with_answer(redirect_url: str, code: str, state: str | None) -> str:
    """The address with ``code`` and ``state`` added; what stood in its query stays byte for byte."""
    separator = "?" if "?" not in redirect_url else "&" if not redirect_url.endswith("?") else ""
    answer = f"code={quote(code, safe='')}"
    if state is not None:
        # surrogateescape: bytes that are no UTF-8 come back as they came
        answer += "&state=" + quote(state, safe="", errors="surrogateescape")
    return redirect_url + separator + answer


def escaped(url: str) -> str:
    """Escape what is no ASCII in an address's query, and spaces: some clients send it as it is."""
    place, mark, query = url.partition("?")
    return place + mark + _TO_ESCAPE.sub(lambda found: quote(found[0], errors="surrogateescape"), query)


def sibling_webhook(redirect_url: str) -> str | None:
    """The webhook next to a callback: the last segment of the path changed, ``None`` for other paths."""
    parts = urlsplit(redirect_url)
    folder, _, last = parts.path.rpartition("/")
    return urlunsplit((parts.scheme, parts.netloc, folder + "/webhook", "", "")) if last == "callback" else None


def origin(url: str) -> str:
    """``scheme://host[:port]`` of an absolute URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def place(url: str) -> tuple[str, str, int | None, str]:
    """Scheme, host, port and path, in a form that can be compared.

    :raises ValueError: when it is not a plain absolute URL.
    """
    return _place(_split(url))


def _place(parts: SplitResult) -> tuple[str, str, int | None, str]:
    port = parts.port if parts.port is not None else _DEFAULT_PORTS.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port, parts.path or "/"


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if not (parts.scheme and _PLAIN.fullmatch(url) and _HOST_AND_PORT.fullmatch(parts.netloc)) or "#" in url:
        raise ValueError("not a plain absolute URL")
    return parts
