"""What checks have found, each in a sentence for the author of what was checked."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum


class Mark(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAULT = "fault"
    """Something is wrong."""
    WARNING = "warning"
    """Something may be meant so, and is seldom good."""
    SKIPPED = "skipped"
    """It could not be checked."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    """What holds if it is well."""
    mark: Mark
    text: str = ""
    """What is wrong, or why it could not be checked."""

    def __str__(self) -> str:
        return f"{self.mark}: {self.name}" + (f": {self.text}" if self.text else "")


@dataclass
class Report:
    """All of the checks of one thing. Its text is a line for each that is not well."""

    subject: str
    checks: list[Check] = field(default_factory=list)

    def marked(self, mark: Mark) -> list[Check]:
        return [check for check in self.checks if check.mark is mark]

    @property
    def faults(self) -> list[Check]:
        return self.marked(Mark.FAULT)

    def raise_faults(self) -> None:
        """Fails a test with what was not well.

        Raises:
            AssertionError: There is a fault. It says what of all checks was not well.
        """
        if self.faults:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        return "\n".join([f"{self.subject}:", *map(str, self._notable())])

    def _notable(self) -> Iterator[Check]:
        return (check for check in self.checks if check.mark is not Mark.OK)


class NotWellError(Exception):
    """Ends a check with what it has found."""

    mark = Mark.FAULT


class DoubtfulError(NotWellError):
    """Ends a check with what may be meant so."""

    mark = Mark.WARNING


class NotCheckedError(NotWellError):
    """Ends a check that cannot be made here."""

    mark = Mark.SKIPPED
