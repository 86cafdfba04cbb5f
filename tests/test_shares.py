"""The intake under more than it can bear: it sheds, and each source keeps its share."""

from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from rawhttp import GET, Client, echo, post, served
from running import LISTEN, Running, running_router, until

from sodarouter.shares import Overloaded, Shares

SOURCES = '[source.a]\npath = "/a"\n[source.b]\npath = "/b"\n'
TAKES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40)), max_size=40)


@given(TAKES)
def test_no_source_ever_gets_more_than_its_share_or_is_refused_for_what_another_does(
    takes: list[tuple[str, int]],
) -> None:
    shares = Shares("ab", requests=6, memory=200, largest=50)
    assert (shares.requests, shares.memory) == (3, 100)
    with ExitStack() as under_way:
        requests, held = dict.fromkeys("ab", 0), dict.fromkeys("ab", 0)
        for source, size in takes:
            fits = requests[source] < 3
            try:
                holding = under_way.enter_context(shares.request(source))
            except Overloaded:
                assert not fits
                continue
            assert fits
            requests[source] += 1
            room = held[source] + size <= 100
            try:
                holding.reach(size)
            except Overloaded:
                assert not room
            else:
                assert room
                held[source] += size
    for source in "ab":
        with shares.request(source) as holding:
            holding.reach(100)


async def client(router: Running, stack: AsyncExitStack) -> Client:
    address = router.bound.server[0]
    stream = await trio.open_tcp_stream(address.host, address.port)
    return Client(await stack.enter_async_context(stream))


def begun(path: str, size: int) -> bytes:
    """The head of a request whose body does not come."""
    return b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path.encode(), size)


async def test_a_flood_of_one_source_is_shed_and_another_is_served(tmp_path: Path) -> None:
    listen = LISTEN.replace("[admin]", "max_connections = 8\n[admin]", 1)
    async with running_router(tmp_path, "", source=SOURCES, listen=listen) as router, AsyncExitStack() as stack:
        flood = [await client(router, stack) for _ in range(5)]
        for one in flood[:4]:
            await one.send(begun("/a", 10))
        answer = await flood[4].ask(begun("/a", 10))
        assert answer.status == 503
        assert answer.headers["retry-after"] == "30"
        assert "as many requests under way as it may" in answer.problem["detail"]
        assert (await router.post(b'{"event": "validate"}', "/b")).status_code == 200
        # what was begun still gets its answer
        await flood[0].send(b'{"event":1')
        assert (await flood[0].answer()).status == 400


async def test_bodies_that_there_is_no_memory_for_are_refused_before_they_come(tmp_path: Path) -> None:
    listen = LISTEN.replace("[admin]", 'max_memory = "2 MiB"\nmax_body = "1 MiB"\n[admin]', 1)
    async with running_router(tmp_path, "", source=SOURCES, listen=listen) as router, AsyncExitStack() as stack:
        first, second, other = [await client(router, stack) for _ in range(3)]
        await first.send(begun("/a", 1 << 20))
        assert (await second.ask(begun("/a", 1000))).status == 503
        assert (await other.ask(post(b'{"event": "validate"}', path="/b"))).status == 200
        metrics = (await router.admin.get("/metrics")).text
        assert 'reason="overloaded"' in metrics


async def test_the_connection_that_was_idle_longest_makes_room_for_a_new_one() -> None:
    async with served(echo, max_connections=3) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(server.connect()) for _ in range(3)]
        for one in clients:
            await one.ask(post(b"hello"))
        await clients[0].ask(post(b"again"))
        async with server.connect() as fourth:
            assert (await fourth.ask(post(b"hello"))).body == b"hello"
        assert (await clients[0].ask(post(b"hello"))).body == b"hello"
        assert (await clients[2].ask(post(b"hello"))).body == b"hello"
        with pytest.raises((EOFError, AssertionError, trio.BrokenResourceError)):
            await clients[1].ask(GET)


async def test_too_many_header_fields_are_refused() -> None:
    async with served(echo) as server, server.connect() as client_:
        answer = await client_.ask(GET[:-2] + b"A: b\r\n" * 120 + b"\r\n")
        assert answer.status == 431


async def test_a_body_of_too_many_values_is_refused_and_kept(tmp_path: Path) -> None:
    async with running_router(tmp_path, "", source=SOURCES) as router:
        dense = b'{"event": "checkEvaluation", "checkResults": [' + b",".join([b"{}"] * 250_000) + b"]}"
        answer = await router.post(dense, "/a")
        assert (answer.status_code, answer.json()["title"]) == (400, "Too many values")
        assert [refused.raw for refused in router.reader.quarantined(limit=9)] == [dense]
        # text is no values
        prose = b'{"event": "contractPublished", "contract": {"contents": "%b"}}' % (b"a, [b], {c}: " * 90_000)
        assert (await router.post(prose, "/a")).status_code == 200
        await until(lambda: router.reader.events(limit=1)[0].planned is not None)
