"""The server among clients that mean harm, or know no better: each gets its due, and nobody else notices."""

import random
import socket
import struct
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
import trio
from rawhttp import GET, Client, Served, echo, post, quart, read, reply, served
from structlog.testing import capture_logs

from sodarouter.address import Address
from sodarouter.serve import bind
from sodarouter.serve.server import Http

pytestmark = pytest.mark.usefixtures("http")

WEBSOCKET = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
H2C = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: %b\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


async def assert_serves(server: Served) -> None:
    async with server.connect() as client:
        assert (await client.ask(post(b"hello"))).body == b"hello"


# -- what is refused, or not heard


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (PREFACE, 505),
        (GET.replace(b"1.1", b"9.9"), 505),
        (GET.replace(b" / ", " /d\u00e9j\u00e0 ".encode()), 400),
        (GET.replace(b" / ", b" http://localhost/ "), 400),
        (b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\r\n\r\n", 400),
        (post(b"hello", "Transfer-Encoding: chunked"), 400),
        (CHUNKED.replace(b"1.1", b"1.0"), 400),
        (CHUNKED.replace(b"chunked", b"gzip, chunked"), 501),
        (post(b"hello", "Content-Length: 6"), 400),
        (post().replace(b": 0", b": -1"), 400),
        (post().replace(b": 0", b": " + b"9" * 30), 400),
        (CHUNKED + b"xyz\r\n", 400),
        (CHUNKED + b"5\r\nhello!", 400),
        (CHUNKED + b"f" * 30 + b"\r\n", 400),
        (GET[:-2] + b"X: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (GET[:-2] + b"X: " + b"x" * 100_000, 431),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
    ],
)
async def test_a_request_that_cannot_be_is_refused_with_a_problem_document(sent: bytes, status: int) -> None:
    async with served(echo) as server:
        async with server.connect() as client:
            await client.send(sent)
            answer = await client.answer()
            assert answer.status == answer.problem["status"] == status
            assert answer.problem["detail"]
            assert answer.headers["connection"] == "close"
            await client.stream.send_eof()
            assert await client.rest() == b""
        await assert_serves(server)


@pytest.mark.parametrize(
    "sent", [WEBSOCKET, H2C % b"AAMAAABkAAQAAP__", H2C % b"A"], ids=["websocket", "h2c", "bad h2c"]
)
@pytest.mark.parametrize("trailing", [b"", b"\x81\x05hello"], ids=["alone", "and bytes"])
async def test_a_wish_to_upgrade_is_not_heard(sent: bytes, trailing: bytes) -> None:
    """Each of these ends hypercorn's own server, with the process."""
    async with served(echo) as server:
        async with server.connect() as client:
            assert (await client.ask(sent + trailing)).status == 200
            if trailing:
                await client.stream.send_eof()
                assert (await client.answer()).status == 400
            else:
                assert (await client.ask(post(b"hello"))).body == b"hello"
        await assert_serves(server)


