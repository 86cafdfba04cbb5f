"""A request and its answer, byte for byte: what servers may say, what they should not, and what the connection comes to."""

import itertools
import re
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import httpx2
import pytest
import trio
import trustme
from hypothesis import given
from hypothesis import strategies as st
from support import LOOPBACK

from sodarouter import HttpAnswer, HttpClient, HttpOptions, Reject, Retry
from sodarouter.outgoing.connection import MAX_READ, Connection

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NOT_HTTP = r"^RemoteProtocolError: the server closed the connection or did not answer in HTTP$"
CORK = getattr(socket, "TCP_CORK", None)
"""Has the kernel send at once what is written in pieces."""


class Server:
    """Says what it is told to, one saying for each request; ``b""`` hangs up. The last is said again and again."""

    def __init__(self, *sayings: bytes | Sequence[bytes]) -> None:
        self._left = list(sayings)
        self.url = ""
        self.requests: list[bytes] = []
        self.connections = 0

    async def serve(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        self.connections += 1
        plain = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        received = b""
        with suppress(trio.BrokenResourceError):
            while piece := await stream.receive_some():
                received += piece
                if not _is_whole(received):
                    continue
                self.requests.append(received)
                received = b""
                saying = self._left.pop(0) if len(self._left) > 1 else self._left[0]
                if not saying:
                    return
                # each piece is a record of its own, and all are one segment
                _cork(plain, on=True)
                for one in [saying] if isinstance(saying, bytes) else saying:
                    await stream.send_all(one)
                _cork(plain, on=False)


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return bool(end) and len(body) >= (int(length[1]) if length else 0)


def _cork(stream: trio.SocketStream, *, on: bool) -> None:
    if CORK:
        stream.setsockopt(socket.IPPROTO_TCP, CORK, on)


@asynccontextmanager
async def saying(*sayings: bytes | Sequence[bytes], tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(*sayings)
    async with listening(server.serve, tls=tls) as server.url:
        yield server


@asynccontextmanager
async def listening(serve: Any, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server until the block ends; gives its URL."""
    listen = partial(trio.serve_ssl_over_tcp, ssl_context=tls, https_compatible=True) if tls else trio.serve_tcp
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(listen, serve, 0, host="127.0.0.1"))
        plain = (listener.transport_listener if tls else listener).socket
        yield f"http{'s' if tls else ''}://127.0.0.1:{plain.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def client(**options: Any) -> AsyncIterator[HttpClient]:
    made = HttpClient(HttpOptions.model_validate(options), LOOPBACK)
    try:
        with trio.fail_after(30):
            yield made
    finally:
        await made.close()


@pytest.fixture
def certified() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


# answers


async def test_a_request_leaves_as_it_was_given():
    async with saying(OK) as server, client() as http:
        await http.request("POST", f"{server.url}/a?b=c", headers={"X-Own": "1", "user-AGENT": "me/1"}, content=b"body")
    [request] = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert (head.decode().split("\r\n"), body) == (
        [
            "POST /a?b=c HTTP/1.1",
            f"Host: {server.url.removeprefix('http://')}",
            "Accept-Encoding: identity",
            "Content-Length: 4",
            "X-Own: 1",
            "user-AGENT: me/1",
        ],
        b"body",
    )


async def test_an_answer_has_the_status_line_the_body_and_each_header_once():
    said = b"HTTP/1.1 201 Made \xe9\r\nX-A: 1\r\nSet-Cookie: a\r\nx-a: \xc3\xa9\r\nContent-Length: 2\r\n\r\nok"
    async with saying(said) as server, client() as http:
        answer = await http.request("GET", server.url)
    headers = {"x-a": "1, \u00e9", "set-cookie": "a", "content-length": "2"}
    assert answer == HttpAnswer(201, headers, b"ok", True, "HTTP/1.1 201 Made \ufffd", server.url, {})


@pytest.mark.parametrize(
    ("method", "said", "body"),
    [
        ("POST", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"ok"),
        (
            "POST",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;a=b\r\nk\r\n0\r\nA: b\r\n\r\n",
            b"ok",
        ),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b""),
        ("POST", b"HTTP/1.1 204 No Content\r\nContent-Length: 100\r\n\r\n", b""),
        ("POST", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
    ],
)
async def test_an_answer_ends_where_http_says_and_the_connection_serves_again(method, said, body):
    async with saying(said, OK) as server, client() as http:
        answer = await http.request(method, server.url)
        assert (answer.body, answer.whole) == (body, True)
        assert (await http.request("POST", server.url)).body == b"ok"
        assert server.connections == 1


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", OK.replace(b"1.1", b"1.0")]
)
async def test_a_connection_that_is_not_to_be_kept_is_not(said):
    async with saying(said) as server, client() as http:
        for connections in (1, 2):
            answer = await http.request("POST", server.url)
            assert (answer.body, answer.whole, server.connections) == (b"ok", True, connections)


@pytest.mark.parametrize("http_version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("secured", [False, True])
async def test_an_answer_without_a_length_ends_with_the_connection(http_version, secured, certified):
    """Over TLS too, where many servers close the connection without a word."""

    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/%b 200 OK\r\n\r\nall of it" % http_version)

    async with listening(serve, tls=certified if secured else None) as url, client(tls={"verify": False}) as http:
        answer = await http.request("POST", url)
    assert (answer.body, answer.whole, answer.line) == (b"all of it", True, f"HTTP/{http_version.decode()} 200 OK")


@pytest.mark.parametrize("secured", [False, True])
async def test_what_is_large_goes_both_ways(secured, certified):
    content, body = bytes(range(250)) * 20_000, bytes(range(250)) * 200
    said = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with saying(said, tls=certified if secured else None) as server, client(tls={"verify": False}) as http:
        for _ in range(2):
            answer = await http.request("POST", server.url, content=content)
            assert (answer.body == body, answer.whole) == (True, True)
        assert [request.endswith(b"\r\n\r\n" + content) for request in server.requests] == [True, True]
        assert server.connections == 1


async def test_a_body_of_just_what_is_read_is_whole():
    said = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MAX_READ + b"x" * MAX_READ
    async with saying(said) as server, client() as http:
        answer = await http.request("POST", server.url)
    assert (len(answer.body), answer.whole) == (MAX_READ, True)


async def test_a_body_that_drips_is_left_when_its_time_is_over(monkeypatch):
    monkeypatch.setattr("sodarouter.outgoing.connection.READ_SECONDS", 0.05)

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"x")
                await trio.sleep(0.001)

    async with listening(serve) as url, client() as http:
        answer = await http.request("POST", url)
    assert (answer.status, answer.whole) == (200, False)


# what is behind an answer


@pytest.mark.parametrize("secured", [False, True])
async def test_what_comes_behind_an_answer_is_not_taken_for_the_next(secured, certified):
    twice = [OK, OK.replace(b"200 OK", b"500 No")]
    async with saying(twice, OK, tls=certified if secured else None) as server, client(tls={"verify": False}) as http:
        for connections in (1, 2, 2):
            answer = await http.request("POST", server.url)
            assert (answer.status, answer.body, server.connections) == (200, b"ok", connections)


async def test_what_comes_long_behind_an_answer_is_not_taken_for_the_next():
    """Some servers say that they have waited too long, and only then close the connection."""
    late = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(OK)
        if not late.is_set():
            await stream.send_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            late.set()
        await trio.sleep_forever()

    async with listening(serve) as url, client() as http:
        assert (await http.request("POST", url)).status == 200
        await late.wait()
        assert (await http.request("POST", url)).status == 200


async def test_a_request_is_not_sent_twice():
    """The server may have done what was asked, and then gone."""
    async with saying(OK, b"") as server, client() as http:
        await http.request("POST", server.url)
        with pytest.raises(Retry, match=NOT_HTTP):
            await http.request("POST", server.url)
        assert (len(server.requests), server.connections) == (2, 1)


async def test_an_answer_counts_that_comes_before_the_request_was_taken():
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    async with listening(serve) as url, client() as http:
        for _ in range(2):
            assert (await http.request("POST", url, content=bytes(20_000_000))).status == 413


# what is no answer


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 100_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"\x15\x03\x03\x00\x02\x02\x28" * 20_000,
    ],
)
async def test_what_is_no_http_means_later(said):
    async with saying(said, OK) as server, client() as http:
        with pytest.raises(Retry, match=NOT_HTTP):
            await http.request("POST", server.url)
        assert (await http.request("POST", server.url)).status == 200
        assert server.connections == 2


class Said:
    """A stream on which everything has been said already, in pieces."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._left = list(pieces)

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._left.pop(0) if self._left else b""

    def is_silent(self) -> bool:
        return not self._left

    def close(self) -> None:
        self._left.clear()


def outcome(pieces: Sequence[bytes]) -> object:
    async def ask() -> object:
        connection = Connection(Said(pieces))
        try:
            head = await connection.ask("POST", "/", [("Host", "a")], b"")
        except Retry as error:
            return error.reason
        return head.status_code, await connection.body(), connection.serves_again() and connection.is_open()

    return trio.run(ask)


LINES = st.sampled_from([
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 500\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"abc",
])  # fmt: skip


@given(st.lists(LINES | st.binary(max_size=8), max_size=8).map(b"".join), st.lists(st.integers(0, 200), max_size=4))
def test_whatever_is_said_is_an_answer_or_none_and_how_it_is_cut_changes_nothing(said, cuts):
    places = sorted([0, *(min(cut, len(said)) for cut in cuts), len(said)])
    found = outcome([said[start:end] for start, end in itertools.pairwise(places) if start < end])
    assert found == outcome([said] if said else [])
    assert isinstance(found, tuple) or re.match(NOT_HTTP, str(found))


# what cannot be sent


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "b\r\nX-C4nary: d"},
        {"X-A\r\nX-B": "c4nary"},
        {"X-A": "c4nary\0"},
        {"X-A": "c4nary \u00e9"},
        {"": "c4nary"},
        {"Content-Length": "5"},
        {"Content-Length": "c4nary"},
        {"Host": "a", "host": "c4nary"},
    ],
)
async def test_what_cannot_be_sent_is_not_and_is_not_quoted(headers):
    async with saying(OK) as server, client() as http:
        with pytest.raises(Retry, match=r"^LocalProtocolError: the request cannot be sent as HTTP$") as caught:
            await http.request("POST", server.url, headers=headers, content=b"four")
        assert server.requests == []
        assert (await http.request("POST", server.url)).status == 200
    assert "c4nary" not in repr(caught.value)


