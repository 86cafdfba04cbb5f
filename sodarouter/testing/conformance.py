"""Checks a destination type: whether it keeps its contract, whatever happens."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from sodarouter.errors import ConfigError
from sodarouter.lag import monitored
from sodarouter.plugins import AnyDestination
from sodarouter.testing.bench import Bench, Given, Heard, new_folder
from sodarouter.testing.chaos import CHAOS
from sodarouter.testing.checking import Checks, Told, nobody
from sodarouter.testing.choosing import choose
from sodarouter.testing.conduct import AFTERWARDS, CONDUCT, takes_batches
from sodarouter.testing.form import form_of_destination
from sodarouter.testing.report import Mark, Report
from sodarouter.testing.sink import Answer, open_sink

Look = Callable[[Bench], Awaitable[None]]
TAKEN = Answer()


async def check_destination(
    kind: type[AnyDestination],
    options: Given | None = None,
    *,
    taken: Answer = TAKEN,
    folder: Path | None = None,
    chaos: bool = True,
    told: Told = nobody,
) -> Report:
    """Checks a destination type in every way that there is: ``(await check_destination(Chat)).raise_faults()``.

    It takes some seconds, and goes by the real clock, as there are real sockets in it. Everything is on loopback.

    Args:
        kind: The type.
        options: The keys of its table. In a text, ``{folder}`` becomes a new folder and ``{sink}`` the URL of a server that
            stands ready, as which a function gets it, too: ``lambda url: {"url": url}``. A type whose options have one of
            these is also checked against all that servers do, with the first sample event for which it asks the server.
            ``None``: its own `example`.
        taken: What the server answers to what it takes, for a service that says more than a 200.
        folder: Where relative paths start; a new folder by default.
        chaos: Whether to look at what it makes of all that servers do, which is what takes long.
        told: Called with each check as it ends.
    """
    conduct = (*CONDUCT, takes_batches) if hasattr(kind, "deliver_batch") else CONDUCT
    return await conform(kind, options, (conduct, CHAOS if chaos else None), taken, folder, told)


async def conform(
    kind: type[AnyDestination],
    options: Given | None,
    looks: tuple[Sequence[Look], Sequence[Look] | None],
    taken: Answer = TAKEN,
    folder: Path | None = None,
    told: Told = nobody,
) -> Report:
    """As `check_destination`.

    Args:
        looks: The checks of its conduct, and those of what servers do, if these are to be made.
    """
    form = form_of_destination(kind)
    checks = Checks(Report(f"destination type {form.word}"), told)
    if not checks.look(form):
        return checks.report
    given = kind.example if options is None else options
    if not given and any(info.is_required() for info in kind.options_type.model_fields.values()):
        checks.add("It behaves", Mark.SKIPPED, "it needs options, and has no example of its own")
        return checks.report
    conduct, chaos = looks
    with new_folder() as new, Heard.listening() as heard, monitored() as monitor:
        async with open_sink(taken) as sink:
            try:
                bench = Bench(kind, given, new, sink, taken, monitor, heard, folder or new)
                async with bench.router() as router:
                    bench.redact.learn(router.secrets)
            except ConfigError as error:
                checks.add("It opens with these options", Mark.FAULT, "; ".join(map(str, error.faults)))
                return checks.report
            checks.redact = bench.redact
            if conduct or chaos:
                await choose(bench)
            for check in (*conduct, *(chaos if chaos and bench.asks else ()), *AFTERWARDS):
                sink.reply = lambda _: taken
                await checks.make(check, bench)
    if chaos and not bench.asks:
        why = "with these options none of the sample events is sent" if bench.talks else "no option has {sink} in it"
        checks.add("It bears whatever a server does", Mark.SKIPPED, why)
    return checks.report
