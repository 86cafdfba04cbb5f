"""The documentation cannot rot: its tables say what the models say, its examples load, its links lead somewhere."""

import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pytest
import trustme
import typer
from commandline import COMMANDS
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from sodarouter_forward.formats import AnyFormat

import sodarouter
from sodarouter.breaker import BreakerPolicy
from sodarouter.cli.app import app
from sodarouter.config import load
from sodarouter.config.include import INCLUDABLE
from sodarouter.config.tables import (
    Admin,
    Defaults,
    DestinationTable,
    File,
    LinksTable,
    Log,
    Payload,
    PluginsTable,
    Server,
    SourceTable,
    Spool,
    TeamsTable,
    TestTable,
    Tls,
    Unrouted,
)
from sodarouter.decide import Route, TeamTable, Window
from sodarouter.decide.match import Conditions, Match
from sodarouter.options import Options, Place
from sodarouter.outgoing import Outgoing
from sodarouter.plugins import Plugins, find
from sodarouter.rate import Rate
from sodarouter.settle import RetryPolicy
from sodarouter.signature import HmacSignature, StandardWebhooks
from sodarouter.verify import Address, Basic, Header

ROOT = Path(__file__).parent.parent
DOCS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
CONFIGURATION = ROOT / "docs/configuration.md"
ROUTING = ROOT / "docs/routing.md"
CLI = ROOT / "docs/cli.md"
FORMATS = ROOT / "docs/destinations/formats.md"
VALUES = ROOT / "docs/plugins/values.md"

MODELS: dict[str, type[Options]] = {
    "`[server]`": Server,
    "`[admin]`": Admin,
    "TLS": Tls,
    "`[spool]`": Spool,
    "`[log]`": Log,
    "`[source.NAME]`": SourceTable,
    '`type = "header"`': Header,
    '`type = "basic"`': Basic,
    '`type = "hmac"`': HmacSignature,
    '`type = "standard-webhooks"`': StandardWebhooks,
    '`type = "address"`': Address,
    "`[destination.NAME]`": DestinationTable,
    "`[outgoing]`": Outgoing,
    "`[links]`": LinksTable,
    "Rates": Rate,
    "Retries": RetryPolicy,
    "Breakers": BreakerPolicy,
    "`[plugins]`": PluginsTable,
    "`[defaults]`": Defaults,
}
"""The models of the core, by the heading of `configuration.md` under which each has its table."""

ROUTING_MODELS: dict[str, type[Options]] = {
    "`[[route]]`": Route,
    "`[unrouted]`": Unrouted,
    "`match`": Match,
    "`[window.NAME]`": Window,
    "`[[team]]`": TeamTable,
    "`[teams]`": TeamsTable,
    "`[[test]]`": TestTable,
}
"""Those of `routing.md`."""

FORMAT_MODELS: dict[str, type[Options]] = {
    f"`{model.model_fields['type'].default}`": model
    for model in AnyFormat.__args__[0].__args__  # type: ignore[attr-defined]  # the members of the union
    if len(model.model_fields) > 1
}
"""Those of `formats.md`: the formats of the destination type `forward` that have options."""

ELSEWHERE = {*MODELS.values(), *ROUTING_MODELS.values(), *FORMAT_MODELS.values(), Conditions, Payload}
"""Models whose keys have a table of their own; those of `Conditions` are in that of `Match`."""

PLUGINS = Plugins([plugin for plugin in find() if plugin.distribution == "sodarouter"], {})
OPTIONS: dict[str, type[Options]] = {
    **{kind.type: kind.options_type for kind in PLUGINS.types.values()},
    **{
        plugin.name: plugin.options_type
        for plugin in find()
        if plugin.options_type and plugin.distribution == "sodarouter"
    },
}
"""The options of the built-in plugins, by the name of the page that describes each."""

Row = dict[str, str]


def sections(path: Path) -> Iterator[tuple[str, str]]:
    """The headings of a page, each with the text up to the next."""
    text = re.sub(r"(?ms)^```.*?^```$", "", path.read_text(encoding="utf-8"))
    parts = re.split(r"(?m)^#+ (.*)$", text)
    yield from zip(parts[1::2], parts[2::2], strict=True)


def tables(text: str) -> Iterator[list[Row]]:
    """The tables of options in a text: those whose first column is ``key`` or ``option``. Column names in lower case."""
    for block in re.findall(r"(?m)(?:^\|.*\n)+", text):
        head, _, *rows = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.splitlines())
        if head[0] in {"key", "option"}:
            names = ["key", *(name or "meaning" for name in head[1:])]
            yield [dict(zip(names, row, strict=True)) for row in rows]


def table(path: Path, heading: str) -> dict[str, Row]:
    """The one table of options under a heading, by key. An empty heading means the whole page."""
    text = "".join(text for found, text in sections(path) if heading in ("", found))
    (rows,) = tables(text)
    return {row["key"].strip("`"): row for row in rows}


def keys(model: type[Options]) -> dict[str, FieldInfo]:
    """The keys of a model, without the ``type`` that chooses the model."""
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    return (
        fields
        if model in {DestinationTable, SourceTable, Defaults}
        else {key: info for key, info in fields.items() if key != "type"}
    )


