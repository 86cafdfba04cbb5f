"""What is read without h11 is what h11 would have read."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rawhttp import GET, echo, post, served

from sodarouter.serve.incoming import Incoming
from sodarouter.serve.rules import check

LIMIT = 4096
METHODS = st.sampled_from([b"POST", b"GET", b"HEAD", b"post", b"P T", b"CONNECT"])
TARGETS = st.sampled_from([b"/", b"/a%20b?c=d", b"*", b"http://a/", b"/a b", b"/\xff", b"/" + b"x" * LIMIT])
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 5 + [b"HTTP/1.0", b"HTTP/2.0", b"http/1.1"])
FIELDS = st.sampled_from(
    [
        (b"Host", b"localhost"),
        (b"host", b""),
        (b"X-Signature", b"sha256=00 11\t22"),
        (b"X-Empty", b""),
        (b"X-Signature", b"\xe9"),
        (b"X Y", b"z"),
        (b"X-Long", b"x" * 1500),
        (b"Content-Length", b"5"),
        (b"Content-Length", b"+5"),
        (b"content-length", b"5, 5"),
        (b"Content-Length", b"05"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Expect", b"100-continue"),
        (b"Connection", b"close"),
        (b"Connection", b"Keep-Alive"),
        (b"Connection", b"upgrade, close"),
        (b"Upgrade", b"h2c"),
    ]
)
SPACES = st.sampled_from([b"", b" ", b"\t ", b"\x0b", b"\r\n "])
ENDS = st.sampled_from([b"\r\n"] * 9 + [b"\n"])
LINES = st.lists(
    st.builds(lambda f, a, z, end: b"%b:%b%b%b%b" % (f[0], a, f[1], z, end), FIELDS, SPACES, SPACES, ENDS), max_size=6
)
REQUESTS = st.builds(
    lambda method, target, version, lines, end, body: (
        b"%b %b %b\r\nHost: a\r\n%b%b%b" % (method, target, version, b"".join(lines), end, body)
    ),
    METHODS,
    TARGETS,
    VERSIONS,
    LINES,
    ENDS,
    st.sampled_from([b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"hello" + GET]),
)
Read = tuple[object, ...]


def read(sent: list[bytes]) -> tuple[list[Read], bool]:
    """All requests as `Incoming` reads them, and whether what follows is none."""
    incoming, found = Incoming(LIMIT), []
    pieces = [*sent, b""]
    try:
        while True:
            while (head := incoming.head()) is None:
                if not pieces:
                    return found, False
                incoming.feed(pieces.pop(0))
            body = b""
            found.append((head.method, head.target, head.version, head.fields, head.keep_alive, None))
            while not incoming.whole:
                if (piece := incoming.body()) is not None:
                    body += piece
                elif not incoming.whole:
                    incoming.feed(pieces.pop(0))
            found[-1] = (*found[-1][:-1], body)
            if not head.keep_alive:
                return found, False
    except h11.RemoteProtocolError:
        return found, True


def read_by_h11(sent: bytes) -> tuple[list[Read], bool]:
    found: list[Read] = []
    while True:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMIT)
        connection.receive_data(sent)
        connection.receive_data(b"")
        try:
            event = connection.next_event()
            if not isinstance(event, h11.Request):
                return found, False
            check(event, LIMIT)
            head = (event.method, event.target, event.http_version, list(event.headers))
            body = b""
            found.append((*head, None, None))
            while not isinstance(event, h11.EndOfMessage):
                event = connection.next_event()
                body += event.data if isinstance(event, h11.Data) else b""
            following = connection.trailing_data[0]
            # whoever wants to upgrade or to connect learns only by the answer that there is another request
            connection.send(h11.Response(status_code=404, headers=[]))
            connection.send(h11.EndOfMessage())
            goes_on = connection.their_state is h11.DONE
        except h11.RemoteProtocolError:
            if found and found[-1][-1] is None:
                found[-1] = (*found[-1][:-2], None, None)
            return found, True
        found[-1] = (*head, goes_on, body)
        if not goes_on:
            return found, False
        sent = following


def known(result: tuple[list[Read], bool]) -> tuple[list[Read], bool]:
    """Whether a request is the last one shows when it has been read to its end."""
    return [(*one[:4], None, None) if one[-1] is None else one for one in result[0]], result[1]


@given(REQUESTS)
def test_the_plain_way_reads_what_h11_would(sent: bytes) -> None:
    assert known(read([sent])) == known(read_by_h11(sent))


@given(REQUESTS, st.integers(1, 200))
def test_it_does_not_matter_in_which_pieces_requests_come(sent: bytes, size: int) -> None:
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
    assert known(read(pieces)) == known(read([sent]))


def test_a_webhook_is_read_the_plain_way() -> None:
    incoming = Incoming(LIMIT)
    incoming.feed(post(b"hello", "X-Soda-Signature: sha256=00", "User-Agent: a/1 (b)", "Accept: */*"))
    assert incoming.head() is not None
    assert incoming._h11 is None
    assert (incoming.body(), incoming.whole) == (b"hello", True)


async def test_a_request_after_one_that_is_not_plain_is_read_as_any() -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    async with served(echo) as server, server.connect() as client:
        await client.send((post(b"hello") + chunked) * 3)
        assert [(await client.answer()).body for _ in range(6)] == [b"hello", b"hi"] * 3


@pytest.mark.parametrize("size", [1, 7])
async def test_a_request_may_come_byte_by_byte(size: int) -> None:
    async with served(echo) as server, server.connect() as client:
        for _ in range(2):
            sent = post(b"hello")
            for start in range(0, len(sent), size):
                await client.send(sent[start : start + size])
            assert (await client.answer()).body == b"hello"
