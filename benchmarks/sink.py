"""Where deliveries go: a server that costs little, by itself as ``python benchmarks/sink.py PORT``.

It answers every request at once but those to ``/hang``, and those to ``/fail`` with a 500. ``GET /taken`` gives the
number of requests so far.
"""

import json
import sys
import time
from functools import partial

import trio


class Sink:
    def __init__(self) -> None:
        self.taken = 0
        self.arrived: dict[int, float] = {}
        """When each event came to ``/good``, by its number."""
        self._more = trio.Event()

    async def until(self, count: int) -> None:
        """Returns once so many events have come."""
        while len(self.arrived) < count:
            await self._more.wait()
            self._more = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        received = b""
        try:
            while True:
                while b"\r\n\r\n" not in received:
                    piece = await stream.receive_some()
                    if not piece:
                        return
                    received += piece
                head, _, received = received.partition(b"\r\n\r\n")
                _, _, length = head.lower().partition(b"content-length:")
                size = int(length.split(b"\r\n", 1)[0] or 0)
                while len(received) < size:
                    received += await stream.receive_some()
                body, received = received[:size], received[size:]
                await self._answer(stream, head.split(b" ", 2)[1], body)
        except trio.BrokenResourceError:
            return

    async def _answer(self, stream: trio.SocketStream, path: bytes, body: bytes) -> None:
        status, answer = b"200 OK", b""
        if path == b"/taken":
            answer = b"%d" % self.taken
        else:
            self.taken += 1
        if path == b"/hang":
            await trio.sleep_forever()
        elif path == b"/good":
            self.arrived[json.loads(body)["number"]] = time.perf_counter()
            self._more.set()
        elif path == b"/fail":
            status = b"500 No"
        await stream.send_all(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(answer), answer))


if __name__ == "__main__":
    trio.run(partial(trio.serve_tcp, Sink().serve, int(sys.argv[1]), host="127.0.0.1"))
