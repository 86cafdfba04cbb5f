"""The server: what a well-behaved client, and its operator, may expect of it."""

import contextlib
import inspect
import socket
import ssl
import stat
from pathlib import Path
from typing import Any

import hypercorn.protocol.h11
import pytest
import trio
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypercorn.config import Config
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.worker_context import WorkerContext
from quart_trio import QuartTrio
from rawhttp import GET, Client, echo, post, quart, read, reply, served
from structlog.testing import capture_logs

from sodarouter.address import Address
from sodarouter.errors import ConfigError
from sodarouter.problem import HAS_ENDED
from sodarouter.serve import Tls, bind, serve

pytestmark = pytest.mark.usefixtures("http")

LOOPBACK = Address.parse("127.0.0.1:0")


# -- requests and answers


async def test_a_connection_serves_one_request_after_another() -> None:
    async with served(echo) as server, server.connect() as client:
        for body in (b"one", b"", b"x" * 300_000):
            answer = await client.ask(post(body))
            assert (answer.status, answer.body) == (200, body)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with served(echo) as server, server.connect() as client:
        await client.send(b"".join(post(b"%d" % number) for number in range(20)))
        assert [(await client.answer()).body for _ in range(20)] == [b"%d" % number for number in range(20)]


async def test_chunked_bodies_are_understood_and_sent() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            body = await read(receive)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for piece in (body, b", ", body):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})

    async with served(app) as server, server.connect() as client:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = await client.ask(head + b"2\r\nha\r\n3;x=y\r\nllo\r\n0\r\n\r\n")
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.body == b"hallo, hallo"


async def test_the_answer_to_head_has_no_body() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await reply(send, b"12345")

    async with served(app) as server, server.connect() as client:
        await client.send(GET.replace(b"GET", b"HEAD"))
        assert (await client.answer(head=True)).headers["content-length"] == "5"
        assert (await client.ask(GET)).body == b"12345"


async def test_a_client_that_waits_is_told_to_go_on_before_it_sends_its_body() -> None:
    async with served(echo) as server, server.connect() as client:
        assert (await client.ask(post(b"hello", "Expect: 100-continue")[: -len(b"hello")])).status == 100
        assert (await client.ask(b"hello")).body == b"hello"


async def test_a_client_that_waits_is_not_told_to_send_what_nobody_wants() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await reply(send, status=413)

    async with served(app) as server, server.connect() as client:
        assert (await client.ask(post(b"hello", "Expect: 100-continue")[: -len(b"hello")])).status == 413
        assert await client.rest() == b""


async def test_a_client_that_closes_its_half_still_gets_its_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            body = await read(receive)
            await closed.wait()
            await reply(send, body)

    closed = trio.Event()
    async with served(app) as server, server.connect() as client:
        await client.send(post(b"hello"))
        await client.stream.send_eof()
        await trio.testing.wait_all_tasks_blocked(0.05)
        closed.set()
        assert (await client.answer()).body == b"hello"
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "asked",
    [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"],
    ids=["1.0", "close"],
)
async def test_a_client_that_wants_one_answer_gets_one(asked: bytes) -> None:
    async with served(echo) as server, server.connect() as client:
        answer = await client.ask(asked)
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        assert await client.rest() == b""


async def test_the_application_is_told_who_asks() -> None:
    scopes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    async with served(app) as server, server.connect() as client:
        await client.ask(post(path="/a%20b?c=d"))
        address = server.listener.address
        own = client.stream.socket.getsockname()
    scope = next(scope for scope in scopes if scope["type"] == "http")
    assert scope["client"] == own
    assert scope["server"] == (address.host, address.port)
    assert (scope["scheme"], scope["path"], scope["query_string"]) == ("http", "/a b", b"c=d")


async def test_an_answer_says_nothing_of_what_serves() -> None:
    async with served(echo) as server, server.connect() as client:
        assert set((await client.ask(GET)).headers) == {"content-length", "date"}


