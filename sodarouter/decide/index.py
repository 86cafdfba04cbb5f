"""Finds the rules that may match without asking all of them: a thousand routes must not cost a thousand questions.

Each rule is filed under what is rarest in it: one of the conditions on whose texts it insists. An event's own texts then
lead to the few rules that they can fit, and only these are asked.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

from sodarouter.decide.match import MAGIC, Condition

Texts = Callable[[str], Iterable[str]]
"""The texts that an event, or a part of one, has for a key."""

MAX_KINDS = 64
"""Event types for which the rules are sorted out. Soda documents eight; for further ones the rules are found among all."""

_Entry = tuple[str, str, str]
"""A key, what part of a text is compared (``=`` the whole, ``^`` its beginning, ``$`` its end), and with what."""


class Index:
    """Of rules, by their conditions."""

    def __init__(self, rules: Sequence[Sequence[Condition]]) -> None:
        self._rules = rules
        self._kinds: dict[str, _Filed] = {}

    def candidates(self, texts: Texts, event_type: str | None = None) -> list[int]:
        """The numbers of the rules that may match, in their order; those left out cannot.

        Args:
            texts: The texts of what is asked about.
            event_type: The rules are sorted out once for each; ``None`` for what has none.
        """
        return self._filed(event_type).candidates(texts)

    def _filed(self, event_type: str | None) -> "_Filed":
        if event_type is None:
            return self._all
        if event_type not in self._kinds:
            if len(self._kinds) >= MAX_KINDS:
                # whoever sends new types without end must not have all rules sorted out for each of them
                return self._all
            self._kinds[event_type] = self._of_kind(event_type)
        return self._kinds[event_type]

    @cached_property
    def _all(self) -> "_Filed":
        return _Filed(dict(enumerate(self._rules)))

    def _of_kind(self, event_type: str) -> "_Filed":
        texts = {event_type: 1}
        asking = {
            number: [condition for condition in conditions if condition.key != "event"]
            for number, conditions in enumerate(self._rules)
            if all(bool(c.mask(texts)) != c.negated for c in conditions if c.key == "event")
        }
        return _Filed(asking)


class _Filed:
    def __init__(self, rules: Mapping[int, Sequence[Condition]]) -> None:
        entries = {
            number: [found for condition in conditions if (found := _entries(condition))]
            for number, conditions in rules.items()
        }
        popular = Counter(entry for found in entries.values() for choice in found for entry in set(choice))
        self._always: list[int] = []
        self._keys: dict[str, _Key] = {}
        for number, choices in entries.items():
            rarest = min(choices, key=lambda choice: sum(popular[entry] for entry in choice), default=None)
            if rarest is None:
                self._always.append(number)
                continue
            for key, how, text in set(rarest):
                self._keys.setdefault(key, _Key()).file(how, text, number)

    def candidates(self, texts: Texts) -> list[int]:
        if not self._keys:
            return self._always
        found = set(self._always)
        for key, filed in self._keys.items():
            filed.find(texts(key), found)
        return sorted(found)


class _Key:
    """The rules that are filed under the texts of one key."""

    def __init__(self) -> None:
        self._whole: dict[str, list[int]] = {}
        self._begins = _Parts(lambda text, length: text[:length])
        self._ends = _Parts(lambda text, length: text[-length:])

    def file(self, how: str, text: str, number: int) -> None:
        if how == "=":
            self._whole.setdefault(text, []).append(number)
        else:
            (self._begins if how == "^" else self._ends).file(text, number)

    def find(self, texts: Iterable[str], found: set[int]) -> None:
        whole = self._whole
        for text in texts:
            if text in whole:
                found.update(whole[text])
        if self._begins.filed:
            self._begins.find(texts, found)
        if self._ends.filed:
            self._ends.find(texts, found)


class _Parts:
    """Rules by the beginnings, or the ends, of texts."""

    def __init__(self, part: Callable[[str, int], str]) -> None:
        self._part = part
        # by their length, so that one look into a dict finds all that begin or end so
        self.filed: dict[int, dict[str, list[int]]] = {}

    def file(self, text: str, number: int) -> None:
        self.filed.setdefault(len(text), {}).setdefault(text, []).append(number)

    def find(self, texts: Iterable[str], found: set[int]) -> None:
        part, (shortest, edges) = self._part, self._edges
        for text in texts:
            if part(text, shortest) in edges:
                for length, filed in self.filed.items():
                    found.update(filed.get(part(text, length), ()))

    @cached_property
    def _edges(self) -> tuple[int, frozenset[str]]:
        """The outermost characters of all of them, as many as the shortest has: most texts have none of these."""
        shortest = min(self.filed)
        return shortest, frozenset(self._part(text, shortest) for filed in self.filed.values() for text in filed)


def _entries(condition: Condition) -> list[_Entry]:
    """Under what a rule can be filed for the sake of this condition: one of them must be there. Empty: under nothing."""
    if condition.negated:
        return []
    found: list[_Entry] = []
    for pattern in condition.patterns:
        if pattern in condition.literals:
            found.append((condition.key, "=", pattern))
            continue
        begins, ends = MAGIC.split(pattern, maxsplit=1)[0], _end(pattern)
        if condition.key == "streak" or not (begins or ends):
            return []
        found.append((condition.key, "^", begins) if len(begins) >= len(ends) else (condition.key, "$", ends))
    return found


def _end(pattern: str) -> str:
    # behind a class, as in `[a-z]x`, the end cannot be told by the eye: `[]x]` is one character
    return "" if "[" in pattern else MAGIC.split(pattern)[-1]
