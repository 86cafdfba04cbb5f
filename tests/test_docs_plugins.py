"""The reference for authors of plugins says what the code says, no less and no more; and its tutorial holds."""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

import sodarouter
from sodarouter import (
    API_VERSION,
    Destination,
    HiddenTemplate,
    HttpAnswer,
    HttpClient,
    Metrics,
    Options,
    Plugin,
    SourceType,
    Store,
    VerificationType,
    enrich,
    lag,
    lanes,
    link,
    metrics,
    translate,
    view,
    web,
)
from sodarouter.config.tables import DestinationTable
from sodarouter.contract import HOOKS, METHODS
from sodarouter.failures import MAX_STORED
from sodarouter.health import MAX_SAID
from sodarouter.isolation import measured, output, said
from sodarouter.outgoing import connection
from sodarouter.scaffold import WRITTEN, write_plugin
from sodarouter.spool.sqlite.keeping import MAX_ENTRIES
from sodarouter.store import EXPIRES, LARGEST_VALUE, LONGEST_KEY, MOST_CHANGES
from sodarouter.survey import PATIENCE
from sodarouter.testing import check_destination

DOCS = Path(__file__).parent.parent / "docs"
TUTORIAL = (DOCS / "plugins.md").read_text(encoding="utf-8")
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((DOCS / "plugins").glob("*.md"))}


def rows(text: str, head: str = "") -> Iterator[str]:
    """The first cells of tables, their heads too; or of those below one head."""
    for block in re.findall(r"(?m)(?:^\|.*\n)+", text):
        first, _, *others = (line.strip("|").split("|")[0].strip() for line in block.splitlines())
        if not head:
            yield from (first, *others)
        elif first == head:
            yield from others


def code(cells: Iterator[str]) -> list[str]:
    return [found for cell in cells for found in re.findall(r"`([^`]+)`", cell)]


# the hooks


def parameters(function: Any) -> str:
    """How a page writes them: with neither types nor defaults."""
    found = inspect.signature(function).parameters.values()
    told = []
    for one in found:
        if one.kind is one.KEYWORD_ONLY and "*" not in told:
            told.append("*")
        told.append(f"**{one.name}" if one.kind is one.VAR_KEYWORD else one.name)
    return ", ".join(name for name in told if name != "self")


def test_every_hook_has_a_row_with_exactly_its_arguments_and_there_is_no_other():
    assert code(rows(PAGES["hooks"], "hook")) == [
        f"{name}({parameters(HOOKS[name])})" for name in _in_order(HOOKS, PAGES["hooks"])
    ]


def _in_order(names: Mapping[str, Any], text: str) -> list[str]:
    return sorted(names, key=lambda name: text.index(f"| `{name}("))


def test_the_table_for_those_who_come_with_a_task_names_every_hook():
    (found,) = re.findall(r"(?s)## Which hook for what\n(.*?)\n## ", TUTORIAL)
    assert {name for name in HOOKS if f"`{name}`" not in found} == set()


# the classes

LAID_DOWN = {
    "Destination": ("destinations", Destination("x", Options())),
    "Plugin": ("hooks", Plugin(Options())),
    "SourceType": ("senders", SourceType("x", Options())),
    "VerificationType": ("senders", VerificationType(type="x")),
    "Store": ("destinations", Store),
    "HttpClient": ("tools", HttpClient),
    "Metrics": ("tools", Metrics),
}
"""The contracts that are classes, each with the page of its table, and itself or an instance."""

BESIDE = {"Destination": {"deliver", "deliver_batch"}, "Plugin": {"sodarouter_api"}}
"""What its table has besides: what the class itself does not."""


def members(value: object) -> set[str]:
    kind = value if isinstance(value, type) else type(value)
    own = {name for base in kind.__mro__ if base.__module__.startswith("sodarouter") for name in vars(base)}
    declared = {name for base in kind.__mro__ for name in inspect.get_annotations(base)} if kind is value else set()
    made = set() if isinstance(value, type | BaseModel) else set(vars(value))
    pydantic = set(dir(BaseModel)) | set(dir(Options))
    if isinstance(value, BaseModel):
        own = (own - pydantic) | set(type(value).model_fields)
    elif issubclass(kind, Destination | SourceType):
        own.add("type")
    return {name for name in own | declared | made if not name.startswith("_")}


def documented(name: str) -> dict[str, str]:
    """The members that a table has, each with how it is written there."""
    found = {}
    for told in code(rows(PAGES[LAID_DOWN[name][0]], f"of a `{name}`")) + code(
        rows(PAGES[LAID_DOWN[name][0]], f"of an `{name}`")
    ):
        plain = re.sub(r"^(async|await) |^self\.", "", told)
        if plain.endswith("[MyOptions]"):
            plain = "options_type"
        found[re.match(r"\w+", plain)[0]] = plain.replace("self, ", "").replace("(self)", "()")
    return found