@pytest.mark.parametrize("failing", ["raises", "returns", "raises a group", "answers nonsense"])
async def test_a_request_that_the_application_fails_is_answered_with_a_500(failing: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        match failing:
            case "raises":
                raise RuntimeError("no")
            case "raises a group":
                async with trio.open_nursery():
                    raise RuntimeError("no")
            case "answers nonsense":
                await send({"type": "http.response.start", "status": 200, "headers": [(b"a b", b"\n")]})

    async with served(app) as server, server.connect() as client:
        for _ in range(2):
            answer = await client.ask(post(b"hello"))
            assert answer.problem["status"] == answer.status == 500


async def test_an_application_that_fails_in_mid_answer_ends_that_connection_alone() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            await send({"type": "http.response.body", "body": b"hello", "more_body": True})
            if scope["path"] == "/bad":
                raise RuntimeError("no")
            await send({"type": "http.response.body", "body": b"+you"})

    async with served(app) as server, server.connect() as good, server.connect() as bad:
        await bad.send(post(path="/bad"))
        assert (await bad.rest()).endswith(b"\r\n\r\nhello")
        assert (await good.ask(GET)).body == b"hello+you"


async def test_an_answer_is_sent_whole_though_its_application_is_cancelled() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await read(receive)
            with trio.CancelScope() as cancelled:
                cancelled.cancel()
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"hello"})

    async with served(app) as server, server.connect() as client:
        for _ in range(2):
            assert (await client.ask(post())).body == b"hello"


async def test_a_short_answer_leaves_in_one_packet() -> None:
    async with served(echo) as server, server.connect() as client:
        await client.send(post(b"hello"))
        assert (await client.stream.receive_some()).endswith(b"\r\n\r\nhello")


