"""Checks a destination type: whether it keeps its contract, whatever happens."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio

from sodarouter.errors import ConfigError
from sodarouter.failures import contained, describe
from sodarouter.lag import monitored
from sodarouter.plugins import AnyDestination
from sodarouter.testing.bench import Bench, Given, Heard, new_folder
from sodarouter.testing.chaos import CHAOS
from sodarouter.testing.conduct import AFTERWARDS, CONDUCT
from sodarouter.testing.form import FORM
from sodarouter.testing.report import Check, Mark, NotWellError, Report
from sodarouter.testing.sink import Answer, open_sink

LONGEST = 60.0
"""Seconds after which a check is taken to hang."""
TAKEN = Answer()


async def check_destination(
    kind: type[AnyDestination],
    options: Given | None = None,
    *,
    taken: Answer = TAKEN,
    folder: Path | None = None,
    chaos: bool = True,
    told: Callable[[Check], object] = lambda _: None,
) -> Report:
    """Checks a destination type in every way that there is: ``(await check_destination(Chat)).raise_faults()``.

    It takes some seconds, and goes by the real clock, as there are real sockets in it. Everything is on loopback.

    Args:
        kind: The type.
        options: The keys of its table. In a text, ``{folder}`` becomes a new folder and ``{sink}`` the URL of a server that
            stands ready, as which a function gets it, too: ``lambda url: {"url": url}``. A type whose options have one of
            these is also checked against all that servers do. ``None``: its own `example`.
        taken: What the server answers to what it takes, for a service that says more than a 200.
        folder: Where relative paths start; a new folder by default.
        chaos: Whether to look at what it makes of all that servers do, which is what takes long.
        told: Called with each check as it ends.
    """
    report = Report(f"destination type {getattr(kind, 'type', kind.__name__)}")

    def add(check: Check) -> None:
        report.checks.append(check)
        told(check)

    for look in FORM:
        add(_seen(kind, look))
    if report.checks[0].mark is Mark.FAULT:
        add(Check("It behaves", Mark.SKIPPED, "its form has to be right first"))
        return report
    given = kind.example if options is None else options
    if not given and any(info.is_required() for info in kind.options_type.model_fields.values()):
        add(Check("It behaves", Mark.SKIPPED, "it needs options, and has no example of its own"))
        return report
    with new_folder() as new, Heard.listening() as heard, monitored() as monitor:
        async with open_sink(taken) as sink:
            try:
                bench = Bench(kind, given, new, sink, taken, monitor, heard, folder or new)
                async with bench.router() as router:
                    bench.redact.learn(router.secrets)
            except ConfigError as error:
                add(Check("It opens with these options", Mark.FAULT, "; ".join(map(str, error.faults))))
                return report
            for check in (*CONDUCT, *(CHAOS if chaos and bench.asks else ()), *AFTERWARDS):
                sink.reply = lambda _: taken
                add(await checked(partial(check, bench), check, bench.redact))
    if chaos and not bench.asks:
        add(Check("It bears whatever a server does", Mark.SKIPPED, "no option has {sink} in it"))
    return report


def _seen(kind: type[AnyDestination], look: Callable[[type[AnyDestination]], None]) -> Check:
    try:
        look(kind)
    except NotWellError as error:
        return Check(_name(look), error.mark, str(error))
    except Exception as error:  # what it looks at is the plugin's
        return Check(_name(look), Mark.FAULT, describe(error))
    return Check(_name(look), Mark.OK)


async def checked(
    call: Callable[[], Awaitable[None]], check: Callable[..., object], redact: Callable[[str], str]
) -> Check:
    """Makes a check, whatever becomes of it.

    Args:
        call: What makes it.
        check: Whose docstring says what holds if it is well.
        redact: Takes secrets out of what is told.
    """
    name = _name(check)
    failures: list[BaseException] = []
    with contained(failures), trio.fail_after(LONGEST):
        await call()
    if not failures:
        return Check(name, Mark.OK)
    error = next((failure for failure in failures if isinstance(failure, NotWellError)), failures[0])
    match error:
        case NotWellError():
            return Check(name, error.mark, redact(str(error)))
        case trio.TooSlowError():
            return Check(name, Mark.FAULT, f"it has not ended within {LONGEST:g} seconds")
        case ConfigError():
            return Check(name, Mark.FAULT, redact("; ".join(map(str, error.faults))))
    return Check(name, Mark.FAULT, redact(describe(error)))


def _name(check: Callable[..., object]) -> str:
    return (check.__doc__ or "").partition("\n")[0]