@pytest.mark.parametrize("name", LAID_DOWN)
def test_every_member_of_a_contract_has_its_row_with_its_parameters_and_there_is_no_other(name):
    _, value = LAID_DOWN[name]
    told = documented(name)
    assert set(told) == members(value) | BESIDE.get(name, set())
    for member, written in told.items():
        function = HOOKS[member] if member in HOOKS and member != "health" else getattr(value, member, None)
        if inspect.isroutine(function):
            assert written == f"{member}({parameters(function)})"


def test_every_field_and_method_of_an_answer_is_told():
    (table,) = re.findall(r"(?m)^\| of an `HttpAnswer` \|.*\n((?:\|.*\n)+)", PAGES["tools"])
    methods = {name: value for name, value in vars(HttpAnswer).items() if inspect.isfunction(value) and name[0] != "_"}
    assert all(f"`{field.name}`" in table for field in fields(HttpAnswer))
    assert all(f"| `{name}({parameters(value)})` |" in table for name, value in methods.items())


def test_the_parts_of_a_hidden_template_are_told():
    (row,) = re.findall(r"(?m)^\| `SecretTemplate` .*$", PAGES["tools"])
    own = {name for name in vars(HiddenTemplate) if not name.startswith("_")}
    assert {name for name in own if name not in row} == set()


@pytest.mark.parametrize("name", ["deliver", "deliver_batch"])
def test_a_destination_s_methods_are_called_as_its_hooks(name):
    assert documented("Destination")[name] == f"{name}({parameters(HOOKS[name])})"


# the front door


@pytest.mark.parametrize("name", sodarouter.__all__)
def test_every_name_of_the_front_door_has_a_row(name):
    named = {word for page in PAGES.values() for told in code(rows(page)) for word in re.findall(r"\w+", told)}
    assert name in named


def test_every_value_has_its_fields_beside_it():
    """What `test_docs.py` holds against the code is all that there is."""
    values = {
        name
        for name, value in vars(sodarouter).items()
        if is_dataclass(value) and not issubclass(value, Exception | HttpAnswer)
    }
    assert {name for name in values if f"\n| `{name}` |" not in PAGES["values"]} == set()


@pytest.mark.parametrize("name", ["State", "Cause", "Halt", "Breaker", "MetricKind"])
def test_every_word_of_a_fixed_set_is_told(name):
    (row,) = re.findall(rf"(?m)^\| `{name}` \| (.*) \|$", PAGES["values"])
    assert re.findall(r"`([a-z-]+)`", row) == [member.value for member in getattr(sodarouter, name)]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("`incident.severity`", view.SEVERITIES),
        ("`incident.status`", view.STATUSES),
        ("`outcome` of a result", view.OUTCOMES),
    ],
)
def test_the_words_of_a_view_are_told(cell, words):
    (told,) = re.findall(rf"(?m)^\| {re.escape(cell)} \| (.*) \|$", PAGES["values"])
    assert tuple(re.findall(r"`(\w+)`", told)) == words


def test_the_version_of_the_api_is_the_same_everywhere():
    text = "\n".join((TUTORIAL, *PAGES.values()))
    assert set(re.findall(r'sodarouter_api = "([^"]*)"', text)) == {API_VERSION}
    assert f'`API_VERSION` of `sodarouter`, text such as `"{API_VERSION}"`' in TUTORIAL


def test_the_names_that_options_must_not_have_are_those_of_every_destination():
    (told,) = re.findall(r"(?s)\*\*Do not retry yourself\*\*.*?: (.*?) are keys of every", PAGES["destinations"])
    assert {*re.findall(r"`(\w+)`", told), "type"} == set(DestinationTable.model_fields)


# the limits

KIB = 1024
LIMITS = [
    ("destinations", f"within {lanes.OPEN_TIMEOUT:.0f} seconds"),
    ("destinations", f"with {lanes.CLOSE_TIMEOUT:.0f} seconds to finish"),
    ("destinations", f"{Destination.default_concurrency} if you do not say"),
    ("destinations", f"{Destination.batch_size} if you do not say"),
    ("destinations", f"cut at {MAX_STORED:,} characters"),
    ("destinations", f"for {EXPIRES / 86400:.0f} days unless `expires` says"),
    ("destinations", f"A key has {LONGEST_KEY} characters at most, a value {LARGEST_VALUE // KIB} KiB as JSON"),
    ("destinations", f"a delivery changes {MOST_CHANGES} keys at most; a destination keeps {MAX_ENTRIES:,}"),
    ("destinations", f"`text` ends after {link.LONGEST_TEXT} characters"),
    ("destinations", f"cut at {said.MAX_TEXT:,} characters before they are stored"),
    ("destinations", f"logged at {output.MAX_LINE // KIB} KiB"),
    ("destinations", f"up to {measured.MOST:,} of them"),
    ("tools", f"{connection.MAX_READ // KIB} KiB are read, for {connection.READ_SECONDS:.0f} seconds at most"),
    ("tools", f"at most {metrics.MOST_METRICS} names, of 64 characters each"),
    ("tools", f"at most {metrics.MOST_LABELS} labels, and {metrics.MOST_SERIES} sets of their values"),
    ("tools", f"counted under `{metrics.OTHER}`"),
    ("tools", f"end after {metrics.MAX_VALUE} characters"),
    ("tools", f"the text ends after {MAX_SAID} characters"),
    ("senders", f"runs in a thread and has {translate.TIMEOUT:.0f} seconds"),
    ("senders", f"for a place for more than {translate.PATIENCE:.0f} seconds"),
    ("senders", " of " + "{}, {} and {}".format(*(f"`{word}`" for word in METHODS)).replace(", and", " and")),
    ("hooks", f"of at most {enrich.MAX_BYTES // KIB} KiB, and {enrich.MAX_DEPTH} levels deep"),
    ("hooks", f"You have {enrich.TIME_LIMIT:.0f} seconds for an event"),
    ("hooks", f"asked about {enrich.AT_ONCE} at once"),
    (
        "hooks",
        f"After {enrich.PATIENCE.failures} failures in a row you are left alone for {enrich.PATIENCE.pause:.0f} s",
    ),
    ("hooks", f"for up to {enrich.PATIENCE.max_pause / 60:.0f} minutes"),
    ("hooks", f"A request has {web.MAX_BODY >> 20} MiB at most, a handler {web.PAGE_TIMEOUT:.0f} seconds"),
    ("values", f"{link.LONGEST_URL:,} characters at most) and `text` ({link.LONGEST_TEXT} are shown)"),
    ("values", f"has not answered within {PATIENCE:.0f} seconds"),
]


