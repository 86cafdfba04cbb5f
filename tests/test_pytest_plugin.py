"""The fixtures for the tests of plugins, in a pytest of its own: with pytest-trio and without."""

import subprocess
import sys
from pathlib import Path

import pytest

from sodarouter.testing import SAMPLES

TESTS = """
import pytest
import trio

from sodarouter import Destination, Options


class Notes(Destination[Options]):
    type = "notes"

    async def deliver(self, event):
        assert event.view.incident or event.type != "agreementDeleted", "no incident"


def test_of_each_sample(sodarouter_event):
    assert sodarouter_event.type


def test_router(sodarouter_router, sodarouter_sink, tmp_path):
    async def main():
        async with sodarouter_sink() as sink, sodarouter_router(
            {"type": "forward", "url": sink.url}, {"type": "file", "path": "x"}
        ) as router:
            from sodarouter.testing import sample

            await router.send(sample())
            await sink.until_requests(1)

    trio.run(main)
    assert (tmp_path / "x").exists()


def test_check(sodarouter_check):
    with pytest.raises(AssertionError, match="at the sample v3/agreementDeleted"):
        sodarouter_check(Notes)
"""


@pytest.mark.parametrize("others", [(), ("-p", "no:trio")])
def test_the_fixtures_work(tmp_path, others):
    (tmp_path / "test_notes.py").write_text(TESTS)
    assert f"{len(SAMPLES) + 2} passed" in ran(tmp_path, "-p", "pytest_sodarouter", *others)


def test_others_are_left_alone(tmp_path):
    (tmp_path / "test_other.py").write_text("import sys\ndef test_it():\n    assert 'sodarouter' not in sys.modules\n")
    assert "1 passed" in ran(tmp_path, "-p", "pytest_sodarouter")


def ran(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120).stdout
