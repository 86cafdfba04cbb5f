"""What servers, and the ways to them, do to a destination that talks HTTP: everything, on real sockets."""

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import repeat

import trio

from sodarouter.delivery import State
from sodarouter.errors import ConfigError, Reject
from sodarouter.testing.bench import Bench
from sodarouter.testing.conduct import AT_ONCE, note, timed_out, well
from sodarouter.testing.report import DoubtfulError, NotCheckedError, NotWellError
from sodarouter.testing.router import FakeRouter
from sodarouter.testing.samples import sample, sample_events
from sodarouter.testing.sink import Answer, Request
from sodarouter.testing.tried import Tried

LATER = {408, 425, 429}
STATUSES = (
    *(200, 201, 202, 204, 205, 299),
    *(300, 301, 302, 303, 304, 307, 308),
    *(
        400,
        401,
        402,
        403,
        404,
        405,
        406,
        408,
        409,
        410,
        411,
        413,
        414,
        415,
        418,
        421,
        422,
        425,
        426,
        429,
        431,
        451,
        499,
    ),
    *(500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 599),
)
FLOOD = 32 * 1024 * 1024
"""Bytes of an answer that is far too large."""
PIECE = b"x" * 65536
CROWD = 40
WAIT = 7
"""Seconds of a ``Retry-After``."""
ELSEWHERE = "/elsewhere"


async def arrives(bench: Bench) -> None:
    """What its preview shows is what arrives"""
    before = len(bench.sink.requests)
    async with bench.router() as router:
        (tried,) = await router.send(bench.event())
        preview = router.destination().preview(tried.event, tried.delivery)
        if preview is None or len(bench.sink.requests) == before:
            raise NotCheckedError("it has no preview" if preview is None else "it never asked the server for anything")
        if all(request.body != preview.body for request in bench.sink.requests[before:]):
            raise DoubtfulError("another body does: make both with the same function")
        for name, event in sample_events().items():
            before = len(bench.sink.requests)
            (tried,) = await router.send(event)
            _agrees(router, name, tried, sent=len(bench.sink.requests) > before)


def _agrees(router: FakeRouter, name: str, tried: Tried, *, sent: bool) -> None:
    """That something is shown where something is sent, and only there."""
    try:
        preview = router.destination().preview(tried.event, tried.delivery)
    except Reject:
        return
    if tried.state is not State.DELIVERED or preview is None or preview.sends() is sent:
        return
    if sent:
        raise DoubtfulError(f"of the sample {name} it shows that nothing is sent, and something is")
    raise DoubtfulError(f'of the sample {name} nothing is sent: show Preview.nothing("…") with the reason')


async def answers(bench: Bench) -> None:
    """A 2xx is taken, 408, 425, 429 and 5xx mean later, and no status is a fault"""
    wrong: list[str] = []
    async with bench.router() as router:
        for status in STATUSES:
            bench.sink.reply = _replying(Answer(status, body=bench.taken.body if status < 300 else b"sorry"))
            (tried,) = await router.send(bench.event())
            note(bench, tried)
            well(router)
            wanted = _wanted(status)
            if tried.state not in wanted:
                meant = " or ".join(_MEANS[state] for state in wanted)
                wrong.append(f"{status} means {meant}, not {_MEANS[tried.state]}")
    if wrong:
        raise NotWellError("; ".join(wrong[:5]) + (f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""))


_MEANS = {State.DELIVERED: "taken", State.PENDING: "later", State.DEAD: "never"}


def _wanted(status: int) -> tuple[State, ...]:
    if status < 300:
        return (State.DELIVERED,)
    return (State.PENDING,) if status in LATER or status >= 500 else (State.PENDING, State.DEAD)


async def retry_after(bench: Bench) -> None:
    """It waits as long as Retry-After asks"""
    wait = {"initial": "1ms", "max_delay": "1ms"}
    async with bench.router(retry=wait) as router:
        bench.sink.reply = lambda _: Answer(503, {"Retry-After": str(WAIT)})
        await router.send(bench.event())
        (found,) = router.deliveries
        if found.next_at is None or (found.next_at - found.planned).total_seconds() < WAIT:
            raise DoubtfulError("it does not: raise Retry with after, or leave it to raise_unless_taken of self.http")


async def redirects(bench: Bench) -> None:
    """It follows no redirect"""
    async with bench.router() as router:
        for status in (301, 302, 307, 308):
            bench.sink.reply = _replying(Answer(status, {"Location": f"{bench.sink.url}{ELSEWHERE}"}))
            await router.send(bench.event())
            well(router)
    if any(request.target == ELSEWHERE for request in bench.sink.requests):
        raise NotWellError("it does, so whoever answers can have the router ask for whatever it reaches")


async def hangs(bench: Bench) -> None:
    """A server that never answers is given up on when the time is over"""
    async with bench.router(timeout="500ms") as router:
        bench.sink.reply = lambda _: Answer(hold=trio.Event())
        (tried,) = await router.send(bench.event())
        well(router)
        if tried.state is not State.PENDING:
            raise NotWellError(f"it ends as {_MEANS[tried.state]}, and nobody knows whether it arrived")
        if router.swallowed:
            raise NotWellError(
                "deliver returns, or raises something else, when it is cancelled: let trio.Cancelled pass"
            )
        if not timed_out(tried):
            raise DoubtfulError(f"it gives up before its timeout: {tried.reason}")


