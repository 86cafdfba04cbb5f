"""Which numbers a threshold lets pass, as stretches of the number line: so two thresholds, however they are written, can
be told apart by what they allow.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

Cut = tuple[Decimal, int]
"""A place between numbers: right before the number with 0, right after it with 1."""
Span = tuple[Cut, Cut]

_LOWEST: Cut = (Decimal("-Infinity"), 0)
_HIGHEST: Cut = (Decimal("Infinity"), 1)


@dataclass(frozen=True)
class Bounds:
    """Stretches of numbers: in order, apart from one another, none of them empty."""

    spans: tuple[Span, ...]

    def __and__(self, other: "Bounds") -> "Bounds":
        return _joined((max(one[0], two[0]), min(one[1], two[1])) for one in self.spans for two in other.spans)

    def __or__(self, other: "Bounds") -> "Bounds":
        return _joined((*self.spans, *other.spans))

    def __invert__(self) -> "Bounds":
        cuts = [_LOWEST, *(cut for span in self.spans for cut in span), _HIGHEST]
        return _joined(zip(cuts[::2], cuts[1::2], strict=True))

    def __le__(self, other: "Bounds") -> bool:
        """Whether every number in here is in the other as well."""
        return all(any(two[0] <= one[0] and one[1] <= two[1] for two in other.spans) for one in self.spans)

    @property
    def less_is_better(self) -> bool:
        """Whether what is allowed, of the numbers from 0 on, are those up to some number."""
        return len(self.spans) == 1 and self.spans[0][0] <= (Decimal(0), 0)


def _joined(spans: Iterable[Span]) -> Bounds:
    joined: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return Bounds(tuple(joined))


def above(number: Decimal) -> Bounds:
    return _joined([((number, 1), _HIGHEST)])


def from_(number: Decimal) -> Bounds:
    return _joined([((number, 0), _HIGHEST)])


def below(number: Decimal) -> Bounds:
    return ~from_(number)


def up_to(number: Decimal) -> Bounds:
    return ~above(number)


def exactly(number: Decimal) -> Bounds:
    return from_(number) & up_to(number)


def anything_but(number: Decimal) -> Bounds:
    return ~exactly(number)


ANYTHING = Bounds(((_LOWEST, _HIGHEST),))
NOT_NEGATIVE = from_(Decimal(0))
ZERO = exactly(Decimal(0))
