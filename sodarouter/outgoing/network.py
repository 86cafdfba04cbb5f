"""Makes TCP connections, to addresses that the guard lets through.

The names are resolved here, and what is connected to is an address that was asked about: a name that leads elsewhere the
next time it is resolved gains nothing. TLS and the `Host` header go on with the name.
"""

import socket
from collections.abc import Sequence
from ipaddress import ip_address

import trio

from sodarouter.errors import Retry
from sodarouter.outgoing.failure import no_answer
from sodarouter.outgoing.guard import Guard, Ip, refused_message
from sodarouter.outgoing.stream import TcpStream

HAPPY_EYEBALLS = 0.25
"""Seconds after which the next address of a name is tried beside the one before (RFC 8305)."""


async def connect(guard: Guard, host: str, port: int) -> TcpStream:
    """A connection to whichever address of a host answers first.

    Raises:
        Retry: None does, or the guard lets none of them through.
    """
    found = await addresses(guard, host, port)
    try:
        return await (_connected(found[0], port) if len(found) == 1 else _first(found, port))
    except OSError as error:
        raise no_answer("ConnectError", error) from None


async def addresses(guard: Guard, host: str, port: int) -> Sequence[Ip]:
    """Those of a host that may be connected to, the first two of different kinds if there are both.

    Raises:
        Retry: There are none.
    """
    try:
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise no_answer("ConnectError", error) from None
    refusals = {address: guard.refusal(address) for address in (ip_address(sockaddr[0]) for *_, sockaddr in found)}
    usable = [address for address, why in refusals.items() if not why]
    if not usable:
        # in one order, however the name's addresses take turns: what is told again and again should be the same
        told = "; ".join(sorted(refused_message(address, why) for address, why in refusals.items()))
        raise Retry(f"not connected: {told}")
    if other := next((address for address in usable[1:] if address.version != usable[0].version), None):
        usable.remove(other)
        usable.insert(1, other)
    return usable


async def _first(found: Sequence[Ip], port: int) -> TcpStream:
    """
    Raises:
        OSError: No address answers.
    """
    connected: list[TcpStream] = []
    failures: list[OSError] = []

    async def connect(address: Ip, failed: trio.Event) -> None:
        try:
            connected.append(await _connected(address, port))
        except OSError as error:
            failures.append(error)
            failed.set()
        else:
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for address in found:
                failed = trio.Event()
                nursery.start_soon(connect, address, failed)
                with trio.move_on_after(HAPPY_EYEBALLS):
                    await failed.wait()
    except BaseException:
        _close(connected)
        raise
    if not connected:
        raise failures[0]
    _close(connected[1:])
    return connected[0]


async def _connected(address: Ip, port: int) -> TcpStream:
    plain = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await trio.socket.from_stdlib_socket(plain).connect((str(address), port))
    except BaseException:
        plain.close()
        raise
    return TcpStream(plain)


def _close(streams: Sequence[TcpStream]) -> None:
    for stream in streams:
        stream.close()
