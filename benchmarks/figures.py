"""What a part measures: values by case, side and round, and their ratios to one side."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A line of a table: who is measured, and under what circumstances."""

    case: str
    side: str


class Figures:
    """The figures of one part.

    Args:
        against: The side to which the others are compared, in the same case and the same round.
    """

    def __init__(self, against: str) -> None:
        self.against = against
        self.notes: list[str] = []
        """What a reader has to know: what could not be measured here, and why."""
        self._values: dict[Row, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, case: str, side: str, measures: Mapping[str, float]) -> None:
        """What one side measured in one round; a measure's name ends with its unit."""
        for measure, value in measures.items():
            self._values[Row(case, side)][measure].append(value)

    def note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)

    @property
    def rows(self) -> list[Row]:
        """In the order in which the cases and the sides came first."""
        cases = list(dict.fromkeys(row.case for row in self._values))
        return sorted(self._values, key=lambda row: cases.index(row.case))

    @property
    def measures(self) -> list[str]:
        return list(dict.fromkeys(measure for found in self._values.values() for measure in found))

    def value(self, row: Row, measure: str) -> float | None:
        """The median of the rounds."""
        values = self._values[row].get(measure)
        return statistics.median(values) if values else None

    def ratio(self, row: Row, measure: str) -> float | None:
        """The median of the ratios of each round: so a machine whose speed drifts does less harm."""
        values, others = (self._values.get(one, {}).get(measure, []) for one in (row, Row(row.case, self.against)))
        if row.side == self.against or not values or len(values) != len(others) or not all(others):
            return None
        return statistics.median(value / other for value, other in zip(values, others, strict=True))

    def listed(self) -> Iterator[dict[str, Any]]:
        """All figures, as JSON has them."""
        for row in self.rows:
            for measure, values in self._values[row].items():
                median, ratio = self.value(row, measure), self.ratio(row, measure)
                yield {**row._asdict(), "measure": measure, "median": median, "ratio": ratio, "values": values}