async def test_a_refusal_of_a_head_request_has_no_body() -> None:
    async with served(echo) as server, server.connect() as client:
        await client.send(b"HEAD * HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.answer(head=True)).status == 400
        await client.stream.send_eof()
        assert await client.rest() == b""


async def test_a_fault_in_the_server_itself_ends_one_connection(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the next hypercorn or h11 trips over."""

    def trip(*_: object) -> None:
        raise AssertionError("a state that cannot be")

    async with served(echo) as server, server.connect() as bystander:
        await bystander.ask(GET)
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr(
                {"lean": "sodarouter.serve.incoming.Incoming._plain", "hypercorn": "sodarouter.serve.http1.check"}[
                    http
                ],
                trip,
            )
            async with server.connect() as client:
                await client.send(GET)
                assert await client.rest() == b""
        assert [entry["event"] for entry in logs] == ["a connection failed"]
        assert (await bystander.ask(post(b"hello"))).body == b"hello"
        await assert_serves(server)


# -- clients that do not take or give what they should


async def answers_at_once(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await reply(send, b"too large", 413)


async def test_a_client_that_is_still_sending_can_read_why_it_is_refused() -> None:
    """Closing a socket with something unread would throw away what the client has not read yet."""
    async with served(answers_at_once) as server, server.connect() as client:
        await client.send(post(b"x" * 3_000_000))
        answer = await client.answer()
        assert (answer.status, answer.body) == (413, b"too large")
        assert await client.rest() == b""


@pytest.mark.parametrize("http", ["lean"], indirect=True)  # hypercorn's protocol knows the end too late
async def test_an_answer_before_the_end_of_its_request_says_that_it_is_the_last(http: Http) -> None:
    """A sender that keeps connections would send its next webhook to one that is closed."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") == "/fails":
            raise ValueError
        await answers_at_once(scope, receive, send)

    async with served(app) as server:
        for path in ("/", "/fails"):
            async with server.connect() as client:
                assert "connection" not in (await client.ask(post(b"hello"))).headers
                assert (await client.ask(post(b"hello", path=path)[:-1])).headers["connection"] == "close"


async def test_a_client_that_goes_on_sending_for_ever_is_cut_off() -> None:
    async with served(answers_at_once, linger_timeout=0.2, max_connections=1) as server, server.connect() as client:
        await client.send(post(b"").replace(b": 0", b": 99999999999"))
        with pytest.raises(trio.BrokenResourceError):
            await send_for_ever(client, b"x" * 100)
        await assert_lets_go(server)


async def test_a_client_that_sends_much_after_its_refusal_is_cut_off() -> None:
    async with served(answers_at_once, linger_timeout=60) as server, server.connect() as client:
        await client.send(post(b"").replace(b": 0", b": 99999999999"))
        with pytest.raises(trio.BrokenResourceError):
            await send_for_ever(client, b"x" * 1_000_000)


async def send_for_ever(client: Client, data: bytes) -> None:
    while True:
        await client.send(data)
        await trio.sleep(0.01)


async def test_an_application_that_ends_without_reading_leaves_nobody_waiting() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await receive()

    async with served(app, linger_timeout=0.2) as server, server.connect() as client:
        with suppress(trio.BrokenResourceError):
            await client.send(post(b"x" * 1_000_000))
        assert (await client.answer()).status == 500
        await client.rest()
        assert await server.stop() < 2


BIG = 50_000_000


async def big(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await read(receive)
        await reply(send, b"x" * (BIG if scope["path"] == "/" else 1))


async def test_a_client_that_never_reads_is_cut_off() -> None:
    with capture_logs() as logs:
        async with served(big, send_timeout=0.2, max_connections=1) as server, server.connect() as client:
            await client.send(GET)
            await assert_lets_go(server)
            # nor does the kernel go on to offer it the rest
            with pytest.raises(trio.BrokenResourceError):
                await client.rest()
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


@pytest.mark.parametrize("how", ["stopped", "cancelled"])
async def test_a_client_that_never_reads_does_not_hold_up_the_end(how: str) -> None:
    async with served(big, graceful_timeout=0.2, send_timeout=60) as server, server.connect() as client:
        await client.send(GET)
        await client.stream.receive_some(1000)
        if how == "cancelled":
            server.scope.cancel()
        assert await server.stop() < 5


async def test_a_client_that_reads_slowly_but_steadily_gets_everything() -> None:
    async with served(big, send_timeout=0.8) as server, server.connect() as client:
        began = trio.current_time()
        await client.send(GET)
        received = 0
        while received < BIG:
            received += len(await client.stream.receive_some(500_000))
            await trio.sleep(0.01)
        assert trio.current_time() - began > 0.8


@pytest.mark.parametrize("sent", [b"", GET[:-5], post(b"hello")[:-1], GET, GET * 50])
async def test_a_client_may_vanish_at_any_time(sent: bytes) -> None:
    async with served(echo, max_connections=20) as server:
        for _ in range(20):
            async with server.connect() as client:
                await client.send(sent)
                reset(client)
        await assert_lets_go(server)


async def test_a_client_that_resets_while_it_is_served_disconnects_the_application() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await read(receive)
            begun.set()
            messages.append(await receive())
            done.set()

    begun, done, messages = trio.Event(), trio.Event(), []
    async with served(app) as server:
        async with server.connect() as client:
            await client.send(post(b"hello"))
            await begun.wait()
            reset(client)
        await done.wait()
    assert [message["type"] for message in messages] == ["http.disconnect"]


def reset(client: Client) -> None:
    stream = client.stream
    assert isinstance(stream, trio.SocketStream)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


# -- many at once


async def test_connections_over_the_limit_are_answered_with_a_503() -> None:
    async with served(echo, max_connections=3) as server, AsyncExitStack() as stack:
        inside = [await stack.enter_async_context(server.connect()) for _ in range(3)]
        for client in inside:
            await client.send(post(b"hello")[:-1])  # a request is under way in each: none can be closed instead
        await trio.testing.wait_all_tasks_blocked(0.05)
        async with server.connect() as client:
            answer = await client.ask(GET)
            assert answer.problem["status"] == 503
            assert answer.headers["retry-after"]
            assert await client.rest() == b""
        for client in inside:
            assert (await client.ask(b"o")).body == b"hello"
        reset(inside[0])
        await inside[1].ask(GET)
        await assert_serves(server)


async def test_many_silent_connections_are_opened_quickly_and_do_not_hold_up_the_end() -> None:
    """With hypercorn's backlog of 100, connections beyond it wait for seconds."""
    async with served(echo) as server, AsyncExitStack() as stack:
        for _ in range(300):
            await stack.enter_async_context(server.connect())
        await assert_serves(server)
        assert await server.stop() < 5


async def test_the_kernel_holds_connections_until_they_are_accepted() -> None:
    (listener,) = bind([Address.parse("127.0.0.1:0")])
    async with AsyncExitStack() as stack:
        with trio.fail_after(10):
            for _ in range(300):
                await stack.enter_async_context(
                    await trio.open_tcp_stream(listener.address.host, listener.address.port)
                )
    listener.close()


# -- anything at all

SEEDS = [
    GET,
    post(b'{"event": "validate"}', "Content-Type: application/json"),
    post(b"hello", "Expect: 100-continue"),
    post(b"hello", path="/d%C3%A9j%C3%A0?a=b#c"),
    GET * 3,
    CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"5;a=b\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n",
    WEBSOCKET + b"\x81\x85\x00\x00\x00\x00hello",
    H2C % b"A",
    H2C % b"AAMAAABkAAQAAP__" + PREFACE,
    PREFACE,
    GET.replace(b" / ", b" /\xff\xfe "),
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
]
MORSELS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b":",
    b"\xff",
    b"Content-Length: 3\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: \xb2\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"HTTP2-Settings: A\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/2.0",
    b"HTTP/1.0",
    b"HEAD ",
    b"%",
    b"%00",
    b"ffffffffffffffffffff\r\n",
    b"-1\r\n",
    b"0\r\n\r\n",
    b"x" * 20_000,
]


def mutated(chance: random.Random) -> bytes:
    """A request that was valid, or nearly, and has suffered a few accidents."""
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randrange(5)):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.randrange(1, 20))
        match chance.randrange(5):
            case 0:
                data[at:at] = chance.choice(MORSELS)
            case 1:
                data[at:to] = b""
            case 2:
                data[at:to] = data[at:to] * 2
            case 3:
                data[at : at + 1] = chance.randbytes(1)
            case 4:
                data[at:] = chance.choice(SEEDS)[-chance.randrange(1, 60) :]
    return bytes(data)


