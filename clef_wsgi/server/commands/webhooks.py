"""Whether the machine behind a hook is one of the public internet, as its name resolves right now.

A hint for whoever adds a site, at the moment when it can be put right. A name may lead elsewhere later, so
what counts is decided when a hook is called. Knows nothing of sites.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from clef_wsgi.server.commands.output import warn
from clef_wsgi.server.delivery.address import Address, is_public, parsed
from clef_wsgi.server.errors import Refused


def check_public(urls: list[str]) -> None:
    """:raises Refused: one of them is in a private network, or on this machine."""
    for host in dict.fromkeys(urlsplit(url).hostname or "" for url in urls):
        addresses = _addresses(host)
        if not addresses:
            warn(f"{host} has no address right now: logouts can't be reported there until it has one.")
        for address in addresses:
            if not is_public(address):
                what = f"{host} is {address}" if str(address) != host else f"{host} is a private address"
                raise Refused(f"{what}: add --allow-private.")


def _addresses(host: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return []
    return [parsed(str(entry[4][0])) for entry in found]
