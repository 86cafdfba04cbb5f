"""The page about the formats of `forward` shows what its examples send."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tomli
from formatting import NOW, SECRET
from pydantic import ValidationError
from sodarouter_forward.options import ForwardOptions
from sodarouter_forward.request import Composer
from support import make_delivery, make_event

PAGE = (Path(__file__).parent.parent / "docs/destinations/formats.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"(?ms)^```toml\n(.*?)^```\n\n```http\n(.*?)\n\n(.*?)^```$", PAGE)
EVENT = "01a20a8b-c76e-7000-a4d6-828c041e361b"


def sent(example: str) -> tuple[dict[str, str], Any]:
    """The headers that depend on the format, and the body."""
    [(name, table)] = tomli.loads(example)["destination"].items()
    assert table.pop("type") == "forward"
    # no key of `forward` itself
    table.pop("order_by", None)
    (raw,) = re.findall(r"(?ms)^```json\n(.*?)^```$", PAGE)
    event = make_event(raw.encode(), id=EVENT)
    composer = Composer(ForwardOptions.model_validate(table))
    composed = composer.compose(event, make_delivery(event, name), NOW)
    headers = {name.lower(): value for name, value in composed.headers.items()}
    shown = {name: value for name, value in headers.items() if name.startswith(("ce-", "webhook-", "content-"))}
    return shown, json.loads(composed.body)


@pytest.mark.parametrize(("example", "head", "body"), EXAMPLES)
def test_every_example_sends_what_the_page_shows(example, head, body, monkeypatch):
    for name in re.findall(r'env = "(\w+)"', example):
        monkeypatch.setenv(name, "https://example.org/hook" if name.endswith("URL") else SECRET)
    assert (dict(line.split(": ", 1) for line in head.splitlines()), json.loads(body)) == sent(example)


def test_the_page_has_every_format_and_an_example_of_each_that_is_not_plain():
    with pytest.raises(ValidationError) as caught:
        ForwardOptions.model_validate({"url": "https://example.org/", "format": "none"})
    names = set(re.findall(r"'([\w-]+)'", caught.value.errors()[0]["ctx"]["expected_tags"]))
    assert set(re.findall(r"(?m)^\| \[?`([\w-]+)`", PAGE.partition("\nA format without")[0])) == {*names, "format"}
    shown = {tomli.loads(toml)["destination"].popitem()[1]["format"] for toml, _, _ in EXAMPLES if "\nformat" in toml}
    assert shown | set(re.findall(r'\.format\]\ntype = "([\w-]+)"', PAGE)) == names - {"raw", "template"}
    assert len(EXAMPLES) == PAGE.count("```http")
