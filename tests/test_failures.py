"""What others raise and say, made into something that harms nobody."""

import pytest
import structlog
import trio

from sodarouter import logs
from sodarouter.failures import MAX_LOOKED_AT, MAX_NAME, contained, describe, is_a, kind_of, plain, storable
from sodarouter.redact import Redactor
from sodarouter.sparing import Sparing


class Text(str):
    def __str__(self) -> str:
        raise SystemExit("of the text")

    __len__ = __iter__ = __getitem__ = __format__ = __str__


class Faceless(Exception):
    @property
    def __class__(self):
        raise SystemExit("of the class")


class Untraceable(Exception):
    @property
    def __cause__(self):
        raise SystemExit("of the cause")


def deep(error: BaseException, levels: int) -> BaseException:
    for _ in range(levels):
        error = BaseExceptionGroup("deeper", [error])
    return error


def test_a_text_is_its_beginning_and_nothing_but_text():
    assert type(plain(Text("abc"))) is str
    assert plain(Text("abc")) == "abc"
    assert len(plain("x" * 10_000_000)) == MAX_LOOKED_AT


def test_an_exception_is_described_whatever_its_text_does():
    class Exits(Exception):
        def __str__(self) -> str:
            raise SystemExit("of the text")

    assert describe(Exits()) == "Exits"
    assert describe(type("X" * 10_000, (Exception,), {})("y")) == "X" * MAX_NAME + ": y"
    assert is_a(Faceless(), Faceless)
    assert not is_a(Faceless(), ValueError)
    assert kind_of(Faceless()) == "Faceless"


def test_groups_deeper_than_functions_can_call_themselves_are_taken_apart():
    failures: list[BaseException] = []
    with contained(failures):
        raise BaseExceptionGroup("all", [KeyError("first"), deep(OSError("last"), 10_000)])
    assert list(map(repr, failures)) == ["KeyError('first')", "OSError('last')"]


async def test_a_cancellation_goes_on_out_of_the_deepest_group():
    failures: list[BaseException] = []
    passed = False
    with trio.CancelScope() as scope:
        scope.cancel()
        with contained(failures):
            try:
                await trio.sleep_forever()
            except trio.Cancelled as cancelled:
                raise BaseExceptionGroup("all", [OSError("own"), deep(cancelled, 100)]) from None
        passed = True
    assert (scope.cancelled_caught, passed) == (True, False)
    assert list(map(repr, failures)) == ["OSError('own')"]


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (Untraceable("of nothing"), "Untraceable: of nothing"),
        (Faceless("who"), "Faceless"),
        (deep(ValueError("bottom"), 10_000), "ExceptionGroup: deeper (1 sub-exception)"),
        (ValueError("x" * 10_000_000), "ValueError: xxx"),
    ],
    ids=["untraceable", "faceless", "deep", "long"],
)
def test_an_exception_that_cannot_be_shown_is_logged_all_the_same(error, shown, capfd):
    kept = structlog.get_config()
    try:
        logs.set_up("info", "json", Redactor())
        structlog.get_logger().error("failed", exc_info=error)
    finally:
        structlog.configure(**kept)
    written = capfd.readouterr().err
    assert '"message": "failed"' in written
    assert shown in written
    assert len(written) < 2 * MAX_LOOKED_AT


def test_what_is_stored_has_no_half_secret_at_its_end():
    text = "x" * 4090 + "T0K3N-of-another"
    assert "T0K" not in storable(Redactor(["T0K3N-of-another"])(plain(text)))


def test_so_many_lines_of_a_kind_are_written_in_a_minute_and_the_next_says_how_many_were_not():
    written, clock = [], [0.0]
    sparing = Sparing(most=3, now=lambda: clock[0])
    for _ in range(5):
        sparing(lambda message, **known: written.append(known), "it failed", "kind")
    clock[0] = 60.0
    sparing(lambda message, **known: written.append(known), "it failed", "kind")
    assert written == [{}, {}, {}, {"more_since": 2}]
