"""What a plugin can do wrong outside of its deliveries: while it is made, opened, closed, asked for a page."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from distributions import SitePackages
from running import running_router
from support import payload

from sodarouter.breaker import BreakerPolicy
from sodarouter.config import Config, load
from sodarouter.delivery import State
from sodarouter.errors import ConfigError
from sodarouter.lanes import OPEN_TIMEOUT, open_destinations
from sodarouter.rate import Limit
from sodarouter.settle import RetryPolicy

PLUGIN = """
    import os
    from sodarouter import Destination, HttpResponse, HttpRoute, Options, Retry, hookimpl

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
        ("def __init__(self, name, options): raise OSError('no room')", "no room"),
        ("async def open(self): raise ConnectionError('nobody there')", "nobody there"),
        ("async def open(self): open('/proc/there', 'x')", "/proc/there: no such file or directory"),
        ("async def open(self): raise Retry('not yet')", "not yet"),
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


@pytest.mark.parametrize(
    "page",
    [
        "raise SystemExit(1)",
        "raise KeyError('x')",
        "return 'no HttpResponse'",
        "return HttpResponse(status=7)",
        "return HttpResponse(status='200')",
        "return HttpResponse(headers={'X': 'y\\r\\nZ: z'})",
        "return HttpResponse(content_type=None)",
        # what the server would ask for its pieces when nothing contains it any more
        "return HttpResponse((exit(piece) for piece in [3]))",
    ],
)
async def test_a_page_that_fails_is_a_500_and_nothing_else(site: SitePackages, tmp_path: Path, page: str) -> None:
    install(site, page=page)
    async with running_router(tmp_path, "") as router:
        assert (await router.admin.get("/bad")).status_code == 500
        assert (await router.admin.get("/readyz")).status_code == 200


# opened one by one, as a reload does

COUNTED = """
    import trio
    from sodarouter import Destination, Options, Secret, hookimpl

    told = []

    class CountedOptions(Options):
        fails: str = ""
        secret: Secret | None = None

    class Counted(Destination[CountedOptions]):
        type = "counted"

        async def open(self):
            if self.options.fails == "hangs":
                await trio.sleep_forever()
            if self.options.fails:
                raise OSError(self.options.fails)
            told.append(f"open {self.name}")

        async def deliver(self): ...

        async def close(self):
            told.append(f"close {self.name}")

    @hookimpl
    def destination_types():
        return [Counted]
"""


@pytest.fixture
def configured(site: SitePackages, tmp_path: Path) -> Callable[..., Config]:
    """Loads a file with these destinations of the type ``counted``, each with what its table has beside the type."""
    site.install("acme-counted", {"counted": "acme_counted"}, acme_counted=COUNTED)

    def configured(**destinations: str) -> Config:
        tables = [f'[destination.{name}]\ntype = "counted"\n{keys}\n' for name, keys in destinations.items()]
        path = tmp_path / "router.toml"
        path.write_text('[source.soda]\npath = "/soda"\n' + "".join(tables), encoding="utf-8")
        return load(path)

    return configured


def told() -> list[str]:
    """What has been opened and closed since it was last asked."""
    lines: list[str] = sys.modules["acme_counted"].told
    since, lines[:] = list(lines), []
    return since


async def test_only_what_has_changed_is_opened(configured: Callable[..., Config]) -> None:
    secret = 'secret = "one"'
    first = await open_destinations(configured(same=secret, limits="", options=secret, gone=""))
    assert told() == ["open same", "open limits", "open options", "open gone"]
    changed = configured(new="", options='secret = "two"', same=secret, limits='rate = "1/s"')
    second = await open_destinations(changed, kept=first)
    assert told() == ["open new", "open options", "open limits"]
    assert [one.lane.name for one in second] == ["new", "options", "same", "limits"]
    assert [one for one in first if one in second] == [first[0]]
    assert second[2].lane is first[0].lane


async def test_when_one_cannot_be_opened_only_those_of_the_same_call_are_closed(
    configured: Callable[..., Config],
) -> None:
    kept = await open_destinations(configured(kept=""))
    with pytest.raises(ConfigError) as failed:
        await open_destinations(configured(kept="", one="", bad='fails = "no"', two="", worse='fails = "never"'), kept)
    assert [str(fault) for fault in failed.value.faults] == [
        "router.toml: destination.bad: cannot be opened: no",
        "router.toml: destination.worse: cannot be opened: never",
    ]
    assert told() == ["open kept", "open one", "open two", "close two", "close one"]


async def test_one_that_hangs_while_it_is_opened_is_told(autojump_clock, configured: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"router\.toml: destination\.bad: was not open after 30 seconds"):
        await open_destinations(configured(one="", bad='fails = "hangs"'))
    assert trio.current_time() == OPEN_TIMEOUT
    assert told() == ["open one", "close one"]


async def test_what_was_opened_is_closed_when_the_opening_is_cancelled(
    autojump_clock, configured: Callable[..., Config]
) -> None:
    with trio.move_on_after(1) as scope:
        await open_destinations(configured(one="", bad='fails = "hangs"'))
    assert scope.cancelled_caught
    assert told() == ["open one", "close one"]


async def test_a_lane_has_what_its_table_says(configured: Callable[..., Config]) -> None:
    limits = """
        timeout = "7s"
        concurrency = 9
        rate = "100/m"
        retry = { delays = ["1s"] }
        breaker = { failures = 3 }
        fallback = "once"
    """
    opened = await open_destinations(configured(limits=limits, once='mode = "at-most-once"\nbreaker = "off"', plain=""))
    limited, once, plain = (one.lane for one in opened)
    assert (limited.timeout, limited.concurrency, limited.fallback) == (7.0, 9, "once")
    assert limited.rate is not None
    assert limited.rate.limit == Limit(100, 60)
    assert limited.policy == RetryPolicy(delays=[1.0])
    assert limited.breaker == BreakerPolicy(failures=3)
    assert (once.policy, once.breaker) == (None, None)
    assert (plain.policy, plain.breaker, plain.rate) == (RetryPolicy(), BreakerPolicy(), None)


BUILT_IN = """
    [destination.log]
    type = "file"
    path = "log"
    rotate_size = "1 MiB"
    rate = { limit = "1/s", burst = 2 }
    [destination.there]
    type = "forward"
    url = { file = "secret" }
    headers = { X-Key = { file = "secret" } }
    body = "{{ event.id }}"
    sign = { type = "hmac", header = "X-Sign", secrets = [{ file = "secret" }] }
    [destination.mail]
    type = "email"
    host = "localhost"
    from = "Soda <a@example.org>"
    to = ["$owners"]
    subject = "{{ event.type }}"
    html = "<p>{{ event.id }}</p>"
    [destination.mine]
    type = "mine"
"""


def test_a_file_that_is_read_again_gives_the_same_destinations_unless_a_secret_was_replaced(
    site: SitePackages, tmp_path: Path
) -> None:
    site.install("acme-mine", {"mine": "acme_mine"}, acme_mine=MODULE)
    (tmp_path / "secret").write_text("https://example.org/one")
    path = tmp_path / "router.toml"
    path.write_text('[source.soda]\npath = "/soda"\n' + BUILT_IN, encoding="utf-8")
    first = load(path).destinations
    assert load(path).destinations == first
    (tmp_path / "secret").write_text("https://example.org/two")
    second = load(path).destinations
    assert [one.name for one in second if one not in first] == ["there"]


MODULE = """
    from sodarouter import hookimpl

    @hookimpl
    async def deliver(event): ...
"""
