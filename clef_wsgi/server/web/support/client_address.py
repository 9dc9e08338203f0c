"""Find the client address of a request, behind trusted proxies or not."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

from clef_wsgi.server.options import Network

_WITH_PORT = re.compile(r"(?:(?P<v4>[0-9.]+):[0-9]{1,5}|\[(?P<v6>[0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?)")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def client_address(environ: Mapping[str, Any], proxies: Sequence[Network | str]) -> str:
    """Return the client address; empty where there is none.

    ``X-Forwarded-For`` is read from its end, as far as trusted proxies wrote it: what stands before that is
    whatever the visitor sent.
    """
    peer = _parsed(str(environ.get("REMOTE_ADDR", "")))
    hops = str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",")
    while hops and _is_trusted(peer, proxies):
        hop = _parsed(_without_port(hops.pop().strip()))
        if hop is None:
            break
        peer = hop
    return str(peer) if peer else ""


def comes_from(environ: Mapping[str, Any], networks: Sequence[Network | str], proxies: Sequence[Network | str]) -> bool:
    """Return whether the client is in one of ``networks``.

    What was forwarded by an untrusted proxy comes from nowhere: all its visitors have its address.
    """
    was_handed_on = "HTTP_X_FORWARDED_FOR" in environ
    if was_handed_on and not _is_trusted(_parsed(str(environ.get("REMOTE_ADDR", ""))), proxies):
        return False
    return _is_trusted(_parsed(client_address(environ, proxies)), networks)


def network_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or a /64, since a home has a whole one (RFC 6177)."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


def _without_port(text: str) -> str:
    """Drop the port that some proxies write: ``192.0.2.7:5555`` and ``[2001:db8::7]:443``."""
    found = _WITH_PORT.fullmatch(text)
    return (found["v4"] or found["v6"]) if found else text


def _parsed(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address


def _is_trusted(peer: Address | None, proxies: Sequence[Network | str]) -> bool:
    if peer is None:  # a socket in the file system has no address
        return "unix" in proxies
    return any(not isinstance(proxy, str) and peer in proxy for proxy in proxies)
