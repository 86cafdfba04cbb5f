"""The words that a `match` can meet, and what to say of one that no event has."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from sodarouter import soda
from sodarouter.decide.contracts import CLASSES
from sodarouter.decide.match import MAGIC, DatasetConditions
from sodarouter.decide.memory import INCIDENT_WORDS, RESULT_WORDS
from sodarouter.errors import Fault
from sodarouter.faults import suggestion
from sodarouter.view import OUTCOMES, SEVERITIES, STATUSES, plain_word, word


@dataclass(frozen=True)
class _Vocabulary:
    """The words that a key can meet, and how a pattern is brought into their spelling."""

    said: str
    words: tuple[str, ...]
    spelt: Callable[[str], str | None] = str


_VOCABULARIES = {
    "event": _Vocabulary("Soda documents no event {!r}", soda.EVENT_TYPES),
    "scope": _Vocabulary("there is no scope {!r}", tuple(dict.fromkeys(soda.SCOPES.values()))),
    "severity": _Vocabulary("there is no severity {!r}", SEVERITIES, word),
    "status": _Vocabulary("there is no status {!r}", STATUSES, word),
    "outcome": _Vocabulary("there is no outcome {!r}", OUTCOMES, word),
    "previous": _Vocabulary("there is no outcome {!r}", OUTCOMES, word),
    "incident": _Vocabulary("nothing makes an incident {!r}", INCIDENT_WORDS, plain_word),
    "result": _Vocabulary("nothing makes a result {!r}", RESULT_WORDS, plain_word),
    "contract": _Vocabulary("there is no class of changes {!r}", CLASSES, plain_word),
}


def strange_additions(asked: DatasetConditions, place: str, plugins: Collection[str]) -> Iterator[Fault]:
    """What is asked of plugins that add nothing to events.

    Args:
        asked: A ``match``, or the ``not`` in it.
        plugins: The names of those that do.
    """
    for path in getattr(asked, "enriched", None) or ():
        if not path.startswith(tuple(f"{name}." for name in plugins)):
            otherwise = f"one of {', '.join(plugins)}" if plugins else "there is none that does"
            hint = suggestion(path.partition(".")[0], plugins, otherwise=otherwise)
            yield Fault(f"{place}.enriched", f"no plugin adds {path!r} to events", hint)


def strange_words(
    asked: DatasetConditions, place: str, sources: Iterable[str], teams: Iterable[str]
) -> Iterator[Fault]:
    """The patterns that no event can fit, as far as can be known: those without a glob's characters.

    Args:
        asked: A ``match``, or the ``not`` in it.
        sources: The names of the sources.
        teams: The names of the teams.
    """
    vocabularies = {
        **_VOCABULARIES,
        "source": _Vocabulary("there is no source {!r}", tuple(sources)),
        "team": _Vocabulary("there is no team {!r}", tuple(dict.fromkeys(teams))),
    }
    for key, known in vocabularies.items():
        for pattern in getattr(asked, key, None) or ():
            if not MAGIC.search(pattern) and known.spelt(pattern) not in known.words:
                otherwise = f"one of {', '.join(known.words)}" if known.words else "there are none"
                hint = suggestion(pattern, known.words, otherwise=otherwise)
                yield Fault(f"{place}.{key}", known.said.format(pattern), hint)
