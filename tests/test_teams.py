"""Who owns what: which team a dataset is found to be of, and the files that say so."""

from pathlib import Path
from typing import Any

import pytest
from running import LISTEN, SOURCE, running_router
from sink import open_sink
from support import make_event

from sodarouter.config import Config, load
from sodarouter.decide import Teams, TeamTable
from sodarouter.errors import ConfigError
from sodarouter.view import Contract, Dataset, Person, Team


def teams(*tables: dict[str, Any]) -> Teams:
    return Teams([TeamTable.model_validate(table) for table in tables])


def owner(dataset: Dataset, *tables: dict[str, Any]) -> str | None:
    found = teams(*tables).of(dataset)
    return found.name if found else None


def named(name: str, **match: Any) -> dict[str, Any]:
    return {"name": name, "match": match}


ORDERS = Dataset(
    name="orders",
    label="Orders",
    datasource="prod",
    owners=(Person(email="Ann@Example.org", name="Ann"),),
    tags=("pii",),
    attributes={"domain": ["Sales", "Core"], "tier": 1, "gold": True},
)


@pytest.mark.parametrize(
    "match",
    [
        {},
        {"dataset": "orders"},
        {"dataset": ["x", "prod/*"]},
        {"dataset": "Orders"},
        {"datasource": "p*d"},
        {"owner": "ANN@example.ORG"},
        {"owner": "ann"},
        {"tag": "pii"},
        {"attribute": {"domain": "Core", "tier": "1", "gold": "true"}},
        {"dataset": "orders", "not": {"tag": "old"}},
    ],
)
def test_a_dataset_is_of_the_team_that_it_fits(match: dict[str, Any]) -> None:
    assert owner(ORDERS, named("sales", **match)) == "sales"


@pytest.mark.parametrize(
    "match",
    [
        {"dataset": "order"},
        {"dataset": "orders", "datasource": "stage"},
        {"attribute": {"domain": "Core", "tier": "2"}},
        {"attribute": {"nothing": "*"}},
        {"not": {"owner": "ann*"}},
        {"dataset": "orders", "not": {"attribute": {"gold": "true"}}},
    ],
)
def test_a_dataset_that_does_not_fit_is_of_no_team(match: dict[str, Any]) -> None:
    assert owner(ORDERS, named("sales", **match)) is None


def test_the_first_table_that_fits_counts() -> None:
    every = [named("one", tag="none"), named("two", dataset="o*"), named("three", dataset="orders")]
    assert owner(ORDERS, *every) == "two"
    assert owner(ORDERS, *reversed(every)) == "three"


def test_a_contract_is_of_the_team_of_its_dataset() -> None:
    found = teams(named("owned", owner="*"), named("sales", datasource="prod", dataset="prod/*/orders"))
    team = found.of_contract(Contract(dataset="prod/shop/orders"))
    assert team is not None
    assert team.name == "sales"
    assert found.of_contract(Contract()) is None


def test_tables_of_one_name_are_one_team_and_what_one_leaves_out_another_says() -> None:
    found = teams(
        {"name": "sales", "match": {"dataset": "a"}, "runbook": "https://x.example/a"},
        {"name": "sales", "match": {"dataset": "b"}, "channel": "#sales"},
        {"name": "sales", "match": {"dataset": "c"}, "channel": "#c", "recipients": "ann@example.org"},
        {"name": "other", "match": {"dataset": "d"}},
    )
    known = [found.of(Dataset(name=name)) for name in "abcd"]
    assert known == [
        Team("sales", "#sales", ("ann@example.org",), "https://x.example/a"),
        Team("sales", "#sales", ("ann@example.org",), "https://x.example/a"),
        Team("sales", "#c", ("ann@example.org",), "https://x.example/a"),
        Team("other"),
    ]


def test_a_view_is_enriched_everywhere_a_dataset_stands() -> None:
    found = teams(named("sales", dataset="ecommerce_orders"))
    for sample in ("v4-2026-checkEvaluation", "v4-2025-08-incidentCreated", "v4-2025-08-contractPublished"):
        view = make_event(sample, enrich=found.enrich).view
        assert [team.name for team in view.teams] == ["sales"], sample
    assert make_event("v3-agreementCreated", enrich=found.enrich).view.teams == ()
    view = make_event().view
    assert teams().enrich(view) is view


