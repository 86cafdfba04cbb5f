"""A configuration of several files: what each may hold, how they become one, and where its faults are told."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from commandline import Command
from hypothesis import given
from hypothesis import strategies as st
from running import LISTEN, SOURCE, router_process, running_router

from sodarouter.config import Config, destination_types, load, load_table
from sodarouter.config.origins import Origins
from sodarouter.config.tables import Spool
from sodarouter.errors import ConfigError, Fault
from sodarouter.faults import dotted

INCLUDE = 'include = ["router.d/*.toml"]\n'
FILE = '[destination.{0}]\ntype = "file"\npath = "{0}.jsonl"\n'
TO = '[[route]]\nto = ["{0}"]\n'
BODY = b'{"event": "checkEvaluation"}'

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes ``router.toml`` with a source, and the files that are named beside it. Gives its path."""

    def written(main: str, files: dict[str, str | bytes] | None = None) -> Path:
        for name, text in {"router.toml": main + SOURCE, **(files or {})}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode() if isinstance(text, str) else text)
        return tmp_path / "router.toml"

    return written


def to(name: str) -> str:
    return FILE.format(name) + TO.format(name)


def faults(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(path)
    return list(map(str, raised.value.faults))


def warnings(config: Config) -> list[str]:
    return [str(warning) for warning in config.warnings if "nothing is verified" not in warning.fault]


# --- which files ------------------------------------------------------------------------------------------------------


def test_the_main_file_comes_first_and_the_others_in_the_order_of_their_paths(write: Write) -> None:
    config = load(
        write(
            'include = ["late/*.toml", "router.d/**/*.toml", "one.toml"]\n' + to("main"),
            {
                "router.d/b.toml": to("b"),
                "router.d/a/z.toml": to("z"),
                "router.d/a.toml": to("a"),
                "router.d/.hidden.toml": to("hidden"),
                "router.d/notes.txt": "no TOML",
                "late/x.toml": to("x"),
                "one.toml": to("one"),
            },
        )
    )
    order = ["main", "x", "one", "z", "a", "b"]
    assert [name for route in config.file.route for name in route.to] == order
    assert [one.name for one in config.destinations] == list(config.file.destination) == order
    assert [rule.to for rule in config.rules.rules] == [(name,) for name in order]
    assert [path.name for path in config.files] == ["router.toml", "x.toml", "one.toml", "z.toml", "a.toml", "b.toml"]


def test_a_pattern_may_fit_nothing_not_even_a_folder(write: Write) -> None:
    assert len(load(write(INCLUDE + to("main"))).files) == 1


def test_a_file_that_is_named_and_not_there_is_a_fault(write: Write) -> None:
    named = 'include = ["router.d/salse.toml", "router.d/pay.toml", "gone/x.toml"]\n'
    path = write(named, {"router.d/sales.toml": to("sales")})
    there_is_none = "cannot be read: no such file or directory"
    assert faults(path) == [
        f"router.toml: include[0]: 'router.d/salse.toml' {there_is_none}; did you mean 'sales.toml'?",
        f"router.toml: include[1]: 'router.d/pay.toml' {there_is_none}",
        f"router.toml: include[2]: 'gone/x.toml' {there_is_none}",
    ]


def test_what_cannot_be_a_path_is_a_fault(write: Write) -> None:
    path = write('include = ["a\\u0000", "router.toml/*.toml", ""]\n')
    assert faults(path) == [
        "router.toml: include[0]: 'a\\x00' cannot be read: no path is written like this",
        "router.toml: include[1]: 'router.toml/*.toml' cannot be read: not a directory",
        "router.toml: include[2]: must not be empty",
    ]


def test_one_file_is_read_once_and_the_main_one_is_not_included(write: Write) -> None:
    config = load(write('include = ["*.toml", "sales.toml", "./sales.toml"]\n', {"sales.toml": to("sales")}))
    assert [path.name for path in config.files] == ["router.toml", "sales.toml"]


def test_folders_are_no_files_and_a_link_that_leads_nowhere_is_a_fault(write: Write, tmp_path: Path) -> None:
    path = write('include = ["router.d/*"]\n', {"router.d/sub/sales.toml": to("sales")})
    assert len(load(path).files) == 1
    (tmp_path / "router.d/team.toml").symlink_to("gone.toml")
    assert faults(path) == ["router.d/team.toml: cannot be read: no such file or directory"]


def test_a_file_elsewhere_is_called_by_its_whole_path(write: Write, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere).mkdir()
    (elsewhere / "sales.toml").write_text("[destinatoin.x]\n")
    (tmp_path / "here").mkdir()
    path = tmp_path / "here/router.toml"
    path.write_text(f'include = ["{elsewhere}/*.toml"]\n' + SOURCE)
    assert faults(path) == [f"{elsewhere}/sales.toml: destinatoin: unknown key; did you mean 'destination'?"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_listed_is_not_passed_over(write: Write, tmp_path: Path) -> None:
    path = write(INCLUDE, {"router.d/sales.toml": to("sales")})
    (tmp_path / "router.d").chmod(0o300)
    try:
        assert faults(path) == ["router.toml: include[0]: 'router.d/*.toml' cannot be read: permission denied"]
    finally:
        (tmp_path / "router.d").chmod(0o700)


# --- what they hold, and where faults are told ------------------------------------------------------------------------


def test_a_fault_is_told_with_its_file_and_its_place_in_it(write: Write) -> None:
    path = write(INCLUDE + to("oncall"), {"router.d/a.toml": to("a"), "router.d/sales.toml": TO.format("oncal")})
    assert faults(path) == ["router.d/sales.toml: route[0].to: there is no destination 'oncal'; did you mean 'oncall'?"]


def test_a_warning_is_told_with_its_file_and_its_place_in_it(write: Write) -> None:
    sales = FILE.format("sales") + '[[route]]\nto = ["main"]\nmatch = { severity = "hihg" }\n'
    config = load(write(INCLUDE + FILE.format("main"), {"router.d/sales.toml": sales}))
    assert warnings(config) == [
        "router.d/sales.toml: route[0].match.severity: there is no severity 'hihg'; did you mean 'high'?",
        "router.d/sales.toml: destination.sales: no route sends anything to it",
    ]


def test_the_faults_of_all_files_are_told_at_once(write: Write) -> None:
    path = write(
        INCLUDE + '[log]\nlevel = "loud"\n' + TO.format("unknown-because-a-file-is-broken"),
        {
            "router.d/a.toml": "[destination\n",
            "router.d/b.toml": b"# \xff\n",
            "router.d/c.toml": '\n[destination.c]\ntype = "flie"\n[[rout]]\n',
            "router.d/d.toml": '[[route]]\nto = "d"\n[destination.d]\ntype = "file"\npath = "d"\ntimeout = 3\n',
        },
    )
    assert faults(path) == [
        "router.d/a.toml:1:13: is not TOML: expected ']' at the end of a table declaration",
        "router.d/b.toml: is not UTF-8 at byte 2",
        "router.toml: log.level: must be 'debug', 'info', 'warning' or 'error'",
        "router.d/c.toml: rout: unknown key; did you mean 'route'?",
        'router.d/d.toml: route[0].to: must be a list; write ["…"]',
        "router.d/c.toml: destination.c.type: no plugin offers 'flie'; did you mean 'file'?",
        'router.d/d.toml: destination.d.timeout: a duration is written like "30s", "5m", "1h 30m" or "7d", not 3',
    ]


def test_what_belongs_to_the_whole_router_stands_in_the_main_file(write: Write) -> None:
    sales = (
        'include = ["x"]\n[server]\n[spool]\n[source.x]\n[plugins]\n[plugin.x]\n[unrouted]\n[log]\n[admin]\n[spol]\n'
    )
    assert faults(write(INCLUDE, {"router.d/sales.toml": sales})) == [
        *(
            f"router.d/sales.toml: {key}: an included file cannot have it; put it into router.toml"
            for key in ("include", "server", "spool", "source", "plugins", "plugin", "unrouted", "log", "admin")
        ),
        "router.d/sales.toml: spol: unknown key; did you mean 'spool'?",
    ]


def test_a_destination_that_two_files_define_names_both(write: Write) -> None:
    path = write(
        INCLUDE + FILE.format("a"), {"router.d/x.toml": FILE.format("b"), "router.d/y.toml": to("a") + to("b")}
    )
    assert faults(path) == [
        "router.d/y.toml: destination.a: router.toml has one of this name too; rename one of them",
        "router.d/y.toml: destination.b: router.d/x.toml has one of this name too; rename one of them",
    ]


def test_where_a_table_is_broken_its_names_are_not_told_to_be_missing(write: Write) -> None:
    main = 'inclde = ["router.d/*.toml"]\n' + TO.format("sales")
    assert faults(write(main, {"router.d/sales.toml": FILE.format("sales")})) == [
        "router.toml: inclde: unknown key; did you mean 'include'?"
    ]
    assert faults(write('include = "router.d/*.toml"\n' + TO.format("sales"))) == [
        'router.toml: include: must be a list; write ["…"]'
    ]


def test_paths_and_the_files_of_secrets_start_at_the_folder_of_their_own_file(write: Write, tmp_path: Path) -> None:
    hook = '[destination.hook]\ntype = "forward"\nurl = { file = "hook" }\n'
    path = write(
        INCLUDE + FILE.format("main"),
        {"router.d/sales.toml": FILE.format("sales") + hook, "router.d/hook": "https://example.org/h00k\n"},
    )
    config = load(path)
    main, sales, hooked = config.destinations
    assert main.options.path == tmp_path / "main.jsonl"
    assert sales.options.path == tmp_path / "router.d/sales.jsonl"
    assert hooked.options.url.get_secret_value() == "https://example.org/h00k"
    assert "h00k" not in config.redact("https://example.org/h00k")


def test_a_secret_of_one_file_is_in_no_fault_of_another(write: Write) -> None:
    secret = "canary-3f9d-of-some-length"
    hook = f'[destination.hook]\ntype = "forward"\nurl = "https://example.org/{secret}"\n'
    told = faults(write(INCLUDE + hook, {"router.d/sales.toml": TO.format(f"https://example.org/{secret}")}))
    assert len(told) == 1
    assert secret not in told[0]


# --- what the rest of the router sees of it ---------------------------------------------------------------------------


def test_the_hash_changes_with_every_file_and_is_that_of_the_file_if_there_is_one(write: Write, tmp_path: Path) -> None:
    alone = load(write(to("main"))).hash
    changes = [{}, {"router.d/a.toml": "[destination]\n"}, {"router.d/a.toml": "[destination]\n# another\n"}]
    hashes = [load(write(INCLUDE + to("main"), change)).hash for change in changes]
    (tmp_path / "router.d/a.toml").rename(tmp_path / "router.d/b.toml")
    hashes.append(load(tmp_path / "router.toml").hash)
    assert len({alone, *hashes}) == 5
    assert load(tmp_path / "router.toml").hash == hashes[-1]


def test_commands_that_only_look_see_the_destinations_of_all_files(write: Write) -> None:
    main = INCLUDE + FILE.format("main") + '[spool]\npath = "x.db"\n'
    path = write(main, {"router.d/sales.toml": '[destination.sales]\ntype = "flie"\n[server]\n'})
    assert destination_types(path) == {"main": "file", "sales": "flie"}
    path = write(main, {"router.d/sales.toml": "nonsense"})
    with pytest.raises(ConfigError, match=r"router\.d/sales\.toml:1:9: is not TOML"):
        destination_types(path)
    # what no included file can have is found without them
    assert load_table(path, "spool", Spool).path == path.parent / "x.db"


@pytest.mark.parametrize(("count", "said"), [(0, ""), (1, " and 1 other file"), (2, " and 2 other files")])
def test_check_counts_what_is_in_all_files(write: Write, sodarouter: Command, count: int, said: str) -> None:
    write(INCLUDE + to("main"), {f"router.d/{number}.toml": to(f"d{number}") for number in range(count)})
    ran = sodarouter("check")
    things = "s" * (count > 0)
    last = ran.out.splitlines()[-1]
    assert last == f"router.toml{said}: ok: 1 source, {count + 1} destination{things}, {count + 1} route{things}"


async def test_a_changed_include_is_another_configuration_after_a_reload(tmp_path: Path) -> None:
    (tmp_path / "router.d").mkdir()
    sales = tmp_path / "router.d/sales.toml"
    sales.write_text(to("sales"))
    main = to("main")
    async with running_router(tmp_path, main, listen=INCLUDE + LISTEN) as router:
        await router.post(BODY)
        before = {delivery.destination: delivery.config for delivery in await router.until_settled()}
        assert before.keys() == {"main", "sales"}
        # a bad file of a team changes nothing, and the fault says whose it is
        sales.write_text(to("sales").replace('to = ["sales"]', 'to = ["slaes"]'))
        (fault,) = await router.bound.reload()
        assert str(fault) == "router.d/sales.toml: route[0].to: there is no destination 'slaes'; did you mean 'sales'?"
        shown = (await router.admin.get("/readyz")).json()["config"]["last_reload"]["faults"]
        assert shown == [str(fault)]
        sales.write_text(FILE.format("other") + TO.format("other"))
        assert await router.bound.reload() == ()
        await router.post(BODY.replace(b"}", b', "number": 2}'))
        newest, *_ = await router.until_settled()
        assert newest.destination == "other"
        assert newest.config not in before.values()
        assert (tmp_path / "router.d/other.jsonl").read_text().count("\n") == 1


async def test_a_destination_that_cannot_be_opened_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "router.d").mkdir()
    async with running_router(tmp_path, to("main"), listen=INCLUDE + LISTEN) as router:
        (tmp_path / "router.d/sales.toml").write_text('[destination.sales]\ntype = "file"\npath = "/proc/no/file"\n')
        (fault,) = await router.bound.reload()
        assert fault.place == "router.d/sales.toml: destination.sales"


async def test_a_destination_that_moves_to_another_file_stays_open(tmp_path: Path) -> None:
    """The same keys, wherever they stand, are the same destination: what is under way and what it holds is not lost."""
    table = f'[destination.log]\ntype = "file"\npath = "{tmp_path}/log.jsonl"\n' + TO.format("log")
    async with running_router(tmp_path, table, listen=INCLUDE + LISTEN) as router:
        (tmp_path / "router.toml").write_text(INCLUDE + LISTEN + SOURCE)
        (tmp_path / "router.d").mkdir()
        (tmp_path / "router.d/sales.toml").write_text(table)
        (tmp_path / "log.jsonl").unlink()
        assert await router.bound.reload() == ()
        assert not (tmp_path / "log.jsonl").exists(), "it was opened again"


def test_sighup_reads_the_included_files_again(tmp_path: Path) -> None:
    (tmp_path / "router.d").mkdir()
    (tmp_path / "router.toml").write_text(INCLUDE + LISTEN + SOURCE)
    with router_process(tmp_path) as process:
        (tmp_path / "router.d/sales.toml").write_text(to("sales"))
        process.popen.send_signal(signal.SIGHUP)
        process.until_logged("another configuration is in place")
        (tmp_path / "router.d/other.toml").write_text("[destination.x]\n")
        process.popen.send_signal(signal.SIGHUP)
        process.until_logged("the configuration cannot be used")
        assert "router.d/other.toml: destination.x.type: is missing" in process.log
        answer = httpx2.post(f"{process.url}/webhooks/soda", content=BODY, trust_env=False)
        assert answer.status_code == 200
        assert process.end(signal.SIGTERM) == 0
    assert (tmp_path / "router.d/sales.jsonl").exists()


# --- origins ----------------------------------------------------------------------------------------------------------

STEPS = st.lists(st.one_of(st.integers(0, 99), st.text(min_size=1, max_size=5)), max_size=4)


@given(name=st.text(min_size=1, max_size=8), below=STEPS)
def test_what_is_below_a_place_is_where_that_is(name: str, below: list[str | int]) -> None:
    """Whatever a key is called, with quotes and brackets and points."""
    there = Origins("there.toml")
    here = Origins("here.toml")
    here.put(dotted(["destination", name]), there, "destination.moved")
    here.put("route[1]", there, "route[0]")
    inner = dotted(["x"], below)[1:]
    assert here.of(dotted(["destination", name], below)) == f"there.toml: destination.moved{inner}"
    assert here.of(dotted(["route", 1], below)) == f"there.toml: route[0]{inner}"
    assert here.of(dotted(["route", 11], below)) == f"here.toml: route[11]{inner}"
    assert here.told(Fault("route[1]", "x", "y")) == Fault("there.toml: route[0]", "x", "y")
