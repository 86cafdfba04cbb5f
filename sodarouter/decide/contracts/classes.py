"""The classes of changes to a contract, and what is said of them."""

from dataclasses import dataclass
from typing import Literal, get_args

ContractClass = Literal["breaking", "loosened", "tightened", "added", "changed", "same", "first", "unreadable"]
CLASSES: tuple[ContractClass, ...] = get_args(ContractClass)
"""All of them, the gravest first. `docs/contracts.md` says what each means."""


@dataclass(frozen=True)
class Changes:
    """What changed from one version of a contract to the next."""

    classes: frozenset[ContractClass]
    changes: tuple[str, ...] = ()
    """A sentence for each, the gravest first; or why the contract cannot be read."""
