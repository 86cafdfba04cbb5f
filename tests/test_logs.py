import io
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from sodarouter.logs import LEVELS, set_up
from sodarouter.redact import REDACTED, Redactor

pytestmark = pytest.mark.usefixtures("own_log")

SECRET = "hunter2-canary"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Gives what has been written to standard error, which is no terminal, since the last time it was asked."""
    return lambda: capsys.readouterr().err


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def fail_with(text: str) -> None:
    raise ValueError(text)


def test_a_json_line_begins_with_when_how_bad_and_what(written):
    set_up("info", "auto", Redactor([]))
    structlog.get_logger(destination="oncall").info("delivery settled", outcome="delivered", seconds=0.25, results=None)
    (line,) = lines(written())
    assert list(line) == ["timestamp", "level", "message", "destination", "outcome", "seconds", "results"]
    assert line["timestamp"].endswith("Z")
    assert {**line, "timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "message": "delivery settled",
        "destination": "oncall",
        "outcome": "delivered",
        "seconds": 0.25,
        "results": None,
    }


def test_a_line_for_people_is_no_json(written):
    set_up("info", "human", Redactor([]))
    structlog.get_logger().info("ready", listen=["127.0.0.1:8080"], admin=[])
    (line,) = written().splitlines()
    assert line.split()[1:] == ["[info", "]", "ready", "listen=['127.0.0.1:8080']", "admin=[]"]


def test_auto_is_for_people_on_a_terminal_and_json_elsewhere(written, monkeypatch):
    set_up("info", "auto", Redactor([]))
    structlog.get_logger().info("ready")
    assert lines(written())[0]["message"] == "ready"
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    set_up("info", "auto", Redactor([]))
    structlog.get_logger().info("ready")
    assert "\x1b[" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


@pytest.mark.parametrize("style", ["json", "human"])
def test_a_secret_is_in_no_line(written, style):
    set_up("info", style, Redactor([SECRET]))
    log = structlog.get_logger(bound=f"Bearer {SECRET}")
    log.info(f"posted to https://{SECRET}@example.org")
    log.info("values", text=SECRET, number=3, path=Path("/etc") / SECRET, raw=SECRET.encode(), error=ValueError(SECRET))
    log.info("nested", deep={"list": [SECRET, {SECRET: (1, ValueError(SECRET))}], "set": {SECRET}})
    try:
        fail_with(SECRET)
    except ValueError as error:
        log.exception("failed", why=error)
        log.error("failed", exc_info=ExceptionGroup(SECRET, [error]))
    text = written()
    assert SECRET not in text
    assert text.count(REDACTED) >= 10


@pytest.mark.parametrize("style", ["json", "human"])
def test_a_traceback_is_whole_but_for_its_secrets(written, style):
    set_up("info", style, Redactor([SECRET]))
    try:
        fail_with(f"refused {SECRET}")
    except ValueError:
        structlog.get_logger().exception("failed")
    text = written()
    told = lines(text)[0]["exception"] if style == "json" else text
    assert "Traceback (most recent call last)" in told
    assert "in fail_with" in told
    assert f"ValueError: refused {REDACTED}" in told


def test_what_is_written_past_the_log_is_redacted_too(capsys):
    """As by ``print``, by warnings, and by Python when a thread dies."""
    set_up("info", "json", Redactor([SECRET]))
    print(f"posting with {SECRET}")
    print(SECRET, file=sys.stderr)
    sys.stderr.writelines([SECRET, "\n"])
    assert not sys.stderr.isatty(), "it is a stream like the one it stands for"
    assert capsys.readouterr() == (f"posting with {REDACTED}\n", f"{REDACTED}\n{REDACTED}\n")


def test_libraries_log_in_the_same_form_and_without_secrets(written):
    set_up("info", "json", Redactor([SECRET]))
    library = logging.getLogger("library.part")
    library.warning("retrying %s in %d s", f"https://{SECRET}/", 3)
    try:
        fail_with(SECRET)
    except ValueError:
        library.exception("gave up")
    text = written()
    warned, failed = lines(text)
    assert list(warned) == ["timestamp", "level", "message", "logger"]
    assert (warned["level"], warned["logger"]) == ("warning", "library.part")
    assert warned["message"] == f"retrying https://{REDACTED}/ in 3 s"
    assert failed["level"] == "error"
    assert f"ValueError: {REDACTED}" in failed["exception"]
    assert SECRET not in text


@pytest.mark.parametrize("level", LEVELS)
def test_lines_below_the_level_are_not_written(written, level):
    set_up(level, "json", Redactor([]))
    for name in LEVELS:
        getattr(structlog.get_logger(), name)(name)
    assert [line["level"] for line in lines(written())] == list(LEVELS)[list(LEVELS).index(level) :]


def test_libraries_are_heard_from_warnings_on(written):
    set_up("debug", "json", Redactor([]))
    for name in LEVELS:
        getattr(logging.getLogger("library"), name)(name)
    set_up("error", "json", Redactor([]))
    for name in LEVELS:
        getattr(logging.getLogger("library"), name)(name)
    assert [line["level"] for line in lines(written())] == ["warning", "error", "error"]


def test_a_logger_made_before_the_set_up_follows_it(written):
    early = structlog.get_logger(destination="early")
    set_up("info", "json", Redactor([SECRET]))
    early.info(SECRET)
    assert lines(written())[0]["message"] == REDACTED


def test_what_json_has_no_word_for_becomes_text(written):
    set_up("info", "json", Redactor([]))
    structlog.get_logger().info("odd", kind=int, nested=[{"key": b"bytes"}])
    assert {key: value for key, value in lines(written())[0].items() if key in {"kind", "nested"}} == {
        "kind": "<class 'int'>",
        "nested": [{"key": "b'bytes'"}],
    }
