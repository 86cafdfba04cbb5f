from typing import Any

from sodarouter.sparing import EVERY, KINDS, Sparing


class Lines:
    """A logger that keeps its lines, and a clock."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.now = 0.0

    def write(self, message: str, **known: Any) -> None:
        self.lines.append({"message": message, **known})


def test_lines_of_one_kind_are_written_once_a_minute_with_their_number() -> None:
    lines = Lines()
    sparing = Sparing(now=lambda: lines.now)
    for _ in range(5):
        sparing(lines.write, "refused", 404, path="/x")
    sparing(lines.write, "refused", 413, path="/x")
    lines.now = EVERY
    sparing(lines.write, "refused", 404, path="/y")
    assert lines.lines == [
        {"message": "refused", "path": "/x"},
        {"message": "refused", "path": "/x"},
        {"message": "refused", "path": "/y", "more_since": 4},
    ]


def test_it_does_not_grow_with_the_kinds_it_has_seen() -> None:
    lines = Lines()
    sparing = Sparing(now=lambda: lines.now)
    for kind in range(3 * KINDS):
        sparing(lines.write, "refused", kind)
    assert len(lines.lines) == 3 * KINDS
    assert len(sparing._told) <= KINDS
