"""The page about testing has every public name, and every fixture."""

import re
from dataclasses import fields
from inspect import isfunction, ismodule, signature
from pathlib import Path

import pytest
import pytest_sodarouter

from sodarouter import testing
from sodarouter.testing import Answer, FakeRouter, Request, Tried

PAGE = (Path(__file__).parent.parent / "docs/testing.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", testing.__all__)
def test_every_public_name_is_there(name):
    assert re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", PAGE)


@pytest.mark.parametrize("kind", [Answer, Request, Tried])
def test_every_field_is_there(kind):
    assert all(f"`{field.name}`" in PAGE for field in fields(kind))


def test_every_member_of_the_router_is_there():
    members = {name for name in vars(FakeRouter) if not name.startswith("_")} | {"attempts", "config"}
    assert all(re.search(rf"`(await )?{name}(\([^`]*\))?`", PAGE) for name in members)


@pytest.mark.parametrize("name", [name for name in testing.__all__ if isfunction(getattr(testing, name))])
def test_every_argument_of_a_function_is_there(name):
    shown = re.findall(rf"`(?:await )?{name}\(([^`]*)\)`", PAGE)[0]
    given = [word for part in shown.split(",") if (word := part.strip(" *"))]
    assert given == list(signature(getattr(testing, name)).parameters)


def test_every_fixture_is_there():
    found = {name for name in vars(pytest_sodarouter) if name.startswith("sodarouter_")}
    assert found == set(re.findall(r"(?m)^\| `(sodarouter_\w+)` \|", PAGE))


def test_the_module_says_all_that_it_gives():
    given = {name for name, value in vars(testing).items() if not (name.startswith("_") or ismodule(value))}
    assert given == set(testing.__all__)
