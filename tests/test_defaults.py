"""What destinations and routes inherit, from which file, and where what is wrong with it is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import LISTEN, SOURCE, running_router

from sodarouter.config import Config, load
from sodarouter.config.defaults import lay_defaults
from sodarouter.config.document import Document
from sodarouter.config.origins import Origins
from sodarouter.decide.match import Conditions
from sodarouter.errors import ConfigError
from sodarouter.options import Place

INCLUDE = 'include = ["router.d/*.toml"]\n'
MAIL = '[destination.{0}]\ntype = "email"\nfrom = "a@example.org"\nto = ["b@example.org"]\n'
FILE = '[destination.{0}]\ntype = "file"\npath = "{0}.jsonl"\n'
LOG = FILE.format("log")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes ``router.toml`` with a source, and ``router.d/sales.toml``. Gives the path of the first."""

    def written(main: str, sales: str | None = None) -> Path:
        (tmp_path / "router.toml").write_text(main + SOURCE, encoding="utf-8")
        (tmp_path / "router.d").mkdir(exist_ok=True)
        if sales is not None:
            (tmp_path / "router.d/sales.toml").write_text(sales, encoding="utf-8")
        return tmp_path / "router.toml"

    return written


def faults(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(path)
    return list(map(str, raised.value.faults))


def tables(config: Config) -> dict[str, Any]:
    return {one.name: one.table for one in config.destinations}


def options(config: Config) -> dict[str, Any]:
    return {one.name: one.options for one in config.destinations}


# --- destinations -----------------------------------------------------------------------------------------------------


def test_a_destination_has_what_it_does_not_say_itself_from_the_defaults(write: Write) -> None:
    defaults = (
        '[defaults.destination]\ntimeout = "10s"\nconcurrency = 3\n[defaults.type.email]\nhost = "smtp.example.org"\n'
    )
    config = load(write(defaults + MAIL.format("a") + MAIL.format("b") + 'host = "b"\ntimeout = "5s"\n' + LOG))
    assert [(one.timeout, one.concurrency) for one in tables(config).values()] == [(10.0, 3), (5.0, 3), (10.0, 3)]
    assert [options(config)[name].host for name in "ab"] == ["smtp.example.org", "b"]


def test_the_defaults_of_a_type_may_have_the_keys_of_every_destination_and_go_before_those(write: Write) -> None:
    defaults = '[defaults.destination]\ntimeout = "10s"\n[defaults.type.file]\ntimeout = "1s"\nfsync = true\n'
    config = load(write(defaults + '[defaults.type.email]\nhost = "h"\n' + LOG + MAIL.format("mail")))
    assert (tables(config)["log"].timeout, tables(config)["mail"].timeout) == (1.0, 10.0)
    assert options(config)["log"].fsync


def test_a_table_within_a_table_is_replaced_whole(write: Write) -> None:
    defaults = '[defaults.destination]\nretry = { max_attempts = 3, max_age = "1h" }\n'
    config = load(write(defaults + LOG + 'retry = { delays = ["1s"] }\n' + FILE.format("other")))
    log, other = tables(config).values()
    assert (log.retry.delays, log.retry.max_age) == ([1.0], 86_400.0)
    assert (other.retry.max_attempts, other.retry.max_age) == (3, 3600.0)


def test_the_defaults_of_the_main_file_are_for_all_and_those_of_another_for_itself_and_over_them(write: Write) -> None:
    main = '[defaults.destination]\ntimeout = "10s"\nconcurrency = 3\n[defaults.type.file]\ntimeout = "1s"\n'
    sales = '[defaults.destination]\ntimeout = "20s"\n'
    config = load(write(INCLUDE + main + LOG, sales + FILE.format("sales")))
    log, sold = tables(config).values()
    assert (log.timeout, log.concurrency) == (1.0, 3)
    assert (sold.timeout, sold.concurrency) == (20.0, 3)


def test_at_most_once_takes_no_retry_that_is_only_inherited(write: Write) -> None:
    defaults = "[defaults.destination]\nretry = { max_attempts = 3 }\n"
    config = load(write(defaults + LOG + 'mode = "at-most-once"\n' + FILE.format("other")))
    log, other = tables(config).values()
    assert (log.mode, other.retry.max_attempts) == ("at-most-once", 3)
    mode = '[defaults.destination]\nmode = "at-most-once"\n'
    assert faults(write(mode + LOG + "retry = { max_attempts = 3 }\n")) == [
        'router.toml: destination.log: mode = "at-most-once" has nothing to retry; leave retry out'
    ]


def test_a_fallback_that_leads_back_is_not_inherited(write: Write) -> None:
    defaults = '[defaults.destination]\nfallback = "first"\n'
    chain = FILE.format("first") + 'fallback = "second"\n' + FILE.format("second")
    config = load(write(defaults + LOG + chain))
    assert {name: table.fallback for name, table in tables(config).items()} == {
        "log": "first",
        "first": "second",
        "second": None,
    }
    assert not [warning for warning in config.warnings if "first" in warning.place]
    # but what destinations say themselves is a circle still
    circle = FILE.format("first") + 'fallback = "second"\n' + FILE.format("second") + 'fallback = "first"\n'
    assert faults(write(defaults + circle)) == [
        "router.toml: destination.first.fallback: goes in a circle: first, second, first; leave one of them out"
    ]


# --- routes -----------------------------------------------------------------------------------------------------------


def test_a_route_inherits_its_keys_and_of_its_match_each_by_itself(write: Write) -> None:
    main = '[defaults.route]\nto = ["log"]\nmatch = { source = "soda", outcome = "fail", not = { tag = "x" } }\n' + LOG
    sales = '[defaults.route]\nstop = true\nmatch = { dataset = "sales*" }\n'
    routes = '[[route]]\n[[route]]\nmatch = { outcome = "warn", not = { owner = "y" } }\nto = ["sales"]\nstop = false\n'
    config = load(write(INCLUDE + main + "[[route]]\n", sales + FILE.format("sales") + routes))
    plain, first, second = config.file.route
    assert (plain.to, plain.stop, plain.match.dataset) == (["log"], False, None)
    assert (first.to, first.stop) == (["log"], True)
    assert (first.match.source, first.match.outcome, first.match.dataset) == (["soda"], ["fail"], ["sales*"])
    assert (second.to, second.stop) == (["sales"], False)
    assert (second.match.source, second.match.outcome, second.match.dataset) == (["soda"], ["warn"], ["sales*"])
    assert first.match.not_ == Conditions(tag=["x"])
    assert second.match.not_ == Conditions(owner=["y"])


async def test_events_go_as_the_inherited_conditions_say(tmp_path: Path) -> None:
    (tmp_path / "router.d").mkdir()
    (tmp_path / "router.d/sales.toml").write_text(
        '[defaults.route]\nto = ["sales"]\nmatch = { source = "soda" }\n[[route]]\nmatch = { event = "incident*" }\n'
        '[[route]]\nmatch = { source = "other" }\nto = ["log"]\n' + FILE.format("sales")
    )
    async with running_router(tmp_path, LOG, listen=INCLUDE + LISTEN) as router:
        for event in ("incidentCreated", "checkEvaluation"):
            await router.post(f'{{"event": "{event}"}}'.encode())
        (delivery,) = await router.until_settled()
        assert (delivery.destination, router.reader.event(delivery.event).event.type) == ("sales", "incidentCreated")


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_fault_in_a_default_is_told_once_with_its_own_place(write: Write) -> None:
    main = (
        '[defaults.destination]\ntimeout = "10x"\nretry = { max_atempts = 3 }\nfallback = "lgo"\n'
        "[defaults.type.file]\nfsync = 1\n"
        '[defaults.route]\nto = ["lgo"]\nmatch = { outcome = 3 }\n'
    )
    two = "[[route]]\n[[route]]\n"
    assert faults(write(INCLUDE + main + LOG + two, FILE.format("sales") + two)) == [
        "router.toml: defaults.route.match.outcome: a pattern is text, or a list of texts",
        'router.toml: defaults.destination.timeout: a duration is written like "30s", "5m", "1h 30m" or "7d", not \'10x\'',
        "router.toml: defaults.destination.retry.max_atempts: unknown key; did you mean 'max_attempts'?",
        "router.toml: defaults.type.file.fsync: must be true or false",
        "router.toml: defaults.route.to: there is no destination 'lgo'; did you mean 'log'?",
        "router.toml: defaults.destination.fallback: there is no destination 'lgo'; did you mean 'log'?",
    ]


def test_what_shows_only_between_tables_is_told_where_it_was_written(write: Write) -> None:
    main = '[defaults.route]\nto = ["lgo", "sale"]\nmatch = { severity = "hihg" }\n'
    path = write(INCLUDE + main + LOG + "[[route]]\n[[route]]\n", FILE.format("sales") + "[[route]]\n")
    assert faults(path) == [
        "router.toml: defaults.route.to: there is no destination 'lgo'; did you mean 'log'?",
        "router.toml: defaults.route.to: there is no destination 'sale'; did you mean 'sales'?",
    ]
    path.write_text(path.read_text().replace('"lgo", "sale"', '"log", "sales"'))
    assert [str(warning) for warning in load(path).warnings][1:] == [
        "router.toml: defaults.route.match.severity: there is no severity 'hihg'; did you mean 'high'?"
    ]


def test_a_default_that_nothing_inherits_is_checked_too(write: Write) -> None:
    sales = '[defaults.destination]\nconcurrency = "3"\n[defaults.type.file]\npth = "x"\n[defaults.route]\nstop = 1\n'
    assert faults(write(INCLUDE, sales)) == [
        "router.d/sales.toml: defaults.route.stop: must be true or false",
        "router.d/sales.toml: defaults.destination.concurrency: must be a whole number",
        "router.d/sales.toml: defaults.type.file.pth: unknown key; did you mean 'path'?",
    ]


def test_defaults_need_not_be_whole_nor_fit_together_by_themselves(write: Write) -> None:
    main = '[defaults.type.email]\nusername = "me"\n[defaults.type.file]\npath = "x"\nkeep = 3\n'
    login = 'host = "h"\npassword = "t0ken-of-some-length"\n'
    config = load(
        write(main + MAIL.format("mail") + login + '[destination.log]\ntype = "file"\nrotate_size = "1 MiB"\n')
    )
    assert options(config)["mail"].username == "me"
    assert options(config)["log"].keep == 3


def test_what_lacks_because_of_a_misspelt_default_is_not_told(write: Write) -> None:
    tables = MAIL.format("a") + MAIL.format("b") + LOG + "[[route]]\n"
    good = '[{0}.type.email]\nhost = "h"\n[{0}.route]\nto = ["log"]\n'.format("defaults")
    load(write(good + tables))
    for old, new, told in (
        ("defaults", "defualts", "defualts: unknown key; did you mean 'defaults'?"),
        ("type", "tpye", "defaults.tpye: unknown key; did you mean 'type'?"),
        ("route", "rote", "defaults.rote: unknown key; did you mean 'route'?"),
        ("email", "emial", "defaults.type.emial: no plugin offers 'emial'; did you mean 'email'?"),
        ("host", "hots", "defaults.type.email.hots: unknown key; did you mean 'host'?"),
    ):
        assert faults(write(good.replace(old, new) + tables)) == [f"router.toml: {told}"]
    assert faults(write(good.replace('to = ["log"]', "") + tables)) == ["router.toml: route[0].to: is missing"]


@pytest.mark.parametrize(
    ("defaults", "told"),
    [
        ('destination = { type = "file" }', "destination.type: cannot be inherited; each destination has its own"),
        ('type.file = { type = "file" }', "type.file.type: cannot be inherited; each destination has its own"),
        ('route = { name = "x" }', "route.name: cannot be inherited; each route has its own"),
        ('destination = { name = "x" }', "destination.name: unknown key"),
        (
            'destination = { host = "x" }',
            "destination.host: is no key of every destination; write it under [defaults.type.email]",
        ),
        ("destination = 3", "destination: must be a table"),
        ("type = 3", "type: must be a table"),
        ("type.file = 3", "type.file: must be a table"),
        ("route = []", "route: must be a table"),
        ('route = { match = "x" }', "route.match: must be a table"),
        ("email = {}", "email: unknown key"),
    ],
)
def test_what_cannot_be_a_default_is_told(write: Write, defaults: str, told: str) -> None:
    path = write(f"[defaults]\n{defaults}\n" + LOG + '[[route]]\nto = ["log"]\n')
    assert faults(path) == [f"router.toml: defaults.{told}"]


# --- paths ------------------------------------------------------------------------------------------------------------


def test_an_inherited_path_starts_at_the_folder_of_the_file_in_which_it_is_written(
    write: Write, tmp_path: Path
) -> None:
    main = '[defaults.type.forward]\nurl = { file = "hook" }\n[defaults.type.file]\npath = "default.jsonl"\n'
    hook = '[destination.hook]\ntype = "forward"\n'
    (tmp_path / "hook").write_text("https://example.org/hook\n")
    config = load(write(INCLUDE + main, hook + '[destination.log]\ntype = "file"\n' + FILE.format("own")))
    assert options(config)["hook"].url.get_secret_value() == "https://example.org/hook"
    assert options(config)["log"].path == tmp_path / "default.jsonl"
    assert options(config)["own"].path == tmp_path / "router.d/own.jsonl"


def test_what_is_inherited_from_another_file_is_as_if_it_were_written_there(write: Write) -> None:
    keys = (
        'host = "h"\nfrom = "Soda <a@example.org>"\nto = ["$owners", "b@example.org"]\ntls = "none"\nsmtp_timeout = "3s"\n'
        'mode = "at-least-once"\nrate = { limit = "10/s" }\nbreaker = "off"\norder_by = "incident"\n'
        'retry = { delays = ["1s", "2s"] }\nsubject = "{{ event.type }}"\ndomains = ["example.org"]\n'
    )
    bare = '[destination.mail]\ntype = "email"\n'
    (inherited,) = load(write(INCLUDE + "[defaults.type.email]\n" + keys, bare)).destinations
    (own,) = load(write(INCLUDE, bare + keys)).destinations
    assert inherited == own
    assert type(inherited.options.host) is str  # type: ignore[attr-defined]  # those of any type have it in this test


# --- in general -------------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(["timeout", "rate", "concurrency", "order_by"])
VALUES = st.integers(0, 9)
LAYER = st.dictionaries(KEYS, VALUES)


def document(name: str, table: dict[str, Any]) -> Document:
    return Document(Path(name), b"", table, Place(), Origins(name))


@given(main=LAYER, main_type=LAYER, sales=LAYER, sales_type=LAYER, own=LAYER)
def test_of_every_key_the_nearest_value_holds_and_faults_find_it(
    main: dict[str, int],
    main_type: dict[str, int],
    sales: dict[str, int],
    sales_type: dict[str, int],
    own: dict[str, int],
) -> None:
    layers = [
        (main, "main: defaults.destination"),
        (main_type, "main: defaults.type.file"),
        (sales, "sales: defaults.destination"),
        (sales_type, "sales: defaults.type.file"),
        (own, "sales: destination.x"),
    ]
    first = document("main", {"defaults": {"destination": main, "type": {"file": main_type}}})
    second = document(
        "sales",
        {
            "defaults": {"destination": sales, "type": {"file": sales_type, "email": {"timeout": -1}}},
            "destination": {"x": {"type": "file", **own}},
        },
    )
    lay_defaults([first, second])
    found = second.table["destination"]["x"]
    assert found.keys() == {"type"}.union(*(layer for layer, _ in layers))
    for key in found.keys() - {"type"}:
        *_, (layer, place) = [(layer, place) for layer, place in layers if key in layer]
        assert found[key] == layer[key]
        assert second.origins.of(f"destination.x.{key}") == f"{place}.{key}"