def same_default(info: FieldInfo, told: str) -> bool:
    """Whether a cell says what the model does. A default that is computed, or is a table, may be told in words."""
    default = info.get_default(call_default_factory=True)
    if info.is_required():
        return told == "required"
    if re.fullmatch(r"`[^`]+`", told):
        try:
            value = tomllib.loads(f"value = {told.strip('`')}")["value"]
            annotation = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
            return bool(TypeAdapter(annotation).validate_python(value, context=Place()) == default)
        except (tomllib.TOMLDecodeError, ValidationError):
            return False
    nothing = default is None or default == "" or default == [] or default == {}
    return nothing or isinstance(default, list | Options)


def wrong(model: type[Options], documented: dict[str, Row]) -> list[str]:
    """What a table does not say as its model does. A nested table's keys are rows, or named in the row of their table."""
    faults = []
    for key, info in keys(model).items():
        nested = {name.partition(".")[2] for name in documented if name.startswith(f"{key}.")}
        if nested:
            (inner,) = _models(info.annotation)
            # the table itself may have a row, for a short form of it
            rows = {name: documented[f"{key}.{name}"] for name in nested}
            faults += [f"{key}.{fault}" for fault in wrong(inner, rows)]
        elif key not in documented:
            faults.append(f"{key}: is not documented")
        elif not same_default(info, documented[key]["default"]):
            faults.append(f"{key}: the default is {info.default!r}, not {documented[key]['default']}")
        elif not documented[key]["meaning"]:
            faults.append(f"{key}: has no meaning")
        else:
            inner_keys = {name for inner in _models(info.annotation) if inner not in ELSEWHERE for name in keys(inner)}
            unnamed = [name for name in sorted(inner_keys) if name not in documented[key]["meaning"]]
            faults += [f"{key}.{name}: is not documented" for name in unnamed]
    known = keys(model)
    return faults + [f"{key}: is no key" for key in documented if key.partition(".")[0] not in known]


def _models(annotation: Any) -> list[type[Options]]:
    found = getattr(annotation, "__args__", (annotation,))
    return [one for one in found if isinstance(one, type) and issubclass(one, Options)]


@pytest.mark.parametrize(
    ("page", "heading", "model"),
    [
        *((CONFIGURATION, heading, model) for heading, model in MODELS.items()),
        *((ROUTING, heading, model) for heading, model in ROUTING_MODELS.items()),
        *((FORMATS, heading, model) for heading, model in FORMAT_MODELS.items()),
    ],
)
def test_every_key_of_the_core_is_documented_with_its_default(page, heading, model):
    documented = table(page, heading)
    assert wrong(model, documented) == []
    assert all(row["type"] for row in documented.values())


def test_every_table_of_the_file_is_documented():
    fields = set(File.model_fields) - {"include"}
    assert fields <= {name for heading in (*MODELS, *ROUTING_MODELS) for name in re.findall(r"\[+(\w+)", heading)} | {
        "plugin"
    }
    text = CONFIGURATION.read_text(encoding="utf-8")
    assert all(re.search(rf"`\[+{name}(\.NAME)?\]+`", text) for name in fields)


def test_the_key_that_is_in_no_table_is_documented_with_what_an_included_file_may_hold():
    (row,) = table(CONFIGURATION, "`include`").values()
    assert row["key"] == "`include`"
    assert same_default(File.model_fields["include"], row["default"])
    assert row["meaning"]
    text = dict(sections(CONFIGURATION))["`include`"]
    (said,) = re.findall(r"(?s)\*\*What is in them\.\*\* Only (.*?);", text)
    assert re.findall(r"`(\w+)`", said) == list(INCLUDABLE)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_option_of_a_built_in_plugin_is_documented_with_its_default(name):
    documented = table(ROOT / f"docs/destinations/{name}.md", "")
    assert wrong(OPTIONS[name], documented) == []


def test_a_table_that_says_something_else_is_found():
    """The check above checks: a wrong default, a key that is missing, one that is none, one without a meaning."""
    rows = table(CONFIGURATION, "Retries")
    rows["max_attempts"]["default"] = "`13`"
    rows["max_age"]["default"] = "a day"
    rows["max_delay"]["meaning"] = ""
    rows["initail"] = rows.pop("initial")
    assert wrong(RetryPolicy, rows) == [
        f"max_attempts: the default is {RetryPolicy().max_attempts}, not `13`",
        "max_age: the default is 86400.0, not a day",
        "initial: is not documented",
        "max_delay: has no meaning",
        "initail: is no key",
    ]


def blocks(language: str) -> Iterator[Any]:
    """The code blocks of all pages, those inside lists too."""
    for path in DOCS:
        for found in re.finditer(rf"(?ms)^( *)```{language}\n(.*?)^\1```$", path.read_text(encoding="utf-8")):
            line = path.read_text(encoding="utf-8").count("\n", 0, found.start()) + 1
            yield pytest.param(path, textwrap.dedent(found[2]), id=f"{path.relative_to(ROOT)}:{line}")


