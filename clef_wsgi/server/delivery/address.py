"""Guard webhook calls against SSRF: tell public addresses from those of the server's own surroundings.

Webhooks are called from inside a network that others may not reach: an address there is refused, unless the
administrator allowed it for that site.
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291, section 2.4; nothing else is routed
_SPECIAL = tuple(
    ipaddress.ip_network(each)  # of the registries of RFC 6890, where not every Python knows them
    for each in (
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "3fff::/20",  # documentation, RFC 9637
    )
)
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # RFC 5214, section 6.1
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_LAST_32_BITS = 0xFFFFFFFF


def is_public(address: Address) -> bool:
    """Return whether an address is neither private, loopback, link-local, shared (CGNAT), multicast nor reserved.

    An IPv4 address inside of an IPv6 one counts for itself, since a router or the system may send it there.
    """
    inner = _embedded(address)
    if inner is not None:
        return is_public(inner)
    if isinstance(address, ipaddress.IPv6Address) and (address not in _GLOBAL_UNICAST or _is_isatap(address)):
        return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _is_isatap(address: ipaddress.IPv6Address) -> bool:
    """Return whether any router that knows the prefix leads to the IPv4 address in the last half."""
    return int(address) >> 32 & _LAST_32_BITS in _ISATAP


def parsed(text: str) -> Address:
    """Parse an address as the system writes it, without the zone of a link-local one; a mapped one becomes IPv4.

    :raises ValueError: it is none.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address inside: mapped, compatible (RFC 4291, section 2.5.5), NAT64 (RFC 6052), 6to4, Teredo."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & _LAST_32_BITS)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
