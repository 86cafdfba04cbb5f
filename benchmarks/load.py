"""A load generator that costs little: one thread, one epoll, as many keep-alive connections as asked for."""

import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

MOST_CLOSED = 1000
"""Connections after which a server that closes them is given up."""


@dataclass
class Load:
    """What a run measured. Times are in seconds."""

    seconds: float = 0.0
    busy: float = 0.0
    """The generator's own share of a core. Near 1 it was the limit, and not the server."""
    statuses: dict[int, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    closed: int = 0
    """Connections that the server closed instead of answering: their requests were sent again on others."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, part: float) -> float:
        return percentile(self.latencies, part)


def percentile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


class _Connection:
    def __init__(self, address: tuple[str, int], selector: selectors.BaseSelector) -> None:
        self._address, self._selector = address, selector
        self.sent = 0.0
        self.answer = self.request = b""
        self.open()

    def open(self) -> None:
        self.socket = socket.create_connection(self._address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(self.socket, selectors.EVENT_READ, self)

    def close(self) -> None:
        self._selector.unregister(self.socket)
        self.socket.close()

    def send(self, request: bytes) -> None:
        self.answer, self.request = b"", request
        self.sent = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> int | None:
        """The status, once the answer is whole.

        Raises:
            ConnectionError: The server has closed the connection.
        """
        piece = self.socket.recv(65536)
        if not piece:
            raise ConnectionError
        self.answer += piece
        head, end, body = self.answer.partition(b"\r\n\r\n")
        if not end:
            return None
        _, _, length = head.lower().partition(b"content-length:")
        return int(head[9:12]) if len(body) >= int(length.split(b"\r\n", 1)[0] or 0) else None


def run(address: tuple[str, int], requests: Iterator[bytes], *, connections: int, seconds: float) -> Load:
    """Sends requests as fast as they are answered, one at a time on each connection, until the time or they are over.

    Args:
        requests: Each is asked for while the one before is on its way, so that making it takes no time from the server.
    """
    load = Load()
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            _Connection(address, selector)
        began, used = time.perf_counter(), time.thread_time()
        end = began + seconds
        for key in list(selector.get_map().values()):
            if request := next(requests, None):
                key.data.send(request)
            else:
                key.data.close()
        following = next(requests, None)
        while selector.get_map():
            found = selector.select(30)
            if not found:
                raise TimeoutError("no answer for 30 seconds")
            for key, _ in found:
                try:
                    status = key.data.receive()
                except ConnectionError:
                    load.closed += 1
                    if load.closed > MOST_CLOSED:
                        raise
                    key.data.close()
                    key.data.open()
                    key.data.send(key.data.request)
                    continue
                if status is None:
                    continue
                now = time.perf_counter()
                load.latencies.append(now - key.data.sent)
                load.statuses[status] = load.statuses.get(status, 0) + 1
                if now < end and following:
                    key.data.send(following)
                    following = next(requests, None)
                else:
                    key.data.close()
        load.seconds = time.perf_counter() - began
        load.busy = (time.thread_time() - used) / load.seconds
    return load
