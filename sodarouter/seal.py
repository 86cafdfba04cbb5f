"""Seals Soda's callback URLs, so that they stand nowhere in the spool's file in clear and events still go out byte for byte.

Before an event is stored its callback URLs are cut out of the body and encrypted beside it; after it is read they are
put back where they stood. A copy of the spool without the key tells nothing of them.
"""

import os
import secrets
import struct
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import AfterValidator, SecretStr

from sodarouter import folders
from sodarouter.callback import find_in_body
from sodarouter.errors import SpoolError
from sodarouter.options import Secret
from sodarouter.redact import REDACTED

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LEAST_KEY = 32
"""Characters of a key's text; ``openssl rand -hex 32`` gives 64."""

_PLACEHOLDER = REDACTED.encode()
_KEY_ID = 4
_NONCE = 12
_SPAN = struct.Struct(">II")


class Unsealable(Exception):
    """What was sealed cannot be had back. The text says why, for the log."""


class Span(NamedTuple):
    """Something that was cut out of a body: where it began, and what it was."""

    start: int
    cut: bytes


def cut_out(raw: bytes, callback: str | None = None) -> tuple[bytes, tuple[Span, ...]]:
    """A body with a placeholder for each callback URL, still valid JSON if it was, and what was cut out of it.

    Args:
        raw: The body; it may be malformed, and then ``callback`` is ``None``.
        callback: The URL that the view of the event has, as it may also stand elsewhere in the body.
    """
    found = find_in_body(raw, callback)
    if not found:
        return raw, ()
    pieces, at = [], 0
    for start, end in found:
        pieces += [raw[at:start], _PLACEHOLDER]
        at = end
    return b"".join([*pieces, raw[at:]]), tuple(Span(start, raw[start:end]) for start, end in found)


def put_back(raw: bytes, spans: Sequence[Span]) -> bytes:
    """What `cut_out` was given, from what it gave.

    Raises:
        ValueError: There is no placeholder where one must stand.
    """
    pieces, at, shorter = [], 0, 0
    for start, cut in spans:
        place = start - shorter
        if not raw.startswith(_PLACEHOLDER, place):
            raise ValueError("the body does not belong to what was cut out")
        pieces += [raw[at:place], cut]
        at = place + len(_PLACEHOLDER)
        shorter += len(cut) - len(_PLACEHOLDER)
    return b"".join([*pieces, raw[at:]])


class Sealer:
    """Cuts callback URLs out of bodies and encrypts them with AES-256-GCM.

    What it gives is the id of the key, a nonce, and the ciphertext: other keys can come and the old ones still open
    what they have sealed.

    Args:
        keys: From `load_keys` or `parse_keys`: the first seals, all open.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {_key_id(key): key for key in keys}
        self._first = keys[0]

    def seal(self, raw: bytes, callback: str | None, context: bytes) -> tuple[bytes, bytes | None]:
        """What to store of a body: the body as `cut_out` gives it, and what was cut out, sealed; ``None`` if nothing was.

        Args:
            raw: The body.
            callback: As for `cut_out`.
            context: What it belongs to, such as an event's id: `unseal` must be told the same.
        """
        rest, spans = cut_out(raw, callback)
        if not spans:
            return raw, None
        packed = b"".join(_SPAN.pack(span.start, len(span.cut)) + span.cut for span in spans)
        nonce = os.urandom(_NONCE)
        return rest, _key_id(self._first) + nonce + _cipher(self._first).encrypt(nonce, packed, context)

    def unseal(self, raw: bytes, sealed: bytes | None, context: bytes) -> bytes:
        """The body that `seal` was given.

        Raises:
            Unsealable: The key is not here, or the body or what was sealed is not what it was. The body itself can still
                be used: it lacks nothing but the callback URLs, and has ``**********`` in their place.
        """
        if sealed is None:
            return raw
        key = self._keys.get(sealed[:_KEY_ID])
        if key is None:
            raise Unsealable(f"it is sealed with the key {sealed[:_KEY_ID].hex()}, which is not here")
        from cryptography.exceptions import InvalidTag

        nonce, ciphertext = sealed[_KEY_ID : _KEY_ID + _NONCE], sealed[_KEY_ID + _NONCE :]
        try:
            return put_back(raw, _unpacked(_cipher(key).decrypt(nonce, ciphertext, context)))
        except (InvalidTag, ValueError):
            raise Unsealable("it was changed after it was sealed, or is of another event") from None

    def opens(self, sealed: bytes) -> bool:
        """Whether the key that sealed this is here."""
        return sealed[:_KEY_ID] in self._keys


def key_file(spool: Path) -> Path:
    """Where the keys of a spool are when the configuration gives none: beside it, as its lock is."""
    return spool.with_name(spool.name + ".key")


def load_keys(path: Path) -> tuple[bytes, ...]:
    """The keys in a file, for `Sealer`. A file that is missing is made, with one new key, readable for its owner alone.

    Durability: when this returns, the file would survive a loss of power, so nothing is sealed with a key that is lost.

    Raises:
        SpoolError: The file can be neither read nor made, or holds no keys.
    """
    try:
        if not path.exists():
            _make(path)
        return parse_keys(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpoolError(f"the key file {path} cannot be used: {error.strerror}") from error
    except ValueError as error:  # UnicodeDecodeError is one
        what = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise SpoolError(f"the key file {path} cannot be used: {what}") from None


def parse_keys(text: str) -> tuple[bytes, ...]:
    """Keys as operators write them: any text of at least `LEAST_KEY` characters, one a line, the one in use first.

    Raises:
        ValueError: There is none, or one is too short. The message holds nothing of it.
    """
    words = text.split()
    if not words or min(map(len, words)) < LEAST_KEY:
        hint = "`openssl rand -hex 32` makes one"
        raise ValueError(f"a key has at least {LEAST_KEY} characters and no white space; {hint}")
    return tuple(blake2b(word.encode(), digest_size=32, person=b"sodarouter key").digest() for word in words)


def _usable(key: SecretStr) -> SecretStr:
    parse_keys(key.get_secret_value())
    return key


SealKey = Annotated[Secret, AfterValidator(_usable)]
"""An option that holds keys for `parse_keys`."""


def _make(path: Path) -> None:
    folders.make(path.parent)
    with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.") as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was faster
            os.link(file.name, path)  # the file is there whole or not at all
    folders.sync(path.parent)


def _cipher(key: bytes) -> "AESGCM":
    # here, because it takes 7 MB, which a router without incidents does without
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _key_id(key: bytes) -> bytes:
    return blake2b(key, digest_size=_KEY_ID, person=b"sodarouter id").digest()


def _unpacked(packed: bytes) -> list[Span]:
    spans, at = [], 0
    while at < len(packed):
        start, length = _SPAN.unpack_from(packed, at)
        at += _SPAN.size + length
        spans.append(Span(start, packed[at - length : at]))
    return spans
