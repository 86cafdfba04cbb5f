"""Which addresses may be connected to: the public ones, and of the private ones those that the operator allows.

Whoever can choose a URL, or where a name leads, could otherwise have the router post to what only the router can reach: a
cloud's metadata, a database, its own admin listener. So it is asked of addresses, never of names: after a name is resolved,
about the very address that is then connected to.
"""

import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Ip = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network


def _named(table: str) -> list[tuple[IpNetwork, str]]:
    rows = (line.split(maxsplit=1) for line in table.strip().splitlines())
    return [(ip_network(network), what) for network, what in rows]


# tables of our own: what Python's `is_global` and its kin say differs between its versions
_PRIVATE = _named("""
    10.0.0.0/8         a private address
    100.64.0.0/10      a shared address
    127.0.0.0/8        a loopback address
    172.16.0.0/12      a private address
    192.168.0.0/16     a private address
    ::1/128            a loopback address
    fc00::/7           a private address
""")
"""What can be allowed. Shared addresses (RFC 6598) are a carrier's own, and what overlay networks and clusters use."""

# those that some clouds have put among the private and the public ones come first
_NEVER = _named("""
    168.63.129.16/32   a cloud's metadata
    fd00:ec2::/32      a cloud's metadata
    fd20:ce::254/128   a cloud's metadata
    fd00:42::42/128    a cloud's metadata
    0.0.0.0/8          an unspecified address
    100.100.100.200/32 a cloud's metadata
    169.254.0.0/16     a link-local address
    192.0.0.0/24       a reserved address
    192.0.2.0/24       an address for documentation
    192.88.99.0/24     a 6to4 relay
    198.18.0.0/15      an address for benchmarks
    198.51.100.0/24    an address for documentation
    203.0.113.0/24     an address for documentation
    224.0.0.0/4        a multicast address
    255.255.255.255/32 the broadcast address
    240.0.0.0/4        a reserved address
    ::/128             an unspecified address
    ::ffff:0:0/96      an IPv4 address written as an IPv6 one
    2001::/32          a Teredo address
    2001::/23          a reserved address
    2001:db8::/32      an address for documentation
    2002::/16          a 6to4 address
    3fff::/20          an address for documentation
    fe80::/10          a link-local address
    ff00::/8           a multicast address
""")

_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that has been given out."""


def _found(address: Ip, table: Iterable[tuple[IpNetwork, str]]) -> str:
    return next((what for network, what in table if address in network), "")


@dataclass(frozen=True)
class Guard:
    """Says of an address whether it may be connected to.

    Args:
        allow: Ranges of private and loopback addresses that may be. What is refused for other reasons stays refused.
    """

    allow: tuple[IpNetwork, ...] = ()

    def refusal(self, address: Ip) -> str:
        """Why it may not be connected to, such as ``"a link-local address"``; empty if it may."""
        if why := _found(address, _NEVER):
            return why
        if why := _found(address, _PRIVATE):
            return "" if any(address in network for network in self.allow) else why
        if address in _NAT64:
            # how an IPv6-only network reaches public IPv4 hosts; a private one behind it is no business of ours
            return Guard().refusal(IPv4Address(int(address) & 0xFFFFFFFF)) and "a translated address that is not public"
        return "" if isinstance(address, IPv4Address) or address in _UNICAST else "a reserved address"


def allowable(network: IpNetwork) -> IpNetwork:
    """The range itself.

    Raises:
        ValueError: The guard would never ask about it, or never heed it.
    """
    never = any(_inside(network, refused) for refused, _ in _NEVER)
    if never or not any(_inside(network, private) for private, _ in _PRIVATE):
        ranges = ", ".join(str(private) for private, _ in _PRIVATE)
        if why := _found(network.network_address, _NEVER):
            raise ValueError(f"{network} is {why}, which is always refused; what can be allowed is in {ranges}")
        raise ValueError(
            f"{network} is not private: public addresses need no leave; what can be allowed is in {ranges}"
        )
    return network


def _inside(network: IpNetwork, other: IpNetwork) -> bool:
    match network, other:
        case (IPv4Network(), IPv4Network()) | (IPv6Network(), IPv6Network()):
            return network.subnet_of(other)  # type: ignore[arg-type]  # both are of one kind
    return False


def refused_message(address: Ip, why: str) -> str:
    """Says of an address that is refused why, and how it would be allowed if it can be."""
    told = f"{address} is {why}"
    if can_be_allowed(address):
        return f'{told}, and "{leave(address)}" is not in [outgoing] allow'
    return f"{told}, which is always refused"


def can_be_allowed(address: Ip) -> bool:
    """Whether an address that is refused would not be if the operator said so."""
    return bool(_found(address, _PRIVATE)) and not _found(address, _NEVER)


def leave(address: Ip) -> str:
    """What allows an address: itself, or all of IPv4's loopback."""
    return "127.0.0.0/8" if address.version == 4 and address.is_loopback else str(address)


def literal(host: str) -> Ip | None:
    """The address that a host is, in whatever spelling the system takes: ``127.0.0.1``, ``0x7f.1``, ``2130706433``.

    ``None``: it is a name, and only a resolver can say.
    """
    with suppress(OSError, UnicodeError, ValueError):
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return ip_address(found[0][4][0])
    return None
