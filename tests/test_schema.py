"""``sodarouter schema``: what is right by the router is right by the schema, and what a key alone makes wrong is wrong."""

import datetime
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributions import SitePackages
from jsonschema import Draft202012Validator
from test_docs import OPTIONS, ROOT, blocks

from sodarouter.config import plugins_of
from sodarouter.config.schema import file_schema


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """The schema with the plugins that come with the router."""
    plugins, options, faults = plugins_of(Path("nowhere.toml"))
    assert faults == []
    schema = json.loads(json.dumps(file_schema(plugins, options)))
    Draft202012Validator.check_schema(schema)
    return schema


def plain(value: Any) -> Any:
    """A TOML document as JSON, in which times are text."""
    match value:
        case dict():
            return {key: plain(inner) for key, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case datetime.date() | datetime.time():
            return value.isoformat()
    return value


def faults(schema: dict[str, Any], toml: str) -> list[str]:
    """Where something is wrong."""
    found = Draft202012Validator(schema).iter_errors(plain(tomllib.loads(toml)))
    return sorted({".".join(map(str, error.absolute_path)) for error in found})


@pytest.mark.parametrize(("path", "text"), list(blocks("toml")))
def test_every_configuration_in_the_docs_is_right(whole, path, text):
    if "project" not in tomllib.loads(text) and "plugins" not in str(path.relative_to(ROOT)):
        assert faults(whole, text) == []


def test_the_shipped_configuration_is_right(whole):
    assert faults(whole, (ROOT / "router.toml").read_text(encoding="utf-8")) == []


TABLE = '[destination.log]\ntype = "file"\npath = "x"\n'


@pytest.mark.parametrize(
    ("toml", "place"),
    [
        ("[sever]\n", ""),
        ("[server]\nlisten = 3\n", "server.listen"),
        ("[server]\nbody_timeout = 8\n", "server.body_timeout"),
        ('[server]\nbody_timeout = "8 parsecs"\n', "server.body_timeout"),
        ('[server]\nmax_body = "much"\n', "server.max_body"),
        ("[server]\nkeepalive = 3\n", "server"),
        ('[admin]\ntoken = { environment = "X" }\n', "admin.token"),
        ('[admin]\ntoken = { env = "TWO WORDS" }\n', "admin.token"),
        ('[source.soda]\npath = "/x"\nverify = [{ type = "hamc" }]\n', "source.soda.verify.0"),
        ('[source.soda]\npath = "/x"\nverify = [{ name = "A", value = "b" }]\n', "source.soda.verify.0"),
        ("[source.soda]\n", "source.soda"),
        ('[destination.log]\ntype = "flie"\npath = "x"\n', "destination.log"),
        ('[destination.log]\npath = "x"\n', "destination.log"),
        (TABLE + 'pth = "y"\n', "destination.log"),
        (TABLE + 'timeout = "soon"\n', "destination.log"),
        (TABLE + 'breaker = "on"\n', "destination.log"),
        (TABLE + 'rate = "10 a second"\n', "destination.log"),
        ('[destination.log]\ntype = "file"\nurl = "https://example.org"\n', "destination.log"),
        ('[source.soda]\npath = "/x"\n[destination.log]\ntype = "file"\n', "destination.log"),
        ('[source.soda]\npath = "/x"\n[[route]]\nname = "x"\n', "route.0"),
        ('[[route]]\nto = ["log"]\nmatch = { evnt = "x" }\n', "route.0.match"),
        ('[defaults.type.flie]\npath = "x"\n', "defaults.type"),
        ('[defaults.destination]\ntype = "file"\n', "defaults.destination"),
        ("[plugin.promethius]\n", "plugin"),
        ("[plugin.prometheus]\npath = 3\n", "plugin.prometheus.path"),
        ('[plugin.prometheus]\nresult_labels = ["sevrity"]\n', "plugin.prometheus.result_labels.0"),
    ],
)
def test_what_is_wrong_is_found_at_its_place(whole, toml, place):
    assert place in faults(whole, toml)


@pytest.mark.parametrize(
    "toml",
    [
        '[spool]\nretention = "30d"\n',
        '[spool]\nretention = { events = "30d", attempts = { age = "1w", size = "5 GiB" } }\nmax_size = 1048576\n',
        TABLE + 'rate = "10/s"\nbreaker = "off"\nretry = { delays = ["1s", "1h 30m"] }\n',
        TABLE + 'rate = { limit = "100/m", burst = 3 }\nbreaker = { failures = 3 }\n',
        '[admin]\ntoken = { file = "token" }\n',
        # an included file, and one with defaults: what a table lacks may be inherited
        '[destination.log]\ntype = "file"\n[[route]]\nname = "x"\n',
        '[source.soda]\npath = "/x"\n[defaults.type.file]\npath = "x"\n[destination.log]\ntype = "file"\n',
        '[defaults.route]\nto = ["log"]\nmatch = { event = "validate" }\n[defaults.destination]\ntimeout = "3s"\n',
        '[window.w]\ndates = [2026-12-24, "12-25"]\n[window.v]\ndays = "mon-fri"\n',
        '[destination.x]\ntype = "forward"\nurl = "https://example.org"\nformat = "raw"\n',
        '[destination.x]\ntype = "forward"\nurl = "https://example.org"\nformat = { type = "cloudevents" }\n',
        '[[route]]\nto = ["x"]\nmatch = { streak = 3, not = { dataset = ["a", "b*"] } }\n',
    ],
)
def test_what_may_be_written_in_several_ways_may_be_so_by_the_schema(whole, toml):
    assert faults(whole, toml) == []


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for inner in schema.values():
            yield from nodes(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from nodes(inner)


def test_defaults_are_as_they_are_written(whole):
    told = [node for node in nodes(whole) if "default" in node and not isinstance(node["default"], dict)]
    assert len(told) > 40
    for node in told:
        Draft202012Validator({**node, "$defs": whole["$defs"]}).validate(node["default"])
    server = whole["$defs"]["Server"]["properties"]
    assert [server[key]["default"] for key in ("listen", "max_body", "keep_alive")] == [
        ["127.0.0.1:8080"],
        "5 MiB",
        "1m 15s",
    ]
    assert all(node.get("type") != "null" for node in nodes(whole))


def test_every_key_is_described(whole):
    undescribed = {
        key
        for node in nodes(whole)
        for key, inner in (node.get("properties") or {}).items()
        if node.get("type") == "object" and isinstance(inner, dict) and not {"description", "$ref"} & inner.keys()
    }
    # how a secret is referred to, what tells the members of a union apart, and tables whose own keys are described
    assert undescribed <= {"env", "file", "type", "plugins", *OPTIONS}


# the command


def test_the_command_prints_the_schema_of_all_or_of_one_kind_of_table(sodarouter, tmp_path, whole):
    assert sodarouter("schema").json == whole
    kind = sodarouter("schema", "forward").json
    Draft202012Validator.check_schema(kind)
    check = Draft202012Validator(kind).is_valid
    assert check({"type": "forward", "url": {"env": "X"}, "timeout": "3s"})
    assert not check({"type": "forward"})
    assert not check({"url": "x"})
    plugin = Draft202012Validator(sodarouter("schema", "prometheus").json)
    assert plugin.is_valid({"path": "/m", "attempt_buckets": ["10ms", "1s"]})
    assert not plugin.is_valid({"type": "prometheus"})
    ran = sodarouter("schema", "forwrad")
    assert (ran.status, ran.err) == (
        2,
        (
            "sodarouter: there is no destination type 'forwrad', and no plugin of that name that has options; "
            "did you mean 'forward'?\n"
        ),
    )


PLUGIN = """
from typing import Annotated
from pydantic import PlainValidator
from sodarouter import Destination, Options, Plugin, Secret, hookimpl

class Odd: ...

class PagerOptions(Options):
    team: str
    '''Whom to wake.'''
    odd: Annotated[Odd, PlainValidator(lambda value: Odd())] = Odd()

class Pager(Destination[PagerOptions]):
    type = "pager/~1 %41"
    async def deliver(self): ...

class OfferOptions(Options):
    token: Secret

class Offer(Plugin[OfferOptions]):
    @hookimpl
    def destination_types(self):
        return [Pager]
"""


@pytest.fixture
def pager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = SitePackages(tmp_path / "site", monkeypatch)
    site.install("acme-pager", {"pager": "acme_pager:Offer"}, acme_pager=PLUGIN)


def test_the_options_of_other_plugins_are_in_it_whatever_they_are_made_of(sodarouter, tmp_path, pager):
    (tmp_path / "router.toml").write_text('[plugin.pager]\ntoken = "x"\n[source.soda]\nnonsense = 3\n')
    ran = sodarouter("schema")
    assert (ran.status, ran.err) == (0, "")
    table = '[destination.x]\ntype = "pager/~1 %41"\n'
    assert faults(ran.json, table + 'team = "data"\nodd = { a = 3 }\n[plugin.pager]\ntoken = "x"\n') == []
    assert faults(ran.json, table + "team = 3\n[plugin.pager]\ntokn = 3\n") == ["destination.x", "plugin.pager"]
    assert sodarouter("schema", "pager/~1 %41").json["properties"]["team"]["description"] == "Whom to wake."


def test_a_plugin_that_cannot_be_made_is_told_and_the_rest_is_printed(sodarouter, tmp_path, pager):
    (tmp_path / "router.toml").write_text("[half a file")
    ran = sodarouter("schema")
    assert ran.err == (
        "sodarouter: left out: plugin pager (acme-pager 1.0): its options have faults, which sodarouter check tells\n"
    )
    assert faults(ran.json, TABLE + '[plugin.pager]\ntoken = "x"\n') == []
    assert faults(ran.json, '[destination.x]\ntype = "pager/~1 %41"\n') == ["destination.x"]
