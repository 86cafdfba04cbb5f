"""Logs: structured lines on standard error, for people on a terminal and JSON otherwise, without secrets."""

import logging
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

from sodarouter.failures import describe, plain
from sodarouter.redact import Redactor

_FIRST = ("timestamp", "level", "event")
"""The keys that a line begins with; ``event`` is structlog's word for the message."""

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_up(level: str, style: str, redact: Redactor) -> None:
    """Sets up structlog for the process, and sends what libraries log through the standard library the same way.

    Text that is written past it, to standard output and standard error, is redacted too.

    Args:
        level: One of `LEVELS`.
        style: ``human``, ``json``, or ``auto``: human on a terminal.
        redact: Goes over every line, tracebacks included.
    """

    def redacted(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
        ordered = {key: line[key] for key in _FIRST if key in line} | dict(line)
        found: EventDict = redact.within({key: _plain(value) for key, value in ordered.items()})
        return found

    human = style == "human" or (style == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # as text before redaction: a traceback repeats the arguments of whatever failed
        _traceback,
        redacted,
    ]
    last: list[Any] = [
        _named_message,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]
    if human:
        plain = structlog.dev.plain_traceback  # it is text by then
        colours = sys.stderr.isatty()
        last = [
            structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=24, sort_keys=False, exception_formatter=plain)
        ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Tolerant(sys.stderr))),
        # a reload may change the level
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_Tolerant(sys.stderr))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        )
    )
    # libraries tell at "info" what they do for each request; that is noise in a daemon
    logging.basicConfig(handlers=[handler], level=max(LEVELS[level], logging.WARNING), force=True)
    # what does not pass through the log: prints, warnings, tracebacks of threads and of the router's own end
    sys.stdout = cast("TextIO", _Redacted(sys.stdout, redact))
    sys.stderr = cast("TextIO", _Redacted(sys.stderr, redact))


class _Tolerant:
    """A stream whose disk may be full and whose reader may go away: a line is lost then, and not the router."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


class _Redacted:
    """A stream that anybody may write text to."""

    def __init__(self, stream: TextIO, redact: Redactor) -> None:
        self._stream = stream
        self._redact = redact

    def write(self, text: str) -> int:
        return self._stream.write(self._redact(text))

    def writelines(self, lines: Iterable[str]) -> None:
        self._stream.writelines(map(self._redact, lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _traceback(logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
    """The traceback as text. That of an exception which cannot be shown, or is too long, must not be the end of more."""
    error = line.get("exc_info")
    try:
        line = structlog.processors.format_exc_info(logger, method, line)
        if isinstance(shown := line.get("exception"), str):
            line["exception"] = plain(shown)
    except BaseException:  # it is a plugin's own class
        line = {key: value for key, value in line.items() if key != "exc_info"}
        line["exception"] = describe(error) if isinstance(error, BaseException) else "an exception that cannot be shown"
    return line


def _plain(value: object) -> object:
    """Whatever is logged, down to its depth, as text that can be searched for secrets."""
    match value:
        case str() | int() | float() | None:
            return value
        case dict():
            return {_plain(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case _:
            return str(value)


def _named_message(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """An event is something else in this router, so the text of a line is called ``message``."""
    return {"message" if key == "event" else key: value for key, value in line.items()}
