"""What the router hands to a process that takes in."""

import json
import pickle
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sodarouter.address import Address
from sodarouter.admit import Admitted
from sodarouter.errors import SpoolError, SpoolFull
from sodarouter.link import IncidentLink
from sodarouter.options import Given
from sodarouter.receive import Intake
from sodarouter.serve import Limits, Tls
from sodarouter.serve.server import Http

START, SETUP, STORED, NOT_STORED, LINK, STOP = range(1, 7)
"""The kinds of frames."""

_STORED = struct.Struct(">I?")
_NUMBER = struct.Struct(">I")


@dataclass(frozen=True)
class Start:
    """The first: what the process is to be, whatever the configuration of the day is."""

    path: tuple[str, ...]
    """Where modules are found."""
    listeners: Sequence[tuple[Address, int]]
    """The sockets to accept on: where they listen, and their descriptors."""
    tls: Tls | None
    limits: Limits
    http: Http
    plugins: Mapping[str, Given | None]
    """Those that offer verifications and source types, with their options."""


@dataclass(frozen=True)
class Setup:
    """The configuration that runs, as far as it is about taking in."""

    number: int
    """The answer has the same."""
    sources: Mapping[str, Given]
    """What each is made of, by its name."""
    intake: Intake
    """The share of this process."""
    level: str
    """The least level that is logged."""
    format: str
    """The form of the log."""


def packed(handed: Start | Setup) -> bytes:
    return pickle.dumps(handed, pickle.HIGHEST_PROTOCOL)


def start_of(data: bytes) -> Start:
    found: Start = pickle.loads(data)  # noqa: S301 (only the router can write to this socket's other end)
    return found


def setup_of(data: bytes) -> Setup:
    found: Setup = pickle.loads(data)  # noqa: S301 (as above)
    return found


def stored(number: int, admitted: Admitted) -> tuple[bytes, bytes]:
    return _STORED.pack(number, admitted.duplicate), admitted.id.encode()


def stored_of(data: bytes) -> tuple[int, bool, str]:
    number, duplicate = _STORED.unpack_from(data)
    return number, duplicate, data[_STORED.size :].decode()


def not_stored(number: int, error: BaseException) -> tuple[bytes, bytes]:
    """Of an error that is none of the spool's, only the router's log says more."""
    full = isinstance(error, SpoolFull)
    text = str(error) if isinstance(error, SpoolError) else "the router failed over it"
    return _STORED.pack(number, full), text.encode(errors="backslashreplace")


def not_stored_of(data: bytes) -> tuple[int, SpoolError]:
    number, full = _STORED.unpack_from(data)
    text = data[_STORED.size :].decode()
    return number, SpoolFull(text) if full else SpoolError(text)


def link(number: int, made: IncidentLink) -> tuple[bytes, bytes]:
    return _NUMBER.pack(number), json.dumps([made.url, made.text]).encode()


def link_of(data: bytes) -> tuple[int, IncidentLink]:
    (number,) = _NUMBER.unpack_from(data)
    return number, IncidentLink(*json.loads(data[_NUMBER.size :]))
