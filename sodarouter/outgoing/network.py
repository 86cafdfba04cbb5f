"""Makes the connections of HTTP clients, to addresses that the guard lets through.

The names are resolved here, and what is connected to is an address that was asked about: a name that leads elsewhere the
next time it is resolved gains nothing. TLS and the `Host` header go on with the name.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

import httpcore2
import trio

from sodarouter.outgoing.guard import Guard, Ip, refused_message
from sodarouter.outgoing.stream import Stream

HAPPY_EYEBALLS = 0.25
"""Seconds after which the next address of a name is tried beside the one before (RFC 8305)."""


class Refused(httpcore2.ConnectError):
    """The guard lets none of the host's addresses through."""


class GuardedNetwork(httpcore2.AsyncNetworkBackend):
    """The network, as `httpcore2` asks for it. It has no Unix sockets."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore2's own)
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> Stream:
        try:
            with trio.fail_after(float("inf") if timeout is None else timeout):
                return await self._first(await self._addresses(host, port), port)
        except trio.TooSlowError as error:
            raise httpcore2.ConnectTimeout from error

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> Sequence[Ip]:
        """Those of a host that may be connected to, the first two of different kinds if there are both.

        Raises:
            Refused: There are none.
        """
        try:
            found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError from error
        addresses = [ip_address(sockaddr[0]) for *_, sockaddr in found]
        refusals = {address: self._guard.refusal(address) for address in addresses}
        usable = [address for address, why in refusals.items() if not why]
        if not usable:
            # in one order, however the name's addresses take turns: what is told again and again should be the same
            raise Refused("; ".join(sorted(refused_message(address, why) for address, why in refusals.items())))
        if other := next((address for address in usable[1:] if address.version != usable[0].version), None):
            usable.remove(other)
            usable.insert(1, other)
        return usable

    async def _first(self, addresses: Sequence[Ip], port: int) -> Stream:
        """A connection to whichever answers first.

        Raises:
            httpcore2.ConnectError: None does.
        """
        if len(addresses) == 1:
            return await _connected(addresses[0], port)
        connected: list[Stream] = []
        failures: list[httpcore2.ConnectError] = []

        async def connect(address: Ip, failed: trio.Event) -> None:
            try:
                connected.append(await _connected(address, port))
            except httpcore2.ConnectError as error:
                failures.append(error)
                failed.set()
            else:
                nursery.cancel_scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                for address in addresses:
                    failed = trio.Event()
                    nursery.start_soon(connect, address, failed)
                    with trio.move_on_after(HAPPY_EYEBALLS):
                        await failed.wait()
        except BaseException:
            await _close(connected)
            raise
        if not connected:
            # the pool takes away the cause of what it is raised, and leaves the context: a new error would have none
            raise failures[0]
        await _close(connected[1:])
        return connected[0]


async def _connected(address: Ip, port: int) -> Stream:
    try:
        return Stream(await trio.open_tcp_stream(str(address), port))
    except OSError as error:
        raise httpcore2.ConnectError from error


async def _close(streams: Iterable[Stream]) -> None:
    # what it awaits comes after the socket is closed, so cancellation takes nothing away
    with trio.CancelScope(shield=True):
        for stream in streams:
            await stream.aclose()
