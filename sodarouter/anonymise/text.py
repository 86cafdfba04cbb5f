"""Puts pseudonyms into text of any kind, and leaves its separators, lines and known words where they are."""

import re
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from urllib.parse import quote, unquote

from sodarouter.anonymise.pseudonyms import Pseudonyms
from sodarouter.anonymise.vocabulary import GIVEN_NAMES, HOSTS, PATHS, VOCABULARY

# marks, signs and pictures beyond ASCII belong to words, as they can be what is told; its blocks of punctuation do not
_LETTER = r"(?:[0-9A-Za-z\xaa\xb5\xba]|[^\x00-\xbf\u2000-\u206f\u3000-\u303f])"


def _alone(pattern: str) -> str:
    return rf"(?<!{_LETTER})(?:{pattern})(?!{_LETTER})"


_TOKENS = {
    "url": r"(?i:https?)://[^\s\"'<>\\`]*[^\s\"'<>\\`.,;:!?)\]}]",
    # of bounded length, as it is looked for at every word
    "mail": rf"{_LETTER}(?:{_LETTER}|[._!#$%&*+/=?^{{|}}~-]){{0,63}}@(?:{_LETTER}|[_-]){{1,63}}"
    rf"(?:\.(?:{_LETTER}|[_-]){{1,63}})+",
    "literal": "(?!)",
    "uuid": _alone(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"),
    # a moment has to fit with others, and tells nothing of anybody; a day alone may be somebody's birthday
    "moment": _alone(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
    ),
    "date": _alone(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    "incident": _alone(r"INC-[0-9]{1,6}"),
    "duration": _alone(r"(?:[0-9]{1,4}(?:ms|min|[smhdw]))+"),
    "figures": _alone(r"[0-9]+(?:[ ./()-]{1,2}[0-9]+)+"),
    "unit": rf"{_LETTER}+(?:(?:[./-]|_+){_LETTER}+)*",
}
"""What a text is made of, the first that fits; what fits none is left as it is. ``literal`` is for what is kept."""

WORD = re.compile(f"{_LETTER}+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SEAM = re.compile("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[0-9])(?=[^0-9])|(?<=[^0-9])(?=[0-9])")
"""Between ``customer`` and ``Id``, ``HTML`` and ``Page``, ``dataset`` and ``44``."""
_HEX = re.compile(r"(?=.*[0-9])(?![A-Za-z]+[0-9]{1,3}$)(?=.*[A-Za-z])(?:[0-9a-f]{4,}|[0-9A-F]{4,})", re.DOTALL)
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_PATH = re.compile(r"([./])")
_SEGMENT = re.compile(r"[^/?#&=]+")

FEW = 3
"""Digits of a number that stays: it counts something, or is a threshold. A longer one may be that of a customer."""
TELEPHONE = 7
"""Digits of several numbers in a row that are likelier one number, of a telephone say."""


class Texts:
    """Anonymises texts.

    Args:
        pseudonyms: Where they come from.
        keep: Texts that stay wherever they stand alone; one with ``*``, ``?`` or ``[`` is a glob.
    """

    def __init__(self, pseudonyms: Pseudonyms, keep: Collection[str]) -> None:
        self._pseudonyms = pseudonyms
        self._globs = [text for text in keep if re.search(r"[*?[]", text)]
        literals = sorted({text for text in keep if text} - set(self._globs), key=len, reverse=True)
        literal = _alone("|".join(map(re.escape, literals))) if literals else _TOKENS["literal"]
        self._literal = re.compile(f"({literal})")
        tokens = _TOKENS | {"literal": literal}
        self._tokens = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in tokens.items()))
        self._keeps = lru_cache(maxsize=10_000)(self._is_kept)

    def _is_kept(self, text: str) -> bool:
        """Whether a text stays as it is, whole. One with a callback URL never does: that is a secret."""
        if "incident-link" in text.lower():
            return False
        return bool(self._literal.fullmatch(text)) or any(fnmatchcase(text, glob) for glob in self._globs)

    def __call__(self, text: str, *, personal: bool = False) -> str:
        """A text with pseudonyms.

        Args:
            personal: It is somebody's name: there no word stays because it is one of the vocabulary.
        """
        if self._keeps(text):
            return text
        return self._tokens.sub(lambda match: self._token(match, personal), text)

    def mildly(self, text: str) -> str:
        """A text that stays, such as a tag, but for the addresses and ids in it."""
        if self._keeps(text):
            return text
        return self._tokens.sub(
            lambda match: self._token(match) if match.lastgroup in ("url", "mail", "uuid") else match[0], text
        )

    def number(self, digits: str) -> str:
        """An id that is written as a number."""
        return digits if len(digits) <= FEW or self._keeps(digits) else self._pseudonyms.number(digits)

    def callback(self, url: str) -> str:
        """A callback URL: of the same shape, but on a host that cannot exist, as its path is a token."""
        token = self._pseudonyms.token(url)
        ids = [self._pseudonyms.uuid(f"{token[:8]}-{part}-4000-8000-{token[:12]}") for part in ("0001", "0002")]
        return f"https://soda.invalid/integrations/webhook/{ids[0]}/incident-link/{ids[1]}/{token}"

    def _token(self, match: re.Match[str], personal: bool = False) -> str:
        text = match[0]
        if self._keeps(text):
            return text
        match match.lastgroup:
            case "moment" | "incident" | "duration" | "literal":
                return text
            case "url":
                return self._url(text)
            case "mail":
                local, _, domain = text.rpartition("@")
                return f"{self(local, personal=True)}@{self._domain(domain)}"
            case "uuid":
                return self._pseudonyms.uuid(text)
            case "date":
                return self._pseudonyms.date(text)
            case "figures":
                return self._figures(text, personal)
            case _:
                return self._unit(text, personal)

    def _figures(self, text: str, personal: bool) -> str:
        """Numbers in a row: an address or a telephone number as a whole, or each by itself."""
        digits = re.sub("[^0-9]", "", text)
        if len(digits) < TELEPHONE and not _ADDRESS.fullmatch(text):
            return self._unit(text, personal)
        others = iter(self._pseudonyms.number(digits))
        return re.sub("[0-9]", lambda _: next(others), text)

    def _unit(self, text: str, personal: bool) -> str:
        """A word, or several that are joined by dots, slashes, hyphens and underscores."""
        # every other part is one that is kept
        parts = self._literal.split(text)
        parts[::2] = [self._path(part, personal) for part in parts[::2]]
        return "".join(parts)

    def _path(self, text: str, personal: bool) -> str:
        return "".join(self._name(part, personal) for part in _PATH.split(text))

    def _name(self, text: str, personal: bool) -> str:
        """One name of a path. Words that are joined by hyphens and underscores are none of the vocabulary by themselves."""
        known = not personal and text.lower() in VOCABULARY and text not in GIVEN_NAMES
        return text if known or self._keeps(text) else WORD.sub(lambda match: self._word(match[0]), text)

    def _word(self, text: str) -> str:
        if self._keeps(text):
            return text
        segments = _SEAM.split(text)
        # short pieces are no words: it is a code
        if _HEX.fullmatch(text) or (len(segments) > FEW and len(text) < 3 * len(segments)):
            return self._pseudonyms.code(text)
        made = "".join(map(self._segment, segments))
        # single letters stay, but not all of several
        return self._pseudonyms.code(text) if made == text and len(re.findall("[A-Za-z]", text)) > 1 else made

    def _segment(self, text: str) -> str:
        if text.isascii() and text.isdigit():
            return self.number(text)
        if text.isascii() and len(text) == 1:
            return text
        return self._pseudonyms.word(text)

    def _domain(self, text: str) -> str:
        return text if self._keeps(text) else self._pseudonyms.domain(text)

    def _url(self, text: str) -> str:
        if "incident-link" in unquote(text).lower():
            return self.callback(text)
        scheme, _, rest = text.partition("://")
        authority, path = re.fullmatch(r"([^/?#]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]  # always
        user, at, host = authority.rpartition("@")
        host, port = re.fullmatch(r"(.*?)(:\d*)?", host, re.DOTALL).groups("")  # type: ignore[union-attr]  # always
        known = host.lower() in HOSTS
        authority = self(user, personal=True) + at + (host if known or not host else self._domain(host)) + port
        return f"{scheme}://{authority}" + _SEGMENT.sub(
            lambda match: match[0] if known and match[0] in PATHS else self._part(match[0]), path
        )

    def _part(self, text: str) -> str:
        """A part of a URL, which may be percent-encoded."""
        if "%" not in text:
            return self(text)
        return quote(self(unquote(text, errors="surrogateescape")), safe=":@!$'()*,;+~", errors="surrogateescape")


def words_of(text: str) -> Iterable[str]:
    """What in a text could be taken for something that survived, in lower case."""
    for match in WORD.finditer(text):
        yield match[0].lower()
        yield from (part.lower() for part in _SEAM.split(match[0]))
    yield from _DATE.findall(text)
