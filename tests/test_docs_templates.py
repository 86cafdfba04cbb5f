"""The page about templates shows what its examples give."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from support import make_delivery, make_event

from sodarouter import Team, Template, View
from sodarouter.template.budget import LARGEST
from sodarouter.template.compiled import MAX_OUTPUT, NAMES
from sodarouter.template.markup import FILTERS as MARKUP
from sodarouter.template.times import FILTERS as TIMES

PAGE = (Path(__file__).parent.parent / "docs/templates.md").read_text(encoding="utf-8")
TEAM = Team("sales-data", "#sales-data", ("sales-data@example.org",), "https://wiki.example.org/sales-data")
EXAMPLES = re.findall(r"(?ms)^```jinja\n(.*?)^```\n\n```text\n(.*?)^```$", PAGE)


def with_team(view: View) -> View:
    datasets = [tuple(replace(dataset, team=TEAM) for dataset in result.datasets) for result in view.results]
    results = (replace(result, datasets=own) for result, own in zip(view.results, datasets, strict=True))
    return replace(view, results=tuple(results))


@pytest.mark.parametrize(("source", "shown"), EXAMPLES)
def test_every_example_gives_what_the_page_shows(source, shown):
    (body,) = re.findall(r"(?ms)^```json\n(.*?)^```$", PAGE)
    event = make_event(body.encode(), enrich=with_team)
    assert Template(source).render(event, make_delivery(event)) == shown


def test_the_page_has_every_example_every_name_every_filter_and_the_limits():
    assert len(EXAMPLES) == PAGE.count("```jinja")
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert {*NAMES, *MARKUP, *TIMES} <= named
    assert f"{MAX_OUTPUT:,}" in PAGE
    assert f"{LARGEST:,}" in PAGE


@pytest.mark.parametrize(
    ("source", "said"),
    [("\n{{ incidnet }}", "template, line 2: 'incidnet' is nothing"), ("{{ a | b }}", "there is no filter 'b'")],
)
def test_a_mistake_is_told_as_the_page_says(source, said):
    with pytest.raises(ValueError, match=said) as caught:
        Template(source)
    assert said not in PAGE or str(caught.value) in PAGE
