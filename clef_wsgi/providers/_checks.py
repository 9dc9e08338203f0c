"""What a provider's options may be: addresses, hosts, files, seconds. Each function names all faults it finds.

No sentence repeats a value, which could hold a password. This file knows nothing of HTTP or of any protocol,
and never touches the network.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from clef_wsgi.base.urls import is_loopback

MAX_TIMEOUT_SECONDS = 60

_URL = re.compile(r"[!-\[\]-~]+")  # printable ASCII without space and backslash, on which parsers differ
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


def check_url(
    url: object, name: str, *, allow_http_hosts: Collection[str] = (), allow_query: bool = False
) -> tuple[str, ...]:
    """What is wrong with the URL that the option ``name`` holds, one sentence for each fault."""
    parts = _split(url)
    if parts is None:
        return (f"{name} must be an absolute URL in printable ASCII, as https://login.example.com.",)
    faults = []
    if parts.scheme == "http" and not _plain_http_allowed(parts.hostname or "", allow_http_hosts):
        faults.append(
            f"{name} must begin with https://; only loopback hosts, and those named in allow_http_hosts, "
            "may be asked over http://."
        )
    if "@" in parts.netloc:
        faults.append(f"{name} must not hold a user name or password: leave out all up to the @.")
    if "#" in str(url):
        faults.append(f"{name} must not have a fragment: leave out the # and all after it.")
    if "?" in str(url).partition("#")[0] and not allow_query:
        faults.append(f"{name} must not have a query: leave out the ? and all after it.")
    return tuple(faults)


def timeout_faults(seconds: object) -> tuple[str, ...]:
    """Faults of ``timeout_seconds``."""
    if isinstance(seconds, (int, float)) and seconds is not True and 0 < seconds <= MAX_TIMEOUT_SECONDS:
        return ()
    return (f"timeout_seconds must be a number above 0 and at most {MAX_TIMEOUT_SECONDS}, as 5.0.",)


def ca_file_faults(ca_file: object) -> tuple[str, ...]:
    """Faults of ``ca_file``, which is read once to find them."""
    if ca_file is None:
        return ()
    try:
        if isinstance(ca_file, str):
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=ca_file)
            return ()
    except (OSError, ValueError):  # ssl.SSLError is an OSError; ValueError: a NUL in the path
        pass
    return ("ca_file must be the path of a readable PEM file that holds at least one certificate.",)


def proxy_faults(proxy_url: object) -> tuple[str, ...]:
    """Faults of ``proxy_url``, which may hold a user name and password."""
    if proxy_url is None or _split(proxy_url):
        return ()
    return ("proxy_url must be an http:// or https:// URL with a host, as http://proxy.example.com:3128.",)


def host_faults(hosts: object) -> tuple[str, ...]:
    """Faults of ``allow_http_hosts``."""
    fault = 'allow_http_hosts must be a list of host names without scheme or port, as ["clef.internal"].'
    if not isinstance(hosts, Collection) or isinstance(hosts, (str, bytes)):
        return (fault,)
    if all(isinstance(host, str) and _HOST.fullmatch(host) for host in hosts):
        return ()
    return (fault,)


def _split(url: object) -> SplitResult | None:
    try:
        if not isinstance(url, str) or not _URL.fullmatch(url):
            return None
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port  # both raise ValueError where there is none to be had
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and _HOST.fullmatch(host) else None


def _plain_http_allowed(host: str, allow_http_hosts: Collection[str]) -> bool:
    if is_loopback(host):
        return True
    return not host_faults(allow_http_hosts) and host in {name.lower() for name in allow_http_hosts}
