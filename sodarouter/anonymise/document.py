"""Walks the JSON of an event and says, place by place, what may stay.

===========================================  =========================================================================
what                                         becomes
===========================================  =========================================================================
type, severity, status, outcome, moments,    stay: routes match on them
numbers, tags, attributes' names
names, ids, e-mail addresses, texts          pseudonyms, word by word, the same everywhere
Soda's callback URL                          one of the same shape on ``soda.invalid``
keys                                         stay where Soda's fields are; elsewhere as texts
===========================================  =========================================================================
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator

from sodarouter import soda
from sodarouter.anonymise.pseudonyms import Pseudonyms
from sodarouter.anonymise.text import Texts, words_of
from sodarouter.anonymise.vocabulary import VOCABULARY
from sodarouter.callback import NAME as CALLBACK

_PEOPLE = ("owner", "owners", "lead", "reporter", "author", "createdBy", "updatedBy", "deletedBy")
_WORDS = frozenset(
    {
        ("incident", "severity"),
        ("incident", "status"),
        ("checkResults", "outcome"),
        ("checkResults", "evaluationStatus"),
        ("agreement", "approvalState"),
        ("agreement", "evaluationResult"),
        ("links", "integrationType"),
        *((people, "type") for people in _PEOPLE),
    }
)
"""Fields that hold words of Soda's, each with the one in which it stands."""
_LABELS = frozenset(
    {("datasets", "tags"), ("tags", "name"), ("tags", "label"), ("attributes", "name"), ("attributes", "label")}
)
_NAMES = frozenset((people, "name") for people in _PEOPLE)
_DATA = frozenset({"diagnostics", "value"})
"""Below these are measured data, in which no key is one of Soda's only because it looks like one."""
_MAP = "attributes as a map"

_WORD = re.compile(r"(?!.*\d{4})[\w -]{1,60}")
_IDENTIFIER = re.compile(r"[a-z]+(?:[A-Z][a-z]+)*")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|_")
_IDS = re.compile(r"(?:.*_)?ids?|.*(?:Id|ID|Ids)", re.DOTALL)


class _Number(str):
    """A number as it was spelt."""

    __slots__ = ()


class _Members(tuple[tuple[str, object], ...]):
    """An object with the order and the repetitions of its members."""

    __slots__ = ()


def anonymise(raw: bytes, *, keep: Collection[str] = (), key: str = "") -> bytes:
    """An event that has everything of another but what it tells of people, data and business.

    A text gets the same pseudonym wherever it stands, in all events that are anonymised with the same key, and another
    text another one. Two texts of one event whose pseudonyms would be the same are the exception: the second gets one of
    its own.

    Args:
        raw: A JSON object that has passed `sodarouter.parse.parse`.
        keep: Texts that stay: whole values, and words and names inside others. One with ``*``, ``?`` or ``[`` is a glob.
        key: Whoever knows it can find out by trying whether a certain name was there; of an empty one, everybody can.

    Returns:
        JSON, indented by two spaces, with the order of its members and the spelling of its numbers.

    Raises:
        ValueError: It is no JSON.
    """
    document = json.loads(
        raw.decode(), object_pairs_hook=_Members, parse_int=_Number, parse_float=_Number, parse_constant=_no_constant
    )
    taken = {word for text in _texts(document) for word in words_of(text)}
    texts = Texts(Pseudonyms(key, taken | VOCABULARY), keep)
    anonymous = _Walk(texts).value(document, "", known=True)
    return ("".join(_written(anonymous, "\n")) + "\n").encode()


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _texts(value: object) -> Iterator[str]:
    match value:
        case _Members():
            for name, inner in value:
                yield name
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)
        case str():
            yield value


class _Walk:
    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    def value(self, value: object, place: str, *, known: bool) -> object:
        """A value that is no member of an object.

        Args:
            place: The field in which it stands.
            known: Whether all the way to it are fields that Soda documents.
        """
        if isinstance(value, _Members):
            return _Members(
                (self._key(name, place, known), self._member(inner, place, name, known)) for name, inner in value
            )
        return self._member(value, "", place, known)

    def _member(self, value: object, place: str, name: str, known: bool) -> object:
        match value:
            case _Number():
                is_id = _IDS.fullmatch(name) and place != _MAP and value.isdigit()
                return _Number(self._texts.number(value)) if is_id else value
            case str():
                return self._text(value, (place, name) if known else ("?", name))
            case _Members():
                inside = _MAP if name == "attributes" else name
                return self.value(value, inside, known=known and place != _MAP and _is_documented(name))
            case list():
                return [self._element(one, place, name, known) for one in value]
            case _:
                return value

    def _element(self, value: object, place: str, name: str, known: bool) -> object:
        if isinstance(value, _Members):
            return self.value(value, name, known=known and place != _MAP and _is_documented(name))
        return self._member(value, place, name, known)

    def _text(self, text: str, field: tuple[str, str]) -> str:
        if field == ("", "event"):
            return text
        if field[1] == CALLBACK:
            return self._texts.callback(text) if text else text
        if field in _WORDS and _WORD.fullmatch(text):
            return text
        if field in _LABELS:
            return self._texts.mildly(text)
        return self._texts(text, personal=field in _NAMES)

    def _key(self, name: str, place: str, known: bool) -> str:
        if name in soda.FIELDS:
            return name
        if place == _MAP and known:
            return self._texts.mildly(name)
        if known and _IDENTIFIER.fullmatch(name):
            return name
        if all(part.lower() in VOCABULARY for part in _HUMP.split(name)):
            return name
        return self._texts(name)


def _is_documented(name: str) -> bool:
    return name in soda.FIELDS and name not in _DATA


def _written(value: object, line: str) -> Iterator[str]:
    """JSON as ``json.dumps`` writes it, with numbers as they were spelt and members that are there twice.

    Args:
        line: How a line on this level begins.
    """
    deeper = line + "  "
    match value:
        case _Number():
            yield value
        case _Members() if value:
            items = ((f"{json.dumps(name, ensure_ascii=False)}: ", inner) for name, inner in value)
            yield from _listed("{", items, "}", line, deeper)
        case _Members():
            yield "{}"
        case list() if value:
            yield from _listed("[", (("", inner) for inner in value), "]", line, deeper)
        case _:
            yield json.dumps(value, ensure_ascii=False)


def _listed(opening: str, items: Iterable[tuple[str, object]], closing: str, line: str, deeper: str) -> Iterator[str]:
    separator = opening
    for head, inner in items:
        yield separator + deeper + head
        yield from _written(inner, deeper)
        separator = ","
    yield line + closing
