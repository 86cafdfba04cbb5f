"""What a destination would send, to be shown before it is sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_NOTHING = "nothing is sent: "


@dataclass(frozen=True, slots=True)
class Preview:
    """What one delivery would send where. No secret is in it."""

    target: str
    """Where to, in words."""
    body: bytes
    """Byte for byte what would arrive."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What would go with it; a value that is a secret, or made with one, is blotted out."""

    @classmethod
    def nothing(cls, why: str) -> "Preview":
        """Of an event that is taken and not sent: ``Preview.nothing("this is no incident")``."""
        return cls(f"{_NOTHING}{why}", b"")

    def sends(self) -> bool:
        """Whether something would be sent."""
        return not self.target.startswith(_NOTHING)