@pytest.mark.parametrize(("page", "phrase"), LIMITS)
def test_every_limit_is_that_of_the_code(page, phrase):
    assert phrase in " ".join(PAGES[page].split())


def test_what_is_no_number_in_the_text_is_the_code_s_too():
    assert translate.THREADS == 4
    assert "At most four of one source run at once" in PAGES["senders"]
    assert lag.BLOCKING == 0.1
    assert "more than a tenth of a second" in PAGES["senders"]
    assert "From a tenth of a second on" in TUTORIAL


# the tutorial


def blocks(text: str, language: str = "python") -> list[str]:
    return [textwrap.dedent(found) for found in re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text)]


def section(heading: str) -> str:
    (found,) = re.findall(rf"(?s)\n## {heading}\n(.*?)\n## ", TUTORIAL)
    return str(found)


def test_what_the_tutorial_says_of_events_is_there():
    kinds = {
        "event": (sodarouter.Event,),
        "event.view.incident": (sodarouter.Incident,),
        "event.view.results": (sodarouter.Result, sodarouter.Dataset),
        "event.view.url": (sodarouter.View,),
        "delivery": (sodarouter.Delivery,),
    }
    for place, told in re.findall(r"(?m)^\| `([a-z.]+)` \| (.*) \|$", section("Options")):
        named = set(re.findall(r"`(\w+)(?:\(\))?`", told)) - {"None", "incidentCreated"}
        there = {name for kind in kinds.pop(place) for name in [*dir(kind), *inspect.get_annotations(kind)]}
        assert named - there == set()
    assert kinds == {}


def test_what_is_shown_of_a_new_plugin_is_in_it(tmp_path):
    write_plugin("chat", tmp_path / "sodarouter-chat")
    written = (tmp_path / "sodarouter-chat/sodarouter_chat/__init__.py").read_text(encoding="utf-8")
    shown = blocks(section("A whole distribution"))
    assert len(shown) == 2
    for block in shown:
        assert block in written or textwrap.indent(block, "    ") in written


def test_every_file_of_a_new_plugin_is_explained():
    explained = set(code(rows(section("A whole distribution"), "file")))
    assert explained == {name.format(module="sodarouter_chat", name="chat") for name in WRITTEN}


def test_the_tickets_of_the_tutorial_pass_their_tests(tmp_path):
    write_plugin("tickets", tmp_path / "tickets")
    for name in ("sodarouter_tickets/__init__.py", "tests/test_tickets.py"):
        (source,) = [block for block in blocks(section("Tickets")) if block.startswith(f"# {name}\n")]
        (tmp_path / "tickets" / name).write_text(source, encoding="utf-8")
    # found because the process starts there, with whatever this one imports
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])}
    done = subprocess.run(command, cwd=tmp_path / "tickets", env=environment, capture_output=True, text=True)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def shown(page: str, mark: str, folder: Path) -> ModuleType:
    """The module that a block is. From a file, as the docstrings of options are read from the source."""
    (source,) = [block for block in blocks(PAGES[page]) if mark in block]
    path = folder / "shown.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("shown", path)
    module = sys.modules["shown"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_the_batches_of_the_reference_pass_the_checks(tmp_path):
    lake = shown("destinations", "class Lake(", tmp_path).Lake
    report = await check_destination(lake, {"url": "{sink}"})
    report.raise_faults()


def test_the_commands_of_the_reference_can_be_typed(tmp_path):
    module = shown("hooks", "class Tracker(", tmp_path)
    commands = module.Tracker(module.TrackerOptions()).commands(Path("router.toml"))
    done = CliRunner().invoke(commands, ["close", "17"])
    assert (done.exit_code, done.stdout) == (0, "https://tracker.example/17 is to be closed\n")
