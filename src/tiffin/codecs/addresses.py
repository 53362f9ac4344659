"""Which IP addresses are public, and looking a name up.

Owns the list of ranges that no fetch may reach and the one lookup of a name; never connects. Times in seconds.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

# Of IPv4: everything but these (IANA's special-purpose registry, multicast, reserved). Python's own list differs between
# patch releases, so it is asked too, but not relied on.
_CLOSED_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; some clouds have their metadata service there
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's host as its virtual machines see it, although the range looks public
        "169.254.0.0/16",  # link-local; most clouds' metadata service
        "172.16.0.0/12",
        "192.0.0.0/24",  # IETF protocols; one cloud's metadata service
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# Of IPv6: only what is given out as global unicast, and of that not these. So ::1, IPv4-mapped (::ffff:0:0/96), NAT64
# (64:ff9b::/96, 64:ff9b:1::/48), unique local (fc00::/7), link-local (fe80::/10) and multicast (ff00::/8) are closed.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocols, Teredo (carries an IPv4 address), ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # a test network of old
        "3fff::/20",  # documentation
    )
)


def is_public(text: str) -> bool:
    """Tell whether an address may be connected to: one machine in the public Internet.

    Args:
        text: as a resolver or a URL has it. What is no address, or has a zone ("fe80::1%eth0"), is not public.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in _CLOSED_V4)
    return (
        address.scope_id is None
        and address.is_global
        and address in _GLOBAL_V6
        and not any(address in network for network in _CLOSED_V6)
    )


def look_up(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a full name, in the order to try them; takes as long as the system's resolver does.

    Raises:
        OSError: there are none.
    """
    # The dot at the end: the name as it stands, never one of the search domains' (a cluster has several).
    found = socket.getaddrinfo(f"{host}.", port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