@pytest.mark.parametrize("url", ["ftp://c4nary/", "http://me:c4nary@127.0.0.1/"])
async def test_a_url_that_was_read_already_is_looked_at_all_the_same(url):
    async with client() as http:
        with pytest.raises(Reject, match=r"^the URL ") as caught:
            await http.request("POST", httpx2.URL(url))
    assert "c4nary" not in repr(caught.value)


# connections


async def hush(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("proxied", [False, True])
async def test_the_time_to_connect_holds_for_tls_and_for_the_proxy(proxied):
    async with listening(hush) as url:
        url, options = (
            ("https://hooks.example.org/", {"proxy": url}) if proxied else (url.replace("http:", "https:"), {})
        )
        async with client(connect_timeout="100ms", **options) as http:
            with pytest.raises(Retry, match=r"^ConnectTimeout: no connection within connect_timeout$"):
                await http.request("POST", url)


@pytest.mark.parametrize(
    "said", [b"", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 100_000]
)
async def test_a_proxy_that_is_none_means_later(said):
    async with saying(said) as proxy, client(proxy=proxy.url) as http:
        with pytest.raises(Retry, match=NOT_HTTP):
            await http.request("POST", "https://hooks.example.org/")


async def test_a_proxy_is_asked_for_an_address_as_it_is_written_and_for_what_is_no_name():
    async with (
        saying(b"HTTP/1.1 200 OK\r\n\r\n") as proxy,
        client(proxy=f"http://me:s3cret@{proxy.url[7:]}", connect_timeout="100ms") as http,
    ):
        for url in ("https://[::1]/", "https://.example.org/"):
            with pytest.raises(Retry, match=r"^Connect(Timeout|Error): "):
                await http.request("POST", url)
    assert [request.split(b"\r\n")[:3] for request in proxy.requests] == [
        [b"CONNECT %b HTTP/1.1" % place, b"Host: %b" % place, b"Proxy-Authorization: Basic bWU6czNjcmV0"]
        for place in (b"[::1]:443", b".example.org:443")
    ]
