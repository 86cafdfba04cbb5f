"""What the router and a destination's process say to each other, and what becomes of what the process prints."""

import json
import pickle
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import memory_stream_one_way_pair

from sodarouter import IncidentLink, Reject, Retry
from sodarouter.isolation.frames import BadFrame, Frames
from sodarouter.isolation.measured import MOST, Measured, Measuring, tell
from sodarouter.isolation.output import MAX_LINE, Output
from sodarouter.isolation.said import (
    MAX_TEXT,
    Answered,
    Odd,
    Raised,
    answer_of,
    error_of,
    packed,
    refused,
    unpacked,
    value_of,
)
from sodarouter.metrics import MetricKind, Metrics
from sodarouter.outgoing import Outgoing
from sodarouter.redact import REDACTED, Redactor

texts = st.text(st.characters(exclude_categories=[]))
"""Surrogates too, as in the names of files."""


# what is said


@given(texts, texts, st.none() | st.integers() | st.floats(allow_nan=False), st.booleans())
def test_a_refusal_says_the_same_on_the_other_side(reason: str, response: str, after: Any, later: bool) -> None:
    error = Retry(reason, after=after, response=response) if later else Reject(reason, response=response)
    (said,) = unpacked(packed(Raised(1, [refused(error, str)], [], []))).failures
    found = error_of(said)
    assert type(found) is type(error)
    assert found.reason == reason.encode(errors="backslashreplace").decode()
    assert found.response == response.encode(errors="backslashreplace").decode()
    if later:
        assert (
            found.after is None if after is None else found.after == pytest.approx(min(max(after, 0), 36_525 * 86_400))
        )


@given(st.none() | st.builds(IncidentLink, st.text(), st.text()))
def test_an_answer_is_the_same_on_the_other_side(answer: IncidentLink | None) -> None:
    (said,) = unpacked(packed(Answered(1, [answer_of(answer, str)], [], []))).answers
    assert value_of(said) == answer


@pytest.mark.parametrize("answer", [3, "text", object()])
def test_of_something_odd_only_the_name_of_its_type_is_told(answer: object) -> None:
    (said,) = unpacked(packed(Answered(1, [answer_of(answer, str)], [], []))).answers
    assert type(value_of(said)).__name__ == type(answer).__name__
    assert type(value_of(Odd("A\0B"))).__name__ == "AB"


def test_a_text_is_bounded_and_secrets_are_taken_out_before_it_is_cut() -> None:
    secret = "S3CRET" * 3
    said = refused(Retry("x" * (MAX_TEXT - 5) + secret), Redactor([secret]))
    assert said.reason is not None
    assert len(said.reason) == MAX_TEXT
    assert "S3C" not in said.reason


@given(st.binary() | st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5).map(
    lambda value: json.dumps({"said": "raised", "number": value, "failures": value, "changes": [], "measured": []}).encode()
))  # fmt: skip
def test_whatever_else_is_said_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        unpacked(data)


def test_the_rules_for_requests_are_the_same_in_the_process() -> None:
    outgoing = Outgoing.model_validate({"allow": ["10.0.0.0/8", "::1"], "proxy": "http://me:secret@127.0.0.1:3128"})
    assert pickle.loads(pickle.dumps(outgoing)) == outgoing


# what is measured

calls = st.tuples(
    st.sampled_from(["count", "gauge", "observe"]),
    st.sampled_from(["first", "second"]),
    st.integers(0, 1000),
    st.dictionaries(st.just("to"), st.text()),
)


@given(st.lists(st.lists(calls)))
def test_what_is_measured_comes_to_the_same_in_the_router(attempts: list[list[Any]]) -> None:
    here, there, carried = Metrics(), Measuring(), Metrics()
    for attempt in attempts:
        for method, name, value, labels in attempt:
            for metrics in (here, there):
                with suppress(ValueError):  # it has another kind or other labels already
                    getattr(metrics, method)(name, value, **labels)
        tell(unpacked(packed(Answered(1, None, [], there.taken()))).measured, carried)
    assert carried.now() == here.now()


def test_no_more_is_carried_than_a_limit_and_nothing_that_cannot_be() -> None:
    measuring = Measuring()
    for number in range(10 * MOST):
        measuring.observe("seconds", number)
        measuring.count("calls")
    carried = Metrics()
    tell(measuring.taken(), carried)
    assert carried.now()[-1].samples[0].count == MOST - 1
    assert carried.now()[0].samples[0].value == 10 * MOST
    assert measuring.taken() == []
    tell(
        [Measured(MetricKind.COUNTER, "Ill named", 1, {}), Measured(MetricKind.COUNTER, "a", -1, {"le": "1"})], carried
    )
    assert len(carried.now()) == 2


# frames


async def _frames(data: bytes, limit: int = 100) -> list[bytes | str | None]:
    """What comes of bytes that arrive one by one."""
    found: list[bytes | str | None] = []
    here, there = socket.socketpair()
    sender = trio.SocketStream(trio.socket.from_stdlib_socket(here))
    frames = Frames(trio.SocketStream(trio.socket.from_stdlib_socket(there)), limit)

    async def send() -> None:
        async with sender:
            for byte in data:
                await sender.send_all(bytes([byte]))

    async with trio.open_nursery() as nursery, frames.stream:
        nursery.start_soon(send)
        try:
            while (frame := await frames.receive()) is not None:
                found.append(frame)
            found.append(None)
        except BadFrame as error:
            found.append(str(error))
            nursery.cancel_scope.cancel()
    return found


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", [None]),
        (b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01d", [b"abc", b"", b"d", None]),
        (b"\0\0\0\x03ab", [None]),
        (b"\0\0", [None]),
        (b"\0\0\0\x01a\0\0\0\x65", [b"a", "101 bytes at once"]),
    ],
)
async def test_frames_come_whole_or_not_at_all(data: bytes, found: list[bytes | str | None]) -> None:
    assert await _frames(data) == found


# what is printed


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    with capture_logs() as lines:
        yield lines


async def relay(*chunks: bytes, secret: str = "S3CR3T") -> None:
    output = Output("one", Redactor([secret]))
    sender, receiver = memory_stream_one_way_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.relay, receiver)
        for chunk in chunks:
            await sender.send_all(chunk)
            await trio.testing.wait_all_tasks_blocked()
        await sender.aclose()
    output.end()


async def test_lines_are_told_however_they_arrive_and_without_secrets(logged: list[dict[str, Any]]) -> None:
    await relay(b"one\ntw", b"o S3C", b"R3T\n\n \nthree")
    assert [line["text"] for line in logged] == ["one", f"two {REDACTED}", "three"]
    assert {line["destination"] for line in logged} == {"one"}


async def test_a_line_that_is_too_long_is_left_out_whole(autojump_clock: object, logged: list[dict[str, Any]]) -> None:
    await relay(b"before\n", b"x" * (MAX_LINE + 1), b"S3CR", b"3T\nafter\n")
    assert [line["text"] for line in logged if "text" in line] == ["before", "after"]
    assert [line["lines_left_out"] for line in logged if "text" not in line] == [1]


async def test_a_flood_is_told_up_to_a_limit_and_counted(autojump_clock: object, logged: list[dict[str, Any]]) -> None:
    await relay(b"x\n" * 100_000)
    told = [line for line in logged if "text" in line]
    assert 1000 <= len(told) < 2000
    assert len(told) + sum(line.get("lines_left_out", 0) for line in logged) == 100_000
    assert len(logged) - len(told) <= 3
