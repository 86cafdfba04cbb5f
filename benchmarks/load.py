"""A load generator that costs little: one thread, one epoll, as many keep-alive connections as asked for."""

import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Load:
    """What a run measured. Latencies are in seconds."""

    seconds: float
    statuses: dict[int, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, part: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


class _Connection:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0.0
        self.answer = b""

    def send(self, request: bytes) -> None:
        self.answer = b""
        self.sent = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> int | None:
        """The status, once the answer is whole."""
        piece = self.socket.recv(65536)
        if not piece:
            raise ConnectionError("the server closed a connection")
        self.answer += piece
        head, end, body = self.answer.partition(b"\r\n\r\n")
        if not end:
            return None
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        return int(head[9:12]) if len(body) >= length else None


def run(address: tuple[str, int], requests: Iterator[bytes], *, connections: int, seconds: float) -> Load:
    """Sends requests as fast as they are answered, one at a time on each connection.

    Args:
        requests: Made beforehand, so that making them takes no time from the server. More than can be answered.
    """
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        connection = _Connection(address)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(next(requests))
    load = Load(seconds)
    start = time.perf_counter()
    end = start + seconds
    open_requests = connections
    while open_requests:
        for key, _ in selector.select(10):
            connection = key.data
            status = connection.receive()
            if status is None:
                continue
            now = time.perf_counter()
            if now < end:
                load.latencies.append(now - connection.sent)
                load.statuses[status] = load.statuses.get(status, 0) + 1
                connection.send(next(requests))
            else:
                open_requests -= 1
                selector.unregister(connection.socket)
                connection.socket.close()
    selector.close()
    return load
