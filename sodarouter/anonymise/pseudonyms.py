"""Pseudonyms that say nothing of what they stand for, and are always the same for it under one key.

They are drawn from a keyed hash, so that nobody without the key can find out by trying whose e-mail address was here.
"""

import hmac
from collections.abc import Callable, Collection
from hashlib import shake_256
from itertools import count

CONSONANTS, VOWELS = "bdfghjklmnprstvwz", "aeiou"
DIGITS, HEX = "0123456789", "0123456789abcdef"
LETTERS = "abcdefghijklmnopqrstuvwxyz"

_PATIENCE = 20
"""How often a pseudonym that is taken is drawn anew before it gets longer: there are only so many of a length."""

Make = Callable[[bytes, int], str]
"""Makes a pseudonym from random bytes, so many steps longer than what it stands for."""


class Pseudonyms:
    """Gives the same pseudonym for the same text, and another for another.

    Args:
        key: What they are drawn with.
        taken: What is never given, in lower case: words of the document itself, which would pass for what survived.
    """

    def __init__(self, key: str, taken: Collection[str]) -> None:
        self._key = key.encode(errors="surrogatepass")
        self._taken = set(taken)
        self._given: dict[tuple[str, str], str] = {}

    def word(self, text: str) -> str:
        """Something that can be spoken: ``bakolu`` for ``orders``, ``Bakolu`` for ``Orders``."""
        return self._cased("word", text, _word)

    def domain(self, text: str) -> str:
        """A host that cannot exist: ``bakolu.example``."""
        return self._cased("domain", text, lambda drawn, longer: _word(drawn, longer) + ".example")

    def number(self, digits: str) -> str:
        """As many digits, and no zero at the beginning where there was none."""
        return self._give("number", digits, lambda drawn, longer: _digits(digits, drawn, longer))

    def code(self, text: str) -> str:
        """As many letters and digits; hexadecimal if it was."""
        return self._give("code", text, lambda drawn, longer: _code(text, drawn, longer))

    def date(self, text: str) -> str:
        """Another day in ISO 8601."""
        return self._give("date", text, _date)

    def uuid(self, text: str) -> str:
        """A UUID of the same version and variant."""
        return self._cased("uuid", text, lambda drawn, _: _uuid(text.lower(), drawn))

    def token(self, text: str) -> str:
        """Digits that stand for a secret; nothing of it is in them, not even its length."""
        return self._give("token", text, lambda drawn, _: drawn[:16].hex())

    def _cased(self, kind: str, text: str, make: Make) -> str:
        """Spellings of one word stay that: what matches without regard to case still does."""
        low = text.lower()
        for spell in (str.lower, str.capitalize, str.upper):
            if text == spell(low):
                return spell(self._give(kind, low, make))
        return self._give(f"{kind} as spelt", text, make)

    def _give(self, kind: str, text: str, make: Make) -> str:
        given = self._given.get((kind, text))
        if given is None:
            given = self._given[kind, text] = self._draw(kind, text, make)
            self._taken.add(given.lower())
        return given

    def _draw(self, kind: str, text: str, make: Make) -> str:
        for attempt in count():
            seed = f"{kind}\0{attempt}\0{text}".encode(errors="surrogatepass")
            drawn = shake_256(hmac.digest(self._key, seed, "sha256")).digest(2 * len(text) + 64)
            made = make(drawn, attempt // _PATIENCE)
            if made.lower() not in self._taken:
                return made
        raise AssertionError  # count() has no end


def _pick(signs: str, byte: int) -> str:
    return signs[byte % len(signs)]


def _word(drawn: bytes, longer: int) -> str:
    syllables = zip(drawn[::2], drawn[1::2], strict=True)
    spoken = [_pick(CONSONANTS, one) + _pick(VOWELS, two) for one, two in syllables]
    return "".join(spoken[: 3 + longer])


def _digits(digits: str, drawn: bytes, longer: int) -> str:
    made = "".join(_pick(DIGITS, byte) for byte in drawn[: len(digits) + longer])
    return made if digits[0] == "0" else _pick(DIGITS[1:], drawn[-1]) + made[1:]


def _code(text: str, drawn: bytes, longer: int) -> str:
    hexadecimal = set(text.lower()) <= set(HEX)
    signs = [_like(sign, byte, hexadecimal) for sign, byte in zip(text + text[-1] * longer, drawn, strict=False)]
    made = "".join(signs)
    return made.upper() if hexadecimal and text.isupper() else made


def _like(sign: str, byte: int, hexadecimal: bool) -> str:
    if hexadecimal:
        return _pick(HEX, byte)
    if sign in DIGITS:
        return _pick(DIGITS, byte)
    return _pick(LETTERS.upper() if sign.isupper() else LETTERS, byte)


def _date(drawn: bytes, longer: int) -> str:
    years = min(200 * (1 + longer), 8000)
    return f"{1900 + int.from_bytes(drawn[:4]) % years:04d}-{1 + drawn[4] % 12:02d}-{1 + drawn[5] % 28:02d}"


def _uuid(text: str, drawn: bytes) -> str:
    made = drawn[:16].hex()
    made = made[:12] + text[14] + made[13:16] + text[19] + made[17:]
    return "-".join((made[:8], made[8:12], made[12:16], made[16:20], made[20:]))
