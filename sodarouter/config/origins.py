"""Where things stand: the file, and the place in it, of what several files make up together."""

import re
from dataclasses import replace

from sodarouter.errors import Fault

_STEP = re.compile(r'\[\d+\]|\.?(?:"(?:[^"\\]|\\.)*"|[^.\["]+)')


class Origins:
    """The way from a place in one document to where it was written.

    Args:
        file: How faults call the file that a place is in unless it was put elsewhere.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._elsewhere: dict[str, tuple[Origins, str]] = {}

    def put(self, place: str, origins: "Origins", there: str) -> None:
        """What has this place here, and all that is below it, has the place ``there`` in another document."""
        self._elsewhere[place] = origins, there

    def of(self, place: str) -> str:
        """``route[5].to`` gives ``router.d/sales.toml: route[0].to``."""
        steps = _STEP.findall(place)
        for count in range(len(steps), 0, -1):
            above = "".join(steps[:count])
            if above in self._elsewhere and place.startswith(above):
                origins, there = self._elsewhere[above]
                return origins.of(there + place[len(above) :])
        return f"{self.file}: {place}"

    def told(self, fault: Fault) -> Fault:
        """The fault with the place where its cause was written."""
        return replace(fault, place=self.of(fault.place))
