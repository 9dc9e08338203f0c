"""Judge URLs: origins, loopback hosts, same-origin requests, and return addresses (no open redirect).

The middleware, the server and the test kit all judge by these functions.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from string import punctuation
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from . import paths

MAX_NEXT_LENGTH = 2048
_URL_CHARACTERS = "%/?#[]@!$&'()*+,;=:~-._"
_PATH_CHARACTERS = "/@!$&'()*+,;=:~-._"
DEFAULT_PORTS = {"http": 80, "https": 443}
"""The default ports of http and https (RFC 9110, section 4.2)."""


@dataclass(frozen=True)
class Site:
    """A site's public address: ``origin`` (``https://www.example.com``) and mount ``prefix`` (``/app`` or empty)."""

    origin: str
    prefix: str = ""

    @property
    def is_https(self) -> bool:
        return self.origin.startswith("https:")

    def url(self, path: str) -> str:
        """Return the absolute URL of a native path inside the site. Never built from ``Host`` or forwarded headers."""
        return self.origin + self.prefix + quote(path.encode("latin-1"), safe=punctuation)

    @property
    def home(self) -> str:
        return self.url("/")


def parse_site(base_url: object) -> Site:
    """Parse ``base_url``; raise ``ValueError`` with one sentence that says what to write instead."""
    if not isinstance(base_url, str) or not base_url.isascii() or not base_url.isprintable() or " " in base_url:
        raise ValueError("base_url must be an address like https://www.example.com, in ASCII without spaces.")
    origin, parts = origin_of(base_url), urlsplit(base_url)
    if origin is None or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("base_url must be an address like https://www.example.com or https://www.example.com/app.")
    prefix = parts.path.rstrip("/")
    if prefix and (prefix != paths.canonical(prefix) or "%" in prefix):
        raise ValueError("base_url's path must be plain, like /app: no dots, doubled slashes, '%' or ';'.")
    if origin.startswith("http:") and not is_loopback(parts.hostname or ""):
        raise ValueError("base_url must begin with https:// (plain http is for localhost only).")
    return Site(origin, prefix)


def is_loopback(host: str) -> bool:
    """Return whether a host name or an address without brackets means this very machine (RFC 6761, section 6.3).

    One spelling each: ``localhost``, names below it, and the addresses as :mod:`ipaddress` reads them. A dot at the
    end is refused: not every browser and resolver takes ``localhost.`` for this machine, and neither passkeys nor
    origins made for one of the two names fit the other. ``127.1`` and IPv4 inside of IPv6 are refused as well.
    """
    name = host.lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None


def origin_of(url: str) -> str | None:
    """Return the origin of an http or https URL as browsers write it (RFC 6454, section 6.2), or None."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}")


def current_page(environ: Mapping[str, Any], site: Site) -> str:
    """Return the address that the browser shows: path with prefix, and query. It is not yet proven safe."""
    return page_address(environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", ""), site)


def page_address(native_path: str, query: str, site: Site) -> str:
    """Return a native path (PEP 3333) and a query as the browser shows them, prefix included. Not yet proven safe."""
    path = quote(native_path.encode("latin-1", "replace"), safe=_PATH_CHARACTERS)
    return site.prefix + ("" if path.startswith("/") else "/") + path + ("?" + query if query else "")


def query_of(environ: Mapping[str, Any]) -> str:
    """Return the request's query with its question mark, in ASCII, or nothing."""
    query = environ.get("QUERY_STRING", "").encode("latin-1", "replace")
    return "?" + quote(query, safe=_URL_CHARACTERS) if query else ""


def safe_next(candidate: object, site: Site, own_paths: Collection[str]) -> str | None:
    """Return the address to go back to as a path of the site, or None where it could be an open redirect.

    Refused: what is no path, ``//`` and spaces in the path, backslashes and control characters anywhere, each
    raw or percent-decoded once, the middleware's own endpoints and their near misses, what leaves the prefix,
    more than 2 KiB (RFC 9700, section 4.11). The check does not lean on a URL parser, since parsers disagree.
    """
    if not isinstance(candidate, str) or not candidate.startswith("/") or len(candidate) > MAX_NEXT_LENGTH:
        return None
    try:
        path, rest = _split_path(candidate)
        decoded_path, decoded_rest = unquote(path, errors="strict"), unquote(rest, errors="strict")
        address = quote(candidate, safe=_URL_CHARACTERS)
    except UnicodeError:
        return None
    # Decoding keeps what is no escape, so the decoded text shows what stands there raw as well.
    if not (_is_plain_path(decoded_path) and _is_plain(decoded_rest)) or " " in rest:
        return None
    if len(address) > MAX_NEXT_LENGTH or not _is_page(paths.to_native(decoded_path), site.prefix, own_paths):
        return None
    return address


def _is_page(path: str, prefix: str, own_paths: Collection[str]) -> bool:
    """Return whether a path stays below the prefix, as it is written and in every spelling, and is not ours."""
    insides = [below_prefix(form, prefix) for form in (path, *paths.spellings(path))]
    return all(inside is not None and paths.folded(inside) not in own_paths for inside in insides)


def _split_path(address: str) -> tuple[str, str]:
    path = re.split(r"[?#]", address, maxsplit=1)[0]
    return path, address[len(path) :]


def _is_plain(text: str) -> bool:
    return "\\" not in text and text.isprintable()


def _is_plain_path(path: str) -> bool:
    return _is_plain(path) and "//" not in path and not any(character.isspace() for character in path)


def below_prefix(path: str, prefix: str) -> str | None:
    """Return the path inside the mount prefix, or None when it is outside."""
    if not prefix:
        return path
    if path == prefix or path.startswith(prefix + "/"):
        return path[len(prefix) :] or "/"
    return None


def keeps_prefix(environ: Mapping[str, Any], spellings: Iterable[str], prefix: str) -> bool:
    """Return whether nobody took the mount prefix from PATH_INFO, and put it into SCRIPT_NAME (PEP 3333)."""
    inside = (below_prefix(spelling, prefix) for spelling in spellings)
    return not environ.get("SCRIPT_NAME", "").strip("/") and any(inside)


def is_same_origin(environ: Mapping[str, Any], origin: str) -> bool:
    """Return whether a browser says that a page of this origin sent the request (against CSRF).

    ``Sec-Fetch-Site`` decides; where a browser does not send it, ``Origin`` does; then ``Referer``. The scheme counts
    as well as host and port. A request that says nothing is refused.

    :param origin: as :func:`origin_of` returns it.
    """
    if "HTTP_SEC_FETCH_SITE" in environ:
        return bool(environ["HTTP_SEC_FETCH_SITE"] == "same-origin")
    if "HTTP_ORIGIN" in environ:
        return bool(environ["HTTP_ORIGIN"] == origin)
    return origin_of(environ.get("HTTP_REFERER", "")) == origin