async def test_an_application_that_goes_on_after_its_answer_does_not_keep_the_client() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await reply(send, b"done")
            await go_on.wait()

    go_on = trio.Event()
    async with served(app) as server, server.connect() as client:
        assert (await client.ask(GET)).body == b"done"
        assert (await client.ask(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).body == b"done"
        assert await client.rest() == b""
        go_on.set()


async def test_an_application_that_was_disconnected_may_go_on_sending() -> None:
    messages = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            messages.extend([await receive(), await receive(), await receive()])
            await reply(send, b"too late")
            done.set()

    done = trio.Event()
    async with served(app) as server:
        async with server.connect() as client:
            await client.send(post(b"hello")[:-1])
        await done.wait()
    assert [message["type"] for message in messages] == ["http.request", "http.disconnect", "http.disconnect"]


async def test_an_application_may_ask_whether_its_client_has_ended_though_nobody_reads() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            body = await read(receive)
            found.append(scope[HAS_ENDED]())
            begun.set()
            await ended.wait()
            found.append(scope[HAS_ENDED]())
            await reply(send, body)

    found: list[bool] = []
    begun, ended = trio.Event(), trio.Event()
    async with served(app) as server, server.connect() as client:
        await client.send(post(b"hello"))
        await begun.wait()
        await client.stream.send_eof()
        await trio.testing.wait_all_tasks_blocked(0.05)
        ended.set()
        assert (await client.answer()).body == b"hello"
    assert found == [False, True]


# -- the application's own beginning and end


async def test_a_quart_application_is_started_and_ended() -> None:
    told = []
    app = QuartTrio(__name__)
    app.before_serving(lambda: told.append("start"))
    app.after_serving(lambda: told.append("end"))
    async with served(app):
        assert told == ["start"]
    assert told == ["start", "end"]


async def test_an_application_that_fails_after_its_answer_is_logged_and_the_client_not_troubled() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await reply(send, b"done")
            raise RuntimeError("no")

    with capture_logs() as logs:
        async with served(app) as server, server.connect() as client:
            for _ in range(2):
                assert (await client.ask(GET)).body == b"done"
    assert [entry["event"] for entry in logs] == ["a request failed"] * 2


async def test_an_application_that_fails_because_its_client_has_gone_is_no_news() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            while (await receive())["type"] != "http.disconnect":
                pass
            raise RuntimeError("gone")

    with capture_logs() as logs:
        async with served(app) as server:
            async with server.connect() as client:
                await client.send(post(b"hello")[:-1])
            await server.stop()
    assert [entry["log_level"] for entry in logs] == ["debug"]


async def test_what_the_application_keeps_at_its_start_is_there_in_each_request() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["greeting"] = b"hello"
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await reply(send, scope["state"]["greeting"])

    async with served(app) as server, server.connect() as client:
        assert (await client.ask(GET)).body == b"hello"


async def test_an_application_that_cannot_start_is_not_served() -> None:
    app = QuartTrio(__name__)

    @app.before_serving
    async def fail() -> None:
        raise ValueError("no table")

    with pytest.raises(ExceptionGroup) as caught:
        async with served(app):
            pass
    assert caught.group_contains(RuntimeError, match="cannot start: no table")


@pytest.mark.parametrize("ignorant", ["raises", "returns"])
async def test_an_application_need_not_know_of_its_start(ignorant: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" and ignorant == "raises":
            raise NotImplementedError
        await echo(scope, receive, send)

    async with served(app) as server, server.connect() as client:
        assert (await client.ask(post(b"hello"))).body == b"hello"


# -- waiting


@pytest.mark.parametrize("app", [echo, quart()], ids=["asgi", "quart"])
async def test_a_connection_that_is_not_used_again_is_closed(app: Any) -> None:
    """Under quart-trio hypercorn's own timer for this is never set after the first request."""
    async with served(app, keep_alive_timeout=0.2) as server, server.connect() as client:
        for _ in range(2):
            assert (await client.ask(post(b"hello"))).body == b"hello"
        assert await client.rest() == b""


async def test_a_connection_on_which_nothing_is_asked_is_closed() -> None:
    async with served(echo, header_timeout=0.2) as server, server.connect() as client:
        assert await client.rest() == b""


@pytest.mark.parametrize("before", [b"", post()], ids=["new", "used"])
async def test_a_request_whose_head_comes_too_slowly_is_answered_with_a_408(before: bytes) -> None:
    async with served(echo, header_timeout=0.4) as server, server.connect() as client:
        if before:
            await client.ask(before)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle, client)
            assert (await client.answer()).problem["status"] == 408
            nursery.cancel_scope.cancel()


async def trickle(client: Client) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        while True:
            await client.send(b"x")
            await trio.sleep(0.02)


async def test_a_slow_application_is_waited_for() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await trio.sleep(0.5)
            await reply(send, b"done")

    async with (
        served(app, header_timeout=0.1, keep_alive_timeout=0.1, send_timeout=0.1) as server,
        server.connect() as client,
    ):
        assert (await client.ask(GET)).body == b"done"


async def test_after_a_stalled_body_is_given_up_the_connection_is_closed() -> None:
    async with served(quart(), linger_timeout=0.2) as server, server.connect() as client:
        answer = await client.ask(post(b"hello")[:-1])
        assert answer.status == 408
        assert await client.rest() == b""


# -- stopping


@pytest.mark.parametrize("app", [echo, quart()], ids=["asgi", "quart"])
async def test_stopping_does_not_wait_for_idle_connections(app: Any) -> None:
    async with served(app) as server, server.connect() as used, server.connect() as new:
        await used.ask(post(b"hello"))
        assert await server.stop() < 2
        assert await used.rest() == await new.rest() == b""


async def test_what_is_in_flight_is_finished_when_it_stops() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            body = await read(receive)
            begun.set()
            await go_on.wait()
            await reply(send, body)

    begun, go_on = trio.Event(), trio.Event()
    async with served(app) as server, server.connect() as client:
        await client.send(post(b"hello"))
        await begun.wait()
        server.stopping.set()
        await trio.testing.wait_all_tasks_blocked(0.05)
        with pytest.raises(OSError, match="all attempts to connect"):
            async with server.connect():
                pass
        go_on.set()
        answer = await client.answer()
        assert (answer.body, answer.headers["connection"]) == (b"hello", "close")
        assert await client.rest() == b""
        await server.ended.wait()


async def test_a_body_that_is_on_its_way_when_it_stops_is_taken() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            begun.set()
            await reply(send, await read(receive))

    begun = trio.Event()
    async with served(app) as server, server.connect() as client:
        await client.send(post(b"hello")[:-3])
        await begun.wait()
        server.stopping.set()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (await client.ask(b"llo")).body == b"hello"


async def test_a_connection_that_was_just_made_when_it_stops_gets_its_first_request_answered(
    authority: trustme.CA, tls: Tls
) -> None:
    for context, known in ((None, {}), (trusting(authority), {"tls": tls})):
        async with served(echo, **known) as server, server.connect(context) as client:
            await trio.testing.wait_all_tasks_blocked(0.05)
            server.stopping.set()
            await trio.testing.wait_all_tasks_blocked(0.05)
            answer = await client.ask(post(b"hello"))
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await client.rest() == b""


async def test_half_a_request_is_answered_with_a_503_when_it_stops() -> None:
    async with served(echo) as server, server.connect() as client:
        await client.send(GET[:-2])
        await trio.testing.wait_all_tasks_blocked(0.05)
        await server.stop()
        assert (await client.answer()).problem["status"] == 503


async def test_what_takes_too_long_when_it_stops_is_cancelled_and_answered_with_a_503() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            begun.set()
            await trio.sleep_forever()

    begun = trio.Event()
    async with served(app, graceful_timeout=0.2) as server, server.connect() as client:
        await client.send(GET)
        await begun.wait()
        assert await server.stop() >= 0.2
        answer = await client.answer()
        assert answer.problem["status"] == 503
        assert answer.headers["retry-after"]


async def test_being_cancelled_is_stopping_without_grace() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            begun.set()
            await trio.sleep_forever()

    begun = trio.Event()
    async with served(app) as server, server.connect() as client, server.connect() as idle:
        await client.send(GET)
        await begun.wait()
        server.scope.cancel()
        await server.ended.wait()
        assert (await client.answer()).status == 503
        assert await idle.rest() == b""


# -- addresses


def has_ipv6() -> bool:
    try:
        bind([Address.parse("[::1]:0")])[0].close()
    except ConfigError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


@needs_ipv6
async def test_ipv6_is_served() -> None:
    async with served(echo, address=Address.parse("[::1]:0")) as server, server.connect() as client:
        assert (await client.ask(post(b"hello"))).body == b"hello"
        assert str(server.listener.address).startswith("[::1]:")


@needs_ipv6
def test_every_ipv6_interface_leaves_those_of_ipv4_alone() -> None:
    (six,) = bind([Address.parse("[::]:0")])
    assert six.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    six.close()


async def test_a_unix_socket_is_served_with_its_mode_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "router.sock"
    async with served(echo, address=Address(path=path)) as server, server.connect() as client:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert (await client.ask(post(b"hello"))).body == b"hello"
    assert not path.exists()


def test_the_mode_of_a_unix_socket_can_be_chosen(tmp_path: Path) -> None:
    (listener,) = bind([Address(path=tmp_path / "s")], unix_mode=0o600)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    listener.close()


def test_the_socket_that_a_killed_router_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    (listener,) = bind([Address(path=path)])
    listener.close()
    assert not path.exists()


def test_a_socket_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    address = Address(path=tmp_path / "s")
    (first,) = bind([address])
    with pytest.raises(ConfigError, match="s: address already in use; is another sodarouter running"):
        bind([address])
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(address.path))
    first.close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ConfigError, match="precious: file exists"):
        bind([Address(path=path)])
    assert path.read_text() == "data"