async def patient(scope: Any, receive: Any, send: Any) -> None:
    """Gives up a body that does not come, as the router's intake and quart-trio do: that is the application's part."""
    with trio.move_on_after(0.1):
        await echo(scope, receive, send)


@pytest.mark.parametrize(("app", "count"), [(patient, 3000), (quart(), 1000)], ids=["asgi", "quart"])
async def test_no_request_whatever_harms_the_server(app: Any, count: int) -> None:
    at_once = 16
    numbers = iter(range(count))

    async def attack(server: Served) -> None:
        for number in numbers:
            chance = random.Random(number)
            sent = mutated(chance)
            async with server.connect() as client:
                with suppress(trio.BrokenResourceError):
                    split = chance.randrange(len(sent) + 1)
                    await client.send(sent[:split])
                    if chance.random() < 0.2:
                        await trio.lowlevel.checkpoint()
                    await client.send(sent[split:])
                    match chance.randrange(10):
                        case 0:
                            reset(client)
                            continue
                        case 1:
                            pass  # the server must lose its patience
                        case _:
                            await client.stream.send_eof()
                    answered = await client.rest()
                    assert not answered or answered.startswith(b"HTTP/1.1 "), (number, sent, answered)

    async with served(
        app,
        within=60,
        max_connections=at_once,
        header_timeout=0.1,
        keep_alive_timeout=0.1,
        linger_timeout=0.1,
        send_timeout=1,
    ) as server:
        with capture_logs() as logs:
            async with trio.open_nursery() as nursery:
                for _ in range(at_once):
                    nursery.start_soon(attack, server)
        assert [entry for entry in logs if entry["log_level"] == "error"] == []
        await assert_lets_go(server)
        await assert_serves(server)
        assert await server.stop() < 5


async def assert_lets_go(server: Served) -> None:
    """Waits until the server has no connections left, by filling it with as many as it takes."""
    limit = server.limits.max_connections
    async with AsyncExitStack() as stack:
        inside = 0
        while inside < limit:
            client = await stack.enter_async_context(server.connect())
            if (await client.ask(GET.replace(b" / ", b" /free "))).status == 503:
                await trio.sleep(0.01)
            else:
                inside += 1
