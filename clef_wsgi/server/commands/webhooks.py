"""Warn of webhooks in a private network when they are added, as their names resolve right now.

A name may lead elsewhere later: the guard against SSRF is in delivery/, at each call.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from clef_wsgi.server.commands.output import warn
from clef_wsgi.server.delivery.address import Address, is_public, parsed
from clef_wsgi.server.errors import Refused


def check_public(urls: list[str], *, allow_private: bool = False) -> None:
    """Check that webhooks are on the public internet, unless they may be elsewhere; warn of names without an address.

    :raises Refused: one of them is in a private network, or on this machine.
    """
    for host in dict.fromkeys(urlsplit(url).hostname or "" for url in urls):
        addresses = _addresses(host)
        if not addresses:
            warn(f"{host} has no address right now: logouts can't be reported there until it has one.")
        for address in addresses:
            if not (allow_private or is_public(address)):
                what = f"{host} is {address}" if str(address) != host else f"{host} is a private address"
                raise Refused(f"{what}: add --allow-private.")


def _addresses(host: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return []
    return [parsed(str(entry[4][0])) for entry in found]