def test_a_socket_that_somebody_else_has_put_there_is_not_removed(tmp_path: Path) -> None:
    address = Address(path=tmp_path / "s")
    (first,) = bind([address])
    (tmp_path / "s").unlink()
    (second,) = bind([address])
    first.close()
    assert (tmp_path / "s").exists()
    second.close()


def test_either_every_address_is_listened_on_or_none(tmp_path: Path) -> None:
    (taken,) = bind([LOOPBACK])
    unix, folder = Address(path=tmp_path / "s"), Address(path=tmp_path / "missing" / "s")
    with pytest.raises(ConfigError) as caught:
        bind([unix, taken.address, folder, Address.parse("192.0.2.1:8080")])
    assert not (tmp_path / "s").exists()
    assert [fault.place for fault in caught.value.faults] == [str(taken.address), str(folder), "192.0.2.1:8080"]
    assert str(caught.value.faults[0]) == f"{taken.address}: address already in use; is another sodarouter running?"
    assert all(fault.hint for fault in caught.value.faults)
    taken.close()


def test_a_path_too_long_for_a_unix_socket_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="path too long"):
        bind([Address(path=tmp_path / ("s" * 120))])


async def test_the_listeners_are_closed_even_when_serving_cannot_begin(tmp_path: Path) -> None:
    listeners = bind([LOOPBACK, Address(path=tmp_path / "s")])
    with pytest.raises(ConfigError):
        await serve(echo, listeners, stopping=trio.Event(), tls=Tls(tmp_path / "no", tmp_path / "no"))
    assert not (tmp_path / "s").exists()
    assert all(listener.socket.fileno() == -1 for listener in listeners)


