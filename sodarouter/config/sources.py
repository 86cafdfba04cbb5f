"""`[source.NAME]`: the core's keys, the verifications and the keys of a type, each validated by whom they belong to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import Field, create_model

from sodarouter.config.document import Document, Found, named_tables
from sodarouter.config.origins import Origins
from sodarouter.config.tables import SourceTable
from sodarouter.errors import Fault
from sodarouter.failures import describe
from sodarouter.faults import dotted, suggestion
from sodarouter.options import Given, Place
from sodarouter.plugins import Plugins
from sodarouter.redact import Redactor
from sodarouter.source import SODA
from sodarouter.translate import AnySource, Translator
from sodarouter.verification import VerificationType
from sodarouter.verify import BuiltIn, Verification
from sodarouter.vet import Vetting


@dataclass(frozen=True)
class ConfiguredSource:
    """A source, ready to take in."""

    name: str
    table: SourceTable
    verifications: tuple[Verification, ...]
    """The router's own, which are the quicker ones."""
    vettings: tuple[Vetting, ...]
    """Those of plugins, which have to hold as well."""
    translator: Translator | None
    """``None`` for what speaks as Soda does."""
    given: Given = field(compare=False, repr=False)
    """What it was made of."""


def configured_sources(
    document: Document, plugins: Plugins, largest: int, redact: Redactor, found: Found
) -> Iterator[ConfiguredSource]:
    """The sources of a file. The faults of those that cannot be made are added.

    Args:
        plugins: What they offer.
        largest: Bytes that the body of an event may have.
    """
    model = source_table(tuple(plugins.verifications.values()))
    for name, table in named_tables(document.table, "source").items():
        keys = ("source", name)
        kind, known = _kind(table, plugins.sources, dotted(keys), document, found)
        by_itself = replace(document, place=document.place.apart())
        if kind is None:
            # of a type that nobody knows, nothing can be said of the keys that are its own
            core = table if known else {key: value for key, value in table.items() if key in model.model_fields}
            made = found.validated(model, core, by_itself, *keys)
            if made is not None and known:
                yield _source(name, made, None, plugins, Given.at(by_itself.place, table))
            continue
        core = {key: value for key, value in table.items() if key in model.model_fields}
        own = {key: value for key, value in table.items() if key not in core}
        made = found.validated(model, core, by_itself, *keys)
        options = found.validated(kind.options_type, own, by_itself, *keys, also=model.model_fields)
        if made is None or options is None:
            continue
        try:
            source = kind(name, options)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the plugin's own code runs here
            fault = f"its type {kind.type!r} cannot be made of it: {describe(error)}"
            found.add(Fault(dotted(keys), fault), document.origins)
            continue
        translator = Translator(plugins.owner(kind).name, source, largest, redact)
        yield _source(name, made, translator, plugins, Given.at(by_itself.place, table))


def sources_again(
    given: Mapping[str, Given], plugins: Plugins, largest: int, redact: Redactor
) -> list[ConfiguredSource]:
    """The sources of a configuration once more, in another process: neither the environment nor a file is asked again.

    Args:
        given: What each was made of, by its name.
        plugins: As `configured_sources` knows it.
        largest: As `configured_sources` knows it.
        redact: Gets to know their secrets.

    Raises:
        ConfigError: One of them cannot be made here.
    """
    found = Found()
    made: list[ConfiguredSource] = []
    for name, one in given.items():
        place = Place(one.folder, found.secrets, dict(one.references))
        document = Document(Path(), b"", {"source": {name: one.table}}, place, Origins("router.toml"))
        made += configured_sources(document, plugins, largest, redact, found)
    redact.learn(found.secrets)
    found.raise_any()
    return made


def _kind(
    table: Mapping[str, Any], types: Mapping[str, type[AnySource]], place: str, document: Document, found: Found
) -> tuple[type[AnySource] | None, bool]:
    """The type of a source, none for one of Soda's; and whether there is such a type."""
    name = table.get("type", SODA)
    if not isinstance(name, str) or name == SODA:
        return None, True  # the model says that a type is text
    if name not in types:
        hint = suggestion(name, [SODA, *types], otherwise="is its package installed?")
        found.add(Fault(f"{place}.type", f"no plugin offers {name!r}", hint), document.origins)
    return types.get(name), name in types


def _source(
    name: str, table: SourceTable, translator: Translator | None, plugins: Plugins, given: Given
) -> ConfiguredSource:
    entries: list[Verification | VerificationType] = [*table.verify]
    own = tuple(one for one in entries if not isinstance(one, VerificationType))
    vettings = tuple(
        Vetting(plugins.owner(type(one)).name, one) for one in entries if isinstance(one, VerificationType)
    )
    return ConfiguredSource(name, table, own, vettings, translator, given)


@lru_cache(maxsize=1)
def source_table(kinds: tuple[type[VerificationType], ...]) -> type[SourceTable]:
    """The model of the keys that every source has, with these beside the built-in verifications."""
    if not kinds:
        return SourceTable
    # a union that is made while the router runs is none that a type checker can follow
    entry: Any = Annotated[Union[(BuiltIn, *kinds)], Field(discriminator="type")]
    return create_model("SourceTable", __base__=SourceTable, verify=(list[entry], Field(default=[])))
