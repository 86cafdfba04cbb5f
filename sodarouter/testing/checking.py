"""Makes checks one after the other, and gathers what they find."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from sodarouter.errors import ConfigError
from sodarouter.failures import contained, describe
from sodarouter.testing.form import FORM, Form
from sodarouter.testing.report import Check, Mark, NotWellError, Report

LONGEST = 60.0
"""Seconds after which a check is taken to hang."""

Told = Callable[[Check], object]
"""Is told of each check as it ends."""


def nobody(_: Check) -> None:
    """Whom checks are told to if nobody wants to know."""


@dataclass
class Checks:
    """The checks of one thing. What holds, if a check is well, is the first line of its docstring."""

    report: Report
    told: Told
    redact: Callable[[str], str] = field(default=str)
    """Takes secrets out of what is told."""

    def add(self, name: str, mark: Mark, text: str = "") -> None:
        check = Check(name, mark, text)
        self.report.checks.append(check)
        self.told(check)

    def look(self, form: Form) -> bool:
        """Looks at the form of a type. Gives whether one can be made of it at all."""
        for check in FORM:
            try:
                check(form)
            except NotWellError as error:
                self.add(_name(check), error.mark, str(error))
            except Exception as error:  # what it looks at is the plugin's
                self.add(_name(check), Mark.FAULT, describe(error))
            else:
                self.add(_name(check), Mark.OK)
        usable = self.report.checks[0].mark is not Mark.FAULT
        if not usable:
            self.add("It behaves", Mark.SKIPPED, "its form has to be right first")
        return usable

    async def make(self, check: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Makes a check, whatever becomes of it."""
        failures: list[BaseException] = []
        with contained(failures), trio.fail_after(LONGEST):
            await check(*arguments)
        if not failures:
            self.add(_name(check), Mark.OK)
            return
        error = next((failure for failure in failures if isinstance(failure, NotWellError)), failures[0])
        match error:
            case NotWellError():
                self.add(_name(check), error.mark, self.redact(str(error)))
            case trio.TooSlowError():
                self.add(_name(check), Mark.FAULT, f"it has not ended within {LONGEST:g} seconds")
            case ConfigError():
                self.add(_name(check), Mark.FAULT, self.redact("; ".join(map(str, error.faults))))
            case _:
                self.add(_name(check), Mark.FAULT, self.redact(describe(error)))


def _name(check: Callable[..., object]) -> str:
    return (check.__doc__ or "").partition("\n")[0]