# --- files


def config(folder: Path, *, main: str = "", **files: str | bytes) -> Config:
    """A configuration with files of teams: ``teams_csv`` is ``teams.csv``."""
    paths = {name.replace("_", "."): content for name, content in files.items()}
    for name, content in paths.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    said = f"[teams]\nfiles = {list(paths)}\n"
    (folder / "router.toml").write_text(LISTEN + SOURCE + said + main, encoding="utf-8")
    return load(folder / "router.toml")


def test_a_csv_file_has_a_row_for_each_table(tmp_path: Path) -> None:
    text = (
        "team , dataset,attribute.domain,owner,tag,datasource,channel,recipients,runbook\r\n"
        "sales,sales_*;prod/orders ,,,,,#sales,ann@example.org; bob@example.org,https://x.example/sales\r\n"
        '"core, and more",,"Core;Base",,,,,,\r\n'
        ",,,,,,,,\r\n"
        "\r\n"
        "rest,,,Ann@example.org,pii,prod,,,\r\n"
    )
    for content in (text.encode(), text.encode("utf-8-sig"), text.replace("\r\n", "\n").encode()):
        one, two, three = config(tmp_path, teams_csv=content).routing.team
        assert one.model_dump(by_alias=True, exclude_defaults=True) == {
            "name": "sales",
            "match": {"dataset": ["sales_*", "prod/orders"]},
            "channel": "#sales",
            "recipients": ["ann@example.org", "bob@example.org"],
            "runbook": "https://x.example/sales",
        }
        assert (two.name, two.match.attribute) == ("core, and more", {"domain": ["Core", "Base"]})
        assert three.match.model_dump(exclude_none=True) == {
            "owner": ["Ann@example.org"],
            "tag": ["pii"],
            "datasource": ["prod"],
        }


def test_teams_of_files_come_after_those_of_the_configuration_in_the_order_of_the_files(tmp_path: Path) -> None:
    main = '[[team]]\nname = "first"\nmatch = { dataset = "a" }\n'
    found = config(
        tmp_path,
        main=main,
        b_toml='[[team]]\nname = "second"\nmatch = { dataset = "b", not = { tag = "x" } }\n',
        a_csv="team,dataset\nthird,c\n",
    )
    assert [team.name for team in found.routing.team] == ["first", "second", "third"]
    assert [path.name for path in found.files] == ["router.toml", "b.toml", "a.csv"]
    before = found.hash
    assert config(tmp_path, main=main, b_toml="", a_csv="team,dataset\nthird,c\n").hash != before


def test_included_files_may_have_teams_and_windows(tmp_path: Path) -> None:
    (tmp_path / "sales.toml").write_text(
        '[[team]]\nname = "sales"\nmatch = { dataset = "s*" }\n[window.sundays]\ndays = "sun"\n'
        '[destination.log]\ntype = "file"\npath = "x"\n[[route]]\nmute = ["sundays"]\nto = ["log"]\n'
    )
    (tmp_path / "router.toml").write_text('include = ["sales.toml"]\n' + LISTEN + SOURCE)
    found = load(tmp_path / "router.toml")
    assert [team.name for team in found.routing.team] == ["sales"]
    assert list(found.routing.window) == ["sundays"]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["teams.csv:1: the column team is missing"]),
        (
            "team;dataset\nx;y\n",
            [
                "teams.csv:1: the columns have ';' between them; write commas: a cell with a comma in it is in quotes",
            ],
        ),
        ("team,datset\nx,y\n", ["teams.csv:1: there is no column 'datset'; did you mean 'dataset'?"]),
        ("team,dataset,dataset\n", ["teams.csv:1: the column 'dataset' is there 2 times"]),
        ("dataset\n*\n", ["teams.csv:1: the column team is missing"]),
        (
            "team,dataset\na,b,c\nd\n\ne,f\n",
            [
                'teams.csv:2: has 3 cells, and the first line has 2; a cell with a comma in it is written "in quotes"',
                'teams.csv:3: has 1 cell, and the first line has 2; a cell with a comma in it is written "in quotes"',
            ],
        ),
        (
            "team,dataset\n,x\ny,\nz, ; \n",
            [
                "teams.csv:2: does not say which team",
                'teams.csv:3: does not say which datasets; fill in a column, such as dataset; "*" is any',
                'teams.csv:4: does not say which datasets; fill in a column, such as dataset; "*" is any',
            ],
        ),
        (
            "team,dataset,recipients\na,*,ann\n",
            ["teams.csv:2: recipients[0]: 'ann' is not a mail address such as sales@example.org"],
        ),
        ('team,dataset\na,"b\nc,d\n', ["teams.csv:3: is not CSV: unexpected end of data"]),
        ("team,dataset\na," + "x" * 200_000, ["teams.csv:2: is not CSV: field larger than field limit (131072)"]),
        (b"team,dataset\n\xff,x\n", ["router.toml: teams.files[0]: teams.csv cannot be read: it is not UTF-8"]),
    ],
)
def test_a_fault_in_a_csv_file_has_the_file_and_the_line(tmp_path: Path, text: str | bytes, faults: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, teams_csv=text)
    assert [str(fault) for fault in caught.value.faults] == faults