EXAMPLES = {"URL": "https://example.org/", "APPRISE": "json://example.org/"}
"""What variables are set to, by how their names end; the others hold keys."""

INCLUDED = re.compile(r"# (router\.d/\w+\.toml)\n")
"""How a block begins that is a file of its own, and not `router.toml`."""


@pytest.mark.parametrize(("path", "text"), list(blocks("toml")))
def test_every_configuration_in_the_docs_loads(path, text, tmp_path, monkeypatch):
    document = tomllib.loads(text)
    if "project" in document or path.name == "plugins.md" or path.parent.name == "plugins":
        return  # not the router's, or of a plugin that is only imagined
    for name in re.findall(r'env = "(\w+)"', text):
        monkeypatch.setenv(name, EXAMPLES.get(name.rpartition("_")[2], "whsec_c2VjcmV0"))
    _write_what_it_names(text, tmp_path)
    named = [name for route in document.get("route", ()) for name in route.get("to", ())]
    missing = set(named) - set(document.get("destination", ()))
    skeleton = "".join(f'[destination.{name}]\ntype = "file"\npath = "{name}.jsonl"\n' for name in missing)
    if "source" not in document:
        skeleton += '[source.soda]\npath = "/webhooks/soda"\n'
    if found := INCLUDED.match(text):
        _write_included(tmp_path / found[1], text)
        text = _including()
        skeleton = ""
    (tmp_path / "router.toml").write_text(f"{text}\n{skeleton}", encoding="utf-8")
    load(tmp_path / "router.toml")


def _including() -> str:
    """The block of the docs that includes others."""
    (text,) = {
        text for _, text in (block.values for block in blocks("toml")) if text.startswith('include = ["router.d')
    }
    return text


def _write_included(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")


def test_the_docs_show_a_file_that_is_included():
    assert any(INCLUDED.match(block.values[1]) for block in blocks("toml"))


def _write_what_it_names(text: str, folder: Path) -> None:
    """Certificates, keys, the files of secrets, and commands."""
    authority = trustme.CA()
    certificate = authority.issue_cert("example.org")
    for kind, name in re.findall(r'\b(cert|key|ca|client_ca|ca_file|file) = "([^"]+)"', text):
        content = {"cert": certificate.private_key_and_cert_chain_pem, "key": certificate.private_key_pem}
        content["file"] = trustme.Blob(b"whsec_c2VjcmV0\n")
        content.get(kind, authority.cert_pem).write_to_path(folder / name)
    for name in re.findall(r'\bcommand = \["([^"]+/[^"]+)"', text):
        (folder / name).parent.mkdir()
        (folder / name).touch(0o755)


def anchors(path: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading, _ in sections(path)}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(path):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", path.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (path.parent / name) if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_command_has_its_section():
    documented = {heading.strip("`").removeprefix("sodarouter ") for heading, _ in sections(CLI)}
    assert {name for name in COMMANDS if " " not in name} <= documented
    assert all(f"`sodarouter {name}" in CLI.read_text(encoding="utf-8") for name in COMMANDS)


def test_every_command_is_in_the_table_at_the_top_of_the_page():
    listed = re.findall(r"(?m)^\| \[`([\w-]+)`\]\(#", CLI.read_text(encoding="utf-8"))
    assert set(listed) == {name.split()[0] for name in COMMANDS}
    assert len(listed) == len(set(listed))


def command_lines() -> Iterator[Any]:
    """What the pages show to be typed, behind a prompt or not."""
    for block in (*blocks("console"), *blocks("sh")):
        path, text = block.values
        for line in text.splitlines():
            if found := re.search(r"(?:^|\$ |&& |/)sodarouter(?= |$)(.*)", line):
                yield pytest.param(shlex.split(found[1], comments=True), id=f"{path.name}: {found[1]}")


@pytest.mark.parametrize("words", list(command_lines()))
def test_every_command_line_in_the_docs_has_a_command_and_options_that_exist(words):
    name = next((name for name in (*map(" ".join, pairwise(words)), *words) if name in COMMANDS), None)
    assert name or words[0].startswith("-")
    known = typer.main.get_command(app).params + (COMMANDS[name].params if name else [])
    options = {option for parameter in known for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


def test_every_option_that_the_page_of_the_commands_names_exists():
    known = [typer.main.get_command(app), *COMMANDS.values()]
    options = {option for command in known for parameter in command.params for option in parameter.opts} | {"--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", CLI.read_text(encoding="utf-8"))) <= options


HANDED = {
    name: value
    for name, value in vars(sodarouter).items()
    if is_dataclass(value) and f"\n| `{name}` |" in VALUES.read_text(encoding="utf-8")
}
"""The values of the front door that have a row in the page for plugin writers."""


@pytest.mark.parametrize("name", HANDED)
def test_every_field_of_what_plugins_are_handed_is_in_its_row(name):
    (row,) = re.findall(rf"(?m)^\| `{name}` \| (.*) \|$", VALUES.read_text(encoding="utf-8"))
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", row))))
    assert {one.name for one in fields(HANDED[name])} <= named
