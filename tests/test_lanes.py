"""What a plugin can do wrong outside of its deliveries: while it is made, opened, closed, asked for a page."""

from pathlib import Path

import pytest
from distributions import SitePackages
from running import running_router
from support import payload

from sodarouter.delivery import State
from sodarouter.errors import ConfigError

PLUGIN = """
    import os
    from sodarouter import Destination, HttpResponse, HttpRoute, Options, hookimpl

    class Bad(Destination[Options]):
        type = "bad"
        {body}

        async def deliver(self): ...

    async def page(request):
        {page}

    @hookimpl
    def destination_types():
        return [Bad]

    @hookimpl
    def http_routes():
        return [HttpRoute("/bad", page)]
"""
TO_BAD = '[destination.one]\ntype = "bad"\n[destination.two]\ntype = "bad"\n[[route]]\nto = ["one", "two"]\n'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SitePackages:
    return SitePackages(tmp_path / "site", monkeypatch)


def install(site: SitePackages, *, body: str = "pass", page: str = "pass") -> None:
    site.install("acme-bad", {"bad": "acme_bad"}, acme_bad=PLUGIN.format(body=body, page=page))


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("def __init__(self, name, options): raise OSError('no room')", "OSError: no room"),
        ("async def open(self): raise ConnectionError('nobody there')", "ConnectionError: nobody there"),
        ("async def open(self): raise SystemExit(3)", "SystemExit: 3"),
        ("async def open(self): raise ExceptionGroup('x', [KeyError('a')])", "KeyError: 'a'"),
    ],
)
async def test_destinations_that_cannot_be_opened_stop_the_start_and_are_all_named(
    site: SitePackages, tmp_path: Path, body: str, cause: str
) -> None:
    install(site, body=body)
    with pytest.raises(ExceptionGroup) as failed:
        async with running_router(tmp_path, TO_BAD):
            pytest.fail("it started")
    error = failed.value.exceptions[0]
    assert isinstance(error, ConfigError)
    assert [str(fault) for fault in error.faults] == [
        f"router.toml: destination.{name}: cannot be opened: {cause}" for name in ("one", "two")
    ]


async def test_a_destination_that_fails_to_close_does_not_keep_the_router(site: SitePackages, tmp_path: Path) -> None:
    install(site, body="async def close(self): raise SystemExit('no')")
    async with running_router(tmp_path, TO_BAD) as router:
        await router.post(payload("v3-incidentCreated"))
        assert {delivery.state for delivery in await router.until_settled()} == {State.DELIVERED}


@pytest.mark.parametrize("page", ["raise SystemExit(1)", "raise KeyError('x')", "return 'no HttpResponse'"])
async def test_a_page_that_fails_is_a_500_and_nothing_else(site: SitePackages, tmp_path: Path, page: str) -> None:
    install(site, page=page)
    async with running_router(tmp_path, "") as router:
        assert (await router.admin.get("/bad")).status_code == 500
        assert (await router.admin.get("/readyz")).status_code == 200
