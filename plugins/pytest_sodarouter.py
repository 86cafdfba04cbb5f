"""Fixtures for the tests of plugins of the router: a plugin of pytest's.

pytest imports this module wherever the router is installed. So it is none of the router's own, with which the whole front
door is imported, and imports what it needs when a test asks for it.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from sodarouter import Event
    from sodarouter.testing import FakeRouter, Report, Sink

EVENT = "sodarouter_event"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test that asks for `sodarouter_event` once for each sample."""
    if EVENT in metafunc.fixturenames:
        from sodarouter.testing import SAMPLES

        metafunc.parametrize(EVENT, SAMPLES, indirect=True)


@pytest.fixture
def sodarouter_event(request: pytest.FixtureRequest) -> "Event":
    """A sample event; the test runs once for each that there is."""
    from sodarouter.testing import sample

    return sample(request.param)


@pytest.fixture
def sodarouter_router(tmp_path: Path) -> "Callable[..., FakeRouter]":
    """`FakeRouter` with relative paths that start at ``tmp_path``: ``async with sodarouter_router({…}) as router``."""
    from sodarouter.testing import FakeRouter

    return partial(FakeRouter, folder=tmp_path)


@pytest.fixture
def sodarouter_sink() -> "Callable[..., AbstractAsyncContextManager[Sink]]":
    """`open_sink`: ``async with sodarouter_sink() as sink``."""
    from sodarouter.testing import open_sink

    return open_sink


@pytest.fixture
def sodarouter_check() -> "Callable[..., Report]":
    """`check_destination` for a test that is no ``async`` function; the test fails if it finds a fault."""
    import trio

    from sodarouter.testing import check_destination

    def check(*args: Any, **known: Any) -> "Report":
        report = trio.run(partial(check_destination, *args, **known))
        report.raise_faults()
        return report

    return check