async def breaks(bench: Bench) -> None:
    """A connection that breaks, and an answer that is none, mean later"""
    async with bench.router() as router:
        for what, answer in _broken():
            bench.sink.reply = _replying(answer)
            _later(router, bench, what, await router.send(bench.event()))
    bases = {"a server that refuses connections": f"http://127.0.0.1:{_closed_port()}"}
    if bench.chooses_scheme:
        bases["a server that speaks no TLS"] = bench.sink.url.replace("http://", "https://")
    for what, base in bases.items():
        bench.sink.reply = lambda _: Answer()
        try:
            async with bench.router(base) as router:
                _later(router, bench, what, await router.send(bench.event()))
        except ConfigError:
            continue  # its options may allow only one of http and https


def _broken() -> Iterator[tuple[str, Answer]]:
    yield "a connection that is closed without a word", Answer(raw=b"")
    yield "a connection that is reset", Answer(reset=True)
    yield "an answer that is no HTTP", Answer(raw=b"\x00\xff SMTP ready\r\n\r\n")
    yield "an answer whose head breaks off", Answer(raw=b"HTTP/1.")
    yield "an answer with a head that never ends", Answer(raw=b"HTTP/1.1 200 OK\r\nX: " + PIECE * 4)
    yield "an answer with an impossible status", Answer(raw=b"HTTP/1.1 2000 OK\r\n\r\n")


def _later(router: FakeRouter, bench: Bench, what: str, tried: list[Tried]) -> None:
    for one in tried:
        note(bench, one)
    well(router)
    (one,) = tried
    if one.state is not State.PENDING:
        raise NotWellError(f"{what} ends as {_MEANS[one.state]}: {one.reason or 'taken'}")


async def bodies(bench: Bench) -> None:
    """An answer's body may break off, drip or never end"""
    async with bench.router(timeout="1s") as router:
        for what, answer in _bodies():
            bench.sink.reply = _replying(answer)
            (tried,) = await router.send(bench.event())
            note(bench, tried)
            if router.faults:
                raise NotWellError(f"{what}: deliver fails: {router.faults[0]!r}")
            if tried.state is State.DEAD:
                raise NotWellError(f"{what} ends as never: {tried.reason}")


def _bodies() -> Iterator[tuple[str, Answer]]:
    yield "a body of 32 MiB", Answer(body=repeat(PIECE, FLOOD // len(PIECE)))
    yield "a body that breaks off", Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    yield "a body that drips", Answer(body=_dripping())
    yield "a body that is no text", Answer(500, body=bytes(range(256)) * 16)


async def _dripping() -> AsyncIterator[bytes]:
    while True:
        yield b"."
        await trio.sleep(0.05)


async def echoes(bench: Bench) -> None:
    """A server that quotes the request gets no secret stored"""
    before = len(bench.sink.requests)
    async with bench.router() as router:
        for status in (400, 500):

            def echo(request: Request, status: int = status) -> Answer:
                asked = {"target": request.target, "headers": request.headers}
                return Answer(status, body=json.dumps(asked).encode() + request.body)

            bench.sink.reply = echo
            # the first has one more secret, and some send nothing of it
            for event in (sample("callback"), bench.event()):
                (tried,) = await router.send(event)
                note(bench, tried)
                well(router)
    if len(bench.sink.requests) == before:
        raise NotCheckedError("it never asked the server for anything")


async def stopped(bench: Bench) -> None:
    """Stopped in the middle of a request it ends at once, and delivers after the restart, with the same id"""
    bench.sink.reply = lambda _: Answer(hold=trio.Event())
    async with bench.router() as router, trio.open_nursery() as nursery:
        before = len(bench.sink.requests)
        nursery.start_soon(router.send, bench.event())
        with trio.move_on_after(AT_ONCE):
            await bench.sink.until_requests(before + 1)
        if len(bench.sink.requests) == before:
            nursery.cancel_scope.cancel()
            raise NotCheckedError("it never asked the server for anything")
        bench.sink.reply = lambda _: bench.taken
        began = trio.current_time()
        await router.restart()
        if trio.current_time() - began > AT_ONCE:
            raise NotWellError(f"it takes more than {AT_ONCE:g} seconds to end")
    well(router)
    (tried,) = router.attempts
    if tried.state is not State.DELIVERED:
        raise NotWellError(f"after the restart it does not deliver: {tried.reason}")


async def crowd(bench: Bench) -> None:
    """Many at once to a server that fails every third time all end as they should"""
    asked: dict[int, int] = {}

    def reply(_: Request) -> Answer:
        asked[0] = asked.get(0, 0) + 1
        return Answer(503) if asked[0] % 3 == 0 else bench.taken

    bench.sink.reply = reply
    async with bench.router(concurrency=CROWD) as router, trio.open_nursery() as nursery:
        for number in range(CROWD):
            nursery.start_soon(router.send, bench.event(number))
    well(router)
    never = [tried for tried in router.attempts if tried.state is State.DEAD]
    if never:
        raise NotWellError(f"{len(never)} of {CROWD} end as never: {never[0].reason}")


CHAOS: tuple[Callable[[Bench], Awaitable[None]], ...] = (
    arrives,
    answers,
    retry_after,
    redirects,
    hangs,
    breaks,
    bodies,
    echoes,
    stopped,
    crowd,
)
"""The checks, in their order. What holds is the first line of the docstring."""


def _replying(answer: Answer) -> Callable[[Request], Answer]:
    return lambda _: answer


def _closed_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