def test_an_attribute_without_a_name_is_no_column(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"teams.csv:1: there is no column 'attribute.'; the columns are team, .*NAME"
    ):
        config(tmp_path, teams_csv="team,attribute.\n")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[team]]\nnam = 1\n", "teams.toml: team[0].nam: unknown key; did you mean 'name'?"),
        ('[[team]]\nname = "a"\nmatch = { outcome = "fail" }\n', "teams.toml: team[0].match.outcome: unknown key"),
        ("[[route]]\n", "teams.toml: route: unknown key"),
        ("team = [", "teams.toml:1:9: is not TOML"),
    ],
)
def test_a_fault_in_a_toml_file_has_the_file_and_the_place(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, teams_toml=text)
    assert any(str(one).startswith(fault) for one in caught.value.faults), caught.value


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text(LISTEN + SOURCE + '[teams]\nfiles = ["none.csv"]\n')
    with pytest.raises(ConfigError, match=r"teams.files\[0\]: none.csv cannot be read: no such file or directory"):
        load(tmp_path / "router.toml")


# --- end to end


BODY = {
    "event": "checkEvaluation",
    "checkResults": [
        {"name": name, "outcome": "fail", "datasets": [{"name": name}]}
        for name in ("sales_a", "core_a", "sales_b", "x")
    ],
}
TOML = """
    [teams]
    files = ["teams.csv"]
    [destination.chat]
    type = "forward"
    url = "%s"
    body = '''{"to": {{ (team.channel if team else "nobody") | tojson }},
        "what": {{ results | map(attribute="name") | list | tojson }}}'''
    [[route]]
    each = "team"
    to = ["chat"]
"""


async def test_each_team_is_told_of_its_own_results_and_a_reload_changes_who_that_is(tmp_path: Path) -> None:
    (tmp_path / "teams.csv").write_text("team,dataset,channel\nsales,sales_*,#sales\ncore,core_*,#core\n")
    async with open_sink() as sink, running_router(tmp_path, TOML % sink.url) as router:
        await router.post(make_event(BODY).raw)
        settled = await router.until_settled()
        bodies = sorted(request.body.replace(b"\n       ", b"") for request in sink.requests)
        assert bodies == [
            b'{"to": "#core", "what": ["core_a"]}',
            b'{"to": "#sales", "what": ["sales_a", "sales_b"]}',
            b'{"to": "nobody", "what": ["x"]}',
        ]
        keys = {request.headers["idempotency-key"] for request in sink.requests}
        assert keys == {one.id for one in settled}
        assert sorted((one.part, one.group) for one in settled) == [(1, "sales"), (2, "core"), (3, None)]
        (tmp_path / "teams.csv").write_text("team,dataset,channel\nall,*,#all\n")
        assert await router.bound.reload() == ()
        await router.post(make_event(BODY | {"n": 2}).raw)
        await router.until_settled()
        assert b"#all" in sink.requests[-1].body
        assert len(sink.requests) == 4
