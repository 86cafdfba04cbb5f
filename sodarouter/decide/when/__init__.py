"""`when`: what matchers cannot say, as an expression of CEL over the document of an event.

An expression that names `result` is asked of every result by itself; any other one is asked once of the event.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sodarouter.errors import SodarouterError

MAX_SOURCE = 4000
"""Characters of an expression. One of this length takes at most some milliseconds to compile."""


class WhenError(SodarouterError):
    """An expression could not be answered for an event; the message says why."""


@dataclass(frozen=True)
class When:
    """A compiled expression. Two of the same source are equal. Threads may share it."""

    source: str
    on_result: bool
    """Whether it is asked of every result by itself."""
    _ask: Callable[[Mapping[str, object], int], bool | str] = field(compare=False, repr=False)
    """The answer, or why there is none."""

    def holds(self, document: Mapping[str, object]) -> bool:
        """Whether it is true of the event.

        Raises:
            WhenError: It cannot be said.
        """
        return self._answer(document, 0)

    def holds_for(self, document: Mapping[str, object], index: int) -> bool:
        """Whether it is true of one result.

        Raises:
            WhenError: It cannot be said.
        """
        return self._answer(document, index)

    def _answer(self, document: Mapping[str, object], index: int) -> bool:
        answer = self._ask(document, index)
        if isinstance(answer, str):
            raise WhenError(answer)
        return answer


def compile_when(text: str) -> When:
    """The expression that a route has under `when`.

    Raises:
        ValueError: It cannot be used: ``line:column: fault; hint``.
    """
    if not text.strip():
        raise ValueError("1:1: must not be empty")
    if len(text) > MAX_SOURCE:
        raise ValueError(f"1:1: must have at most {MAX_SOURCE:,} characters")
    try:
        from sodarouter.decide.when.cel import Program  # who writes no expression does without its 12 MiB
    except ImportError as error:
        raise ValueError(
            f"when needs {_PACKAGES.get(error.name or '', error)}; pip install 'sodarouter[cel]'"
        ) from None
    program = Program(text)
    return When(text, program.on_result, program.ask)


_PACKAGES = {
    "cel_expr_python": "the package cel-expr-python",
    "google": "the package protobuf",
    "google.protobuf": "the package protobuf",
}
