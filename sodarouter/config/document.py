"""One file of the configuration as it was read, and the faults that are found in all of them."""

import re
from ast import literal_eval
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import tomli
from pydantic import ValidationError

from sodarouter.config.origins import Origins
from sodarouter.errors import ConfigError, Fault
from sodarouter.failures import kind_of
from sodarouter.faults import MISSING, dotted, faults
from sodarouter.options import Options, Place
from sodarouter.redact import Redactor

OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(eq=False)
class Document:
    """A file: its bytes, its tables, and where what is in it stands."""

    path: Path
    content: bytes
    table: dict[str, Any]
    place: Place
    origins: Origins

    @property
    def name(self) -> str:
        """How faults call it."""
        return self.origins.file


@dataclass
class Found:
    """What was found while a configuration was read: the faults of all its files, and its secrets."""

    secrets: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    """Tables that are misspelt or broken: nothing is said of what is missing because of that."""
    _told: list[Fault] = field(default_factory=list)
    _lacking: list[Fault] = field(default_factory=list)
    _defaults: bool = False

    def tell(self, fault: Fault) -> None:
        """Adds a fault whose place begins with its file."""
        self._told.append(fault)

    def add(self, fault: Fault, origins: Origins) -> None:
        """Adds a fault."""
        told = origins.told(fault)
        self._told.append(told)
        self._defaults |= fault.place.startswith("defaults")
        if fault.fault == MISSING and fault.place.startswith(("destination.", "route[")):
            self._lacking.append(told)

    def validated(
        self,
        model: type[OptionsT],
        table: Mapping[str, Any],
        document: Document,
        *keys: str,
        also: Iterable[str] = (),
        partial: bool = False,
    ) -> OptionsT | None:
        """A table of a document as its model; ``None`` if it has faults, which are added.

        Args:
            keys: Those that lead to the table.
            also: As `sodarouter.faults.faults` knows it.
            partial: As `sodarouter.faults.faults` knows it.
        """
        try:
            return model.model_validate(table, context=document.place)
        except ValidationError as error:
            self.blame(error, model, table, document, *keys, also=also, partial=partial)
            return None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin's own validators run here; what they say may quote a secret
            fault = f"cannot be validated: its model fails with {kind_of(error)}, which is its author's to mend"
            self.add(Fault(dotted(keys), fault), document.origins)
            return None

    def blame(
        self,
        error: ValidationError,
        model: type[Options],
        table: Mapping[str, Any],
        document: Document,
        *keys: str,
        also: Iterable[str] = (),
        partial: bool = False,
    ) -> None:
        """Adds the faults of a table that `validated` would add."""
        for fault in faults(error, model, table, *keys, also=also, partial=partial):
            place = document.origins.of(fault.place)
            # what is inherited is wrong wherever it is inherited, and told once, where it stands
            inherited = place != f"{document.name}: {fault.place}"
            if not inherited or all(told.place != place for told in self._told):
                self.add(fault, document.origins)

    def raise_any(self) -> None:
        """Ends the reading if there are faults.

        Raises:
            ConfigError: With all of them, each once.
        """
        # a default that is misspelt or broken is the cause of what then lacks
        excused = self._lacking if self._defaults or "defaults" in self.unsure else []
        redact = Redactor(self.secrets)
        told = [fault for fault in dict.fromkeys(self._told) if fault not in excused]
        if told:
            raise ConfigError([Fault(fault.place, redact(fault.fault), redact(fault.hint)) for fault in told])


def read_document(path: Path, name: str, secrets: set[str]) -> Document:
    """Reads a file.

    Args:
        name: How faults call it.
        secrets: Gets those that are resolved when it is validated.

    Raises:
        OSError: It cannot be read.
        ConfigError: It is not TOML.
    """
    content = path.read_bytes()
    try:
        table = tomli.loads(content.decode().replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        raise ConfigError([Fault(name, f"is not UTF-8 at byte {error.start}")]) from None
    except tomli.TOMLDecodeError as error:
        # a table is named by the parts of its name
        said = re.sub(r"\('.*'.?\)", lambda found: f"[{dotted(literal_eval(found[0]))}]", error.msg)
        said = said[:1].lower() + said[1:]
        raise ConfigError([Fault(f"{name}:{error.lineno}:{error.colno}", f"is not TOML: {said}")]) from None
    return Document(path, content, table, Place(path.absolute().parent, secrets), Origins(name))


def named_tables(table: Mapping[str, Any], *keys: str) -> dict[str, dict[str, Any]]:
    """The named tables at a place, but for those that are no tables."""
    return {name: inner for name, inner in table_at(table, *keys).items() if isinstance(inner, dict)}


def table_at(table: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """What stands at a place; empty if that is no table."""
    for key in keys:
        inner = table.get(key)
        table = inner if isinstance(inner, dict) else {}
    return table