# -- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> Tls:
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    for pem in issued.cert_chain_pems:
        pem.write_to_path(tmp_path / "cert.pem", append=True)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return Tls(tmp_path / "cert.pem", tmp_path / "key.pem")


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def test_tls_is_served_and_http2_not_offered(authority: trustme.CA, tls: Tls) -> None:
    schemes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        schemes.append(scope.get("scheme"))
        await echo(scope, receive, send)

    async with served(app, tls=tls) as server, server.connect(trusting(authority)) as client:
        for body in (b"hello", b"x" * 300_000):
            assert (await client.ask(post(body))).body == body
        assert client.stream.selected_alpn_protocol() == "http/1.1"
        assert await server.stop() < 2
        assert await client.rest() == b""
    assert schemes[-1] == "https"


async def test_a_connection_over_tls_that_is_not_used_again_is_closed(authority: trustme.CA, tls: Tls) -> None:
    async with (
        served(echo, tls=tls, keep_alive_timeout=0.2) as server,
        server.connect(trusting(authority)) as client,
    ):
        assert (await client.ask(post(b"hello"))).body == b"hello"
        assert await client.rest() == b""


async def test_old_tls_is_refused(authority: trustme.CA, tls: Tls) -> None:
    context = trusting(authority)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with served(echo, tls=tls) as server, server.connect(context) as client:
        with pytest.raises(trio.BrokenResourceError):
            await client.ask(GET)


async def test_a_client_authority_lets_in_only_those_it_signed(authority: trustme.CA, tls: Tls, tmp_path: Path) -> None:
    guarded = Tls(tls.cert, tls.key, client_ca=tmp_path / "ca.pem")
    known, unknown = trusting(authority), trusting(authority)
    authority.issue_cert("client").configure_cert(known)
    trustme.CA().issue_cert("client").configure_cert(unknown)
    async with served(echo, tls=guarded) as server:
        for context in (unknown, trusting(authority)):
            async with server.connect(context) as client:
                with pytest.raises((trio.BrokenResourceError, AssertionError)):
                    await client.ask(GET)
        async with server.connect(known) as client:
            assert (await client.ask(post(b"hello"))).body == b"hello"


async def test_a_handshake_that_does_not_come_is_not_waited_for(tls: Tls) -> None:
    async with served(echo, tls=tls, handshake_timeout=0.2) as server, server.connect() as client:
        assert await client.rest() == b""


async def test_a_handshake_of_garbage_ends_that_connection_alone(authority: trustme.CA, tls: Tls) -> None:
    async with served(echo, tls=tls) as server:
        async with server.connect() as client:
            await client.send(GET)
            await client.rest()
        async with server.connect(trusting(authority)) as client:
            assert (await client.ask(post(b"hello"))).body == b"hello"


def distrusts(address: Address) -> None:
    """Connects as one who does not know the authority, and says so, which trio's client does not."""
    with (
        socket.create_connection((address.host, address.port)) as connection,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")


async def test_a_handshake_that_fails_is_told_with_what_can_be_changed(tls: Tls, authority: trustme.CA) -> None:
    guarded = Tls(tls.cert, tls.key, client_ca=tls.cert.with_name("ca.pem"))
    with capture_logs() as logs:
        async with served(echo, tls=guarded) as server:
            async with server.connect():
                pass  # looks whether somebody listens
            async with server.connect() as client:
                await client.send(GET)
                await client.rest()
            await trio.to_thread.run_sync(distrusts, server.listener.address)
            async with server.connect(trusting(authority)) as client:
                with pytest.raises((trio.BrokenResourceError, AssertionError)):
                    await client.ask(GET)
    told = [
        (line["reason"], line["hint"].partition(",")[0]) for line in logs if line["event"] == "a TLS handshake failed"
    ]
    assert told == [
        ("http request", "a client speaks plain HTTP"),
        ("tlsv1 alert unknown ca", "a client does not trust the certificate; have cert hold the whole chain"),
        ("peer did not return a certificate", "a client has no certificate"),
    ]


def test_tls_files_that_cannot_be_used_are_faults(authority: trustme.CA, tls: Tls, tmp_path: Path) -> None:
    authority.issue_cert("other").private_key_pem.write_to_path(tmp_path / "other.pem")
    (tmp_path / "empty.pem").touch()
    key = load_pem_private_key(tls.key.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "locked.pem").write_bytes(locked)
    for broken, fault in {
        Tls(
            tmp_path / "no.pem", tmp_path / "nor.pem"
        ): "tls.cert: .*no.pem cannot be read: no such file or directory\ntls.key: .*nor.pem cannot",
        Tls(tls.cert, tmp_path / "other.pem"): "tls.key: .*other.pem is not the key of the certificate .*cert.pem",
        Tls(tls.cert, tmp_path / "empty.pem"): "tls: .*cert.pem cannot be used with .*empty.pem",
        Tls(tls.cert, tmp_path / "locked.pem"): "locked.pem: the key is encrypted",
        Tls(tls.cert, tls.key, tmp_path / "empty.pem"): "tls.client_ca: .*empty.pem holds no certificate",
    }.items():
        with pytest.raises(ConfigError, match=fault):
            broken.ssl_context()


# -- hypercorn


def test_what_hypercorn_must_keep_for_us_is_there() -> None:
    """The names that `sodarouter.serve` leans on; when one is missing, read hypercorn's changes before unpinning it."""
    protocol = hypercorn.protocol.h11.H11Protocol
    assert [*inspect.signature(protocol).parameters] == (
        ["app", "config", "context", "task_group", "connection_state", "ssl", "client", "server", "send"]
    )
    for overridden in ("handle", "stream_send", "_send_h11_event", "_handle_events", "_create_stream"):
        assert inspect.iscoroutinefunction(getattr(protocol, overridden)), overridden
    assert "self._handle_events()" in inspect.getsource(protocol.handle)
    recycle = inspect.getsource(protocol._maybe_recycle)
    for said in (
        "terminated.is_set()",
        "start_next_cycle()",
        "can_read.set()",
        "Updated(idle=True)",
        "self.send(Closed())",
    ):
        assert said in recycle
    stream = inspect.getsource(HTTPStream)
    assert "self.task_group.spawn_app(" in stream
    assert "self.app, self.config, self.scope, self.app_send" in stream
    assert [*inspect.signature(HTTPStream).parameters][-2:] == ["send", "stream_id"]
    assert hypercorn.protocol.h11.STREAM_ID == 1
    assert WorkerContext(None).terminated.is_set() is False
    assert {"h11_max_incomplete_size", "include_server_header", "errorlog"} <= set(vars(Config))
