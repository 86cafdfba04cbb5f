"""Plugins are found and held; one that cannot be used is named, with its distribution and the cause."""

import sys
from pathlib import Path

import pytest
import trio
from distributions import SitePackages
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support import make_delivery, make_event, make_store

from sodarouter import API_VERSION, BatchItem, Destination, Retry, contract
from sodarouter.config import Config, load
from sodarouter.contract import check_api
from sodarouter.errors import ConfigError, PluginError
from sodarouter.observe import Observers
from sodarouter.plugins import DeliverHook

HINT = "; mend or uninstall it, or put its name into [plugins] disabled"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SitePackages:
    return SitePackages(tmp_path / "site", monkeypatch)


@pytest.fixture
def configured(tmp_path: Path):
    """Loads a ``router.toml`` with these tables."""

    def configured(tables: str = "") -> Config:
        path = tmp_path / "router.toml"
        path.write_text('[source.soda]\npath = "/soda"\n' + tables, encoding="utf-8")
        return load(path)

    return configured


@pytest.fixture
def faults(configured):
    """What is wrong with a configuration, one line each."""

    def faults(tables: str = "") -> list[str]:
        with pytest.raises(ConfigError) as caught:
            configured(tables)
        return [str(fault) for fault in caught.value.faults]

    return faults


def called(name: str, cause: str, distribution: str = "acme-tools 1.0") -> list[str]:
    return [f"router.toml: plugin {name} ({distribution}): {cause}{HINT}"]


# what plugins are


def test_the_built_in_plugins_are_found_like_any_other(configured):
    plugins = configured().plugins
    assert {plugin.name for plugin in plugins.found} >= {"apprise", "email", "exec", "file", "forward", "prometheus"}
    assert set(plugins.types) >= {"apprise", "email", "exec", "file", "forward"}


async def test_a_module_with_deliver_is_a_destination_type_named_after_its_entry_point(site, configured):
    site.install(
        "acme-tools",
        {"shout": "acme_shout"},
        acme_shout="""
        from sodarouter import hookimpl

        heard = []

        @hookimpl
        async def deliver(event):
            heard.append(event.type)
        """,
    )
    config = configured('[destination.first]\ntype = "shout"\n[destination.second]\ntype = "shout"\n')
    event = make_event()
    for one in config.destinations:
        deliver = DeliverHook(one.kind(one.name, one.options))
        assert not deliver.threaded
        await deliver(event, make_delivery(event, one.name), make_store())
    assert sys.modules["acme_shout"].heard == [event.type, event.type]


def test_a_module_s_destination_type_has_no_options(site, faults):
    site.install("acme-tools", {"shout": "acme_shout"}, acme_shout=MODULE)
    assert faults('[destination.x]\ntype = "shout"\nvolume = 11\n') == [
        "router.toml: destination.x.volume: unknown key"
    ]


MODULE = """
from sodarouter import hookimpl

@hookimpl
async def deliver(event): ...
"""


def test_an_ordinary_deliver_is_marked_for_a_thread_and_gets_only_what_it_asks_for(site, configured):
    site.install(
        "acme-tools",
        {"slow": "acme_slow"},
        acme_slow="""
        from sodarouter import hookimpl

        seen = []

        @hookimpl
        def deliver(delivery):
            seen.append(delivery)
        """,
    )
    (destination,) = configured('[destination.x]\ntype = "slow"\n').destinations
    deliver = DeliverHook(destination.kind("x", destination.options))
    event = make_event()
    assert deliver.threaded
    assert deliver(event, make_delivery(event), make_store()) is None
    assert sys.modules["acme_slow"].seen == [make_delivery(event)]


ANNOUNCER = """
from sodarouter import HttpResponse, HttpRoute, Options, Plugin, hookimpl

class AnnouncerOptions(Options):
    path: str
    greeting: str = "hello"

class Announcer(Plugin[AnnouncerOptions]):
    @hookimpl
    def http_routes(self):
        async def handler(request):
            return HttpResponse(self.options.greeting)
        return [HttpRoute(self.options.path, handler)]
"""


def test_a_plugin_class_is_made_with_the_options_of_its_table(site, configured):
    site.install("acme-tools", {"announcer": "acme_announcer:Announcer"}, acme_announcer=ANNOUNCER)
    config = configured('[plugin.announcer]\npath = "/hello"\ngreeting = "good day"\n')
    assert [(name, route.path) for name, route in config.plugins.routes if name == "announcer"] == [
        ("announcer", "/hello")
    ]
    (target,) = (plugin.target for plugin in config.plugins.found if plugin.name == "announcer")
    assert target.options.greeting == "good day"


def test_a_plugin_has_a_logger_that_knows_its_name_from_the_beginning(site, configured):
    source = """
        from sodarouter import Plugin, hookimpl

        class Chatty(Plugin):
            def __init__(self, options):
                super().__init__(options)
                self.log.info("made")

            @hookimpl
            def delivery_settled(self): ...
    """
    site.install("acme-tools", {"chatty": "acme_chatty:Chatty"}, acme_chatty=source)
    with capture_logs() as logs:
        config = configured()
    assert logs == [{"event": "made", "plugin": "chatty", "log_level": "info"}]
    kind = type(next(plugin.target for plugin in config.plugins.found if plugin.name == "chatty"))
    with capture_logs() as logs:
        kind(kind.options_type())  # as a test of its author's makes one
    assert [line["plugin"] for line in logs] == ["Chatty"]


def test_a_plugin_s_required_options_that_are_not_given_are_one_fault_with_their_place(site, faults):
    site.install("acme-tools", {"announcer": "acme_announcer:Announcer"}, acme_announcer=ANNOUNCER)
    assert faults() == ["router.toml: plugin.announcer.path: is missing"]


def test_a_plugin_s_wrong_options_are_all_told_with_near_misses(site, faults):
    site.install("acme-tools", {"announcer": "acme_announcer:Announcer"}, acme_announcer=ANNOUNCER)
    assert faults('[plugin.announcer]\npath = 1\ngreting = "x"\n') == [
        "router.toml: plugin.announcer.path: must be text",
        "router.toml: plugin.announcer.greting: unknown key; did you mean 'greeting'?",
    ]


def test_a_table_for_a_plugin_that_is_not_installed_or_has_no_options_is_a_fault(site, faults):
    site.install("acme-tools", {"shout": "acme_shout"}, acme_shout=MODULE)
    assert faults("[plugin.shout]\n[plugin.promethius]\n") == [
        "router.toml: plugin.shout: this plugin has no options; leave the table out",
        "router.toml: plugin.promethius: no such plugin is installed; did you mean 'prometheus'?",
    ]


def test_a_disabled_plugin_is_not_even_imported(site, configured):
    site.install("acme-tools", {"broken": "acme_broken"}, acme_broken="raise SystemExit('never')")
    config = configured('[plugins]\ndisabled = ["broken", "email"]\n')
    assert not {"broken", "email"} & {plugin.name for plugin in config.plugins.found}
    assert "email" not in config.plugins.types
    assert "acme_broken" not in sys.modules


def test_a_disabled_plugin_may_keep_its_table(configured):
    assert configured('[plugins]\ndisabled = ["prometheus"]\n[plugin.prometheus]\npath = "/m"\n')


def test_a_misspelt_name_among_the_disabled_is_warned_of(configured):
    warnings = map(str, configured('[plugins]\ndisabled = ["promethius"]\n').warnings)
    assert "router.toml: plugins.disabled: no plugin 'promethius' is installed; did you mean 'prometheus'?" in warnings


# what can be wrong with one


PAGE = """
    from sodarouter import HttpRoute, hookimpl

    @hookimpl
    def http_routes():
        return [HttpRoute("{path}", print)]
"""


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("/readyz", "the page /readyz is the router's own"),
        ("/api/retry", "the page /api/retry is the router's own"),
        ("/metrics", "the plugin prometheus serves /metrics too"),
        ("metrics", "the page 'metrics' must be a path such as '/metrics'"),
    ],
)
def test_a_page_that_cannot_be_served_is_told(site, faults, path, cause):
    site.install("acme-tools", {"shout": "acme_shout"}, acme_shout=PAGE.format(path=path))
    assert faults() == called("shout", cause)


def test_an_option_that_the_core_would_take_is_told(site, faults):
    source = """
        from sodarouter import Destination, Options, hookimpl

        class Mine(Options):
            timeout: str = "x"

        class Shout(Destination[Mine]):
            type = "shout"
            async def deliver(self): ...

        @hookimpl
        def destination_types():
            return [Shout]
    """
    site.install("acme-tools", {"shout": "acme_shout"}, acme_shout=source)
    (fault,) = faults()
    assert fault.startswith("router.toml: the destination type shout: its options timeout are keys that every dest")


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit('I am a script')", "SystemExit: I am a script"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named_and_keeps_nobody_else(site, faults, source, cause):
    site.install("acme-tools", {"broken": "acme_broken"}, acme_broken=source)
    assert faults('[destination.audit]\ntype = "file"\npath = "x"\n') == called(
        "broken", f"it cannot be imported: {cause}"
    )


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("sodarouter_api = {wanted}", "acme_dated"),
        ("from sodarouter import Plugin\nclass Dated(Plugin):\n    sodarouter_api = {wanted}", "acme_dated:Dated"),
        ("from sodarouter import Plugin\nsodarouter_api = {wanted}\nclass Dated(Plugin): ...", "acme_dated:Dated"),
        ("class Dated:\n    sodarouter_api = {wanted}\nmade = Dated()", "acme_dated:made"),
    ],
)
@pytest.mark.parametrize(("wanted", "upgrade"), [("2.0", "the router"), ("1.7", "the router"), ("0.9", "the plugin")])
def test_a_plugin_for_another_version_of_the_api_is_told_and_which_to_upgrade(
    site, faults, source, target, wanted, upgrade
):
    site.install("acme-tools", {"dated": target}, acme_dated=source.format(wanted=repr(wanted)))
    assert faults() == [
        (
            f"router.toml: plugin dated (acme-tools 1.0): it was written for version {wanted} of the plugin API, "
            f"and this router has {API_VERSION}; upgrade {upgrade}, or put its name into [plugins] disabled"
        )
    ]


@pytest.mark.parametrize("wanted", ["1", "1.0.0", "one", "", " 1.0", "1.x", 1.0, b"1.0"])
def test_a_version_of_the_api_that_is_none_is_told(site, faults, wanted):
    site.install("acme-tools", {"dated": "acme_dated"}, acme_dated=f"sodarouter_api = {wanted!r}\n{MODULE}")
    assert faults() == called("dated", f"its sodarouter_api must be text such as '1.0', not {wanted!r}")


def test_a_plugin_for_this_version_of_the_api_is_loaded(site, configured):
    site.install("acme-tools", {"dated": "acme_dated"}, acme_dated=f"sodarouter_api = {API_VERSION!r}\n{MODULE}")
    assert "dated" in configured().plugins.types


@given(
    st.tuples(st.integers(1, 9), st.integers(0, 9)),
    st.tuples(st.integers(1, 9), st.integers(0, 9)),
)
def test_a_version_of_the_api_serves_all_older_ones_of_its_major_number(wanted, has):
    def text(version):
        return ".".join(map(str, version))

    if wanted[0] == has[0] and wanted <= has:
        check_api(text(wanted), text(has))
    else:
        with pytest.raises(PluginError):
            check_api(text(wanted), text(has))


def test_an_entry_point_whose_attribute_is_missing_is_named(site, faults):
    site.install("acme-tools", {"broken": "acme_broken:Gone"}, acme_broken="")
    assert faults() == called(
        "broken", "it cannot be imported: AttributeError: module 'acme_broken' has no attribute 'Gone'"
    )


HOOKS = ", ".join(contract.HOOKS)


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (
            "def delivery_setled(settled): ...",
            "it implements 'delivery_setled', which is no hook; did you mean 'delivery_settled'?",
        ),
        ("def frobnicate(): ...", f"it implements 'frobnicate', which is no hook; the hooks are {HOOKS}"),
        (
            "def event_accepted(event, repeated): ...",
            "event_accepted asks for the argument 'repeated', which this hook does not have; it has event, duplicate",
        ),
        (
            "def destination_types(config): ...",
            "destination_types asks for the argument 'config', which this hook does not have; it has none",
        ),
        (
            "def event_accepted(*, event): ...",
            "event_accepted takes 'event' by keyword only, but hooks are called by position",
        ),
        (
            "async def event_accepted(event): ...",
            "event_accepted must not be async: only deliver, deliver_batch, enrich are awaited",
        ),
        (
            "async def deliver(event, attempt): ...",
            (
                "the destination type 'wrong': deliver asks for the argument 'attempt', which this hook does not have; "
                "it has event, delivery, store"
            ),
        ),
        ("async def health(): ...", "health must not be async: only deliver, deliver_batch, enrich are awaited"),
        ("async def deliver(event): yield", "the destination type 'wrong': deliver must not yield"),
        ("def destination_types(): ...", "destination_types must give a list, not None"),
        ("def destination_types(): return 'file'", "destination_types must give a list, not 'file'"),
        (
            "def destination_types(): return [int]",
            "destination_types gives <class 'int'>, which is no subclass of Destination",
        ),
        ("def destination_types(): return [1]", "destination_types gives 1, which is no subclass of Destination"),
        ("def destination_types(): 1 / 0", "destination_types fails: ZeroDivisionError: division by zero"),
        ("def destination_types(): raise SystemExit(3)", "destination_types fails: SystemExit: 3"),
        ("def http_routes(): return ['/metrics']", "http_routes gives '/metrics', which is no HttpRoute"),
    ],
)
def test_a_wrong_hook_is_told_with_the_cause(site, faults, function, cause):
    site.install(
        "acme-tools", {"wrong": "acme_wrong"}, acme_wrong=f"from sodarouter import hookimpl\n\n@hookimpl\n{function}\n"
    )
    assert faults() == called("wrong", cause)


def test_a_hook_of_another_version_can_be_marked_as_optional(site, configured):
    site.install(
        "acme-tools",
        {"newer": "acme_newer"},
        acme_newer="""
        from sodarouter import hookimpl

        @hookimpl(optionalhook=True)
        def spool_pruned(count): ...
        """,
    )
    assert "newer" in {plugin.name for plugin in configured().plugins.found}


def test_an_argument_with_a_default_may_be_of_another_version(site, configured):
    site.install(
        "acme-tools",
        {"newer": "acme_newer"},
        acme_newer="""
        from sodarouter import hookimpl

        @hookimpl
        async def deliver(event, link=None): ...
        """,
    )
    assert "newer" in configured().plugins.types


def test_a_module_whose_functions_are_not_marked_is_told_how(site, faults):
    site.install("acme-tools", {"bare": "acme_bare"}, acme_bare="async def deliver(event): ...")
    assert faults() == called("bare", "it implements no hook; mark what implements one with @hookimpl")


PREVIEWING = "class Mine(Destination):\n    type = 'mine'\n    async def deliver(self, event): ...\n"

DESTINATION = """
from dataclasses import dataclass
from sodarouter import Destination, Options, hookimpl

@hookimpl
def destination_types():
    return [Mine]

"""


@pytest.mark.parametrize(
    ("definition", "cause"),
    [
        (
            "class Mine(Destination):\n    async def deliver(self, event): ...",
            "the destination Mine needs a type, the word that router.toml names it by",
        ),
        ("class Mine(Destination):\n    type = 'mine'", "the destination type 'mine' has no deliver method"),
        (
            "class Mine(Destination):\n    type = 'mine'\n    deliver = 'later'",
            "the destination type 'mine' has no deliver method",
        ),
        (
            PREVIEWING + "    async def preview(self, event, delivery): ...",
            "the preview of the destination type 'mine' must be an ordinary function: it is not awaited",
        ),
        (
            PREVIEWING + "    def preview(self, event, delivery):\n        yield",
            "the preview of the destination type 'mine' must be an ordinary function: it is not awaited",
        ),
        (
            PREVIEWING + "    def preview(self, event): ...",
            "the preview of the destination type 'mine' is called with event and delivery",
        ),
        (
            PREVIEWING + "    def preview(self, event, delivery, folder): ...",
            "the preview of the destination type 'mine' is called with event and delivery",
        ),
        (
            PREVIEWING + "    async def health(self): ...",
            "the health of the destination type 'mine' must be an ordinary function: it is not awaited",
        ),
        (
            PREVIEWING + "    def health(self, event): ...",
            "the health of the destination type 'mine' is called without arguments",
        ),
        (PREVIEWING + "    health = ''", "the health of the destination type 'mine' must be a method"),
        (PREVIEWING + "    preview = None", "the preview of the destination type 'mine' must be a method"),
        (
            "class Mine(Destination):\n    type = 'mine'\n    async def deliver(self, event, attempt): ...",
            (
                "the destination type 'mine': deliver asks for the argument 'attempt', which this hook does not have; "
                "it has event, delivery, store"
            ),
        ),
        (
            "class Mine(Destination):\n    type = 'mine'\n    async def deliver_batch(self, events): ...",
            (
                "the destination type 'mine': deliver_batch asks for the argument 'events', which this hook does not have; "
                "it has batch"
            ),
        ),
        (
            "class Mine(Destination):\n    type = 'mine'\n    batch_size = 0\n    def deliver_batch(self, batch): ...",
            "the batch_size of the destination type 'mine' must be a number of at least 1",
        ),
        (
            (
                "@hookimpl\ndef deliver_batch(batch): ...\nclass Mine(Destination):\n    type = 'mine'\n"
                "    def deliver(self): ..."
            ),
            "deliver_batch is for destination types; give one a method of this name",
        ),
        (
            "class Base:\n    async def deliver(self, event): ...\nclass Mine(Base, Destination):\n    type = 'mine'",
            (
                "the deliver method of the destination type 'mine' comes from a class that is no Destination; "
                "mark it with @hookimpl"
            ),
        ),
        (
            "@dataclass\nclass Mine(Destination):\n    type = 'mine'\n    async def deliver(self, event): ...",
            "the destination type 'mine' must not define __eq__; a dataclass does without eq=False",
        ),
        (
            (
                "class Mine(Destination):\n    type = 'mine'\n    async def deliver(self, event): ...\n"
                "    @hookimpl\n    def delivery_settled(self, settled): ..."
            ),
            (
                "the destination type 'mine' implements delivery_settled, which only a plugin can; "
                "mark a function of the module"
            ),
        ),
    ],
)
def test_a_destination_type_that_breaks_the_contract_is_told_when_it_is_loaded(site, faults, definition, cause):
    site.install("acme-tools", {"mine": "acme_mine"}, acme_mine=DESTINATION + definition)
    assert faults() == called("mine", cause)


def test_a_destination_s_properties_are_left_alone_until_it_is_open(site, configured):
    site.install(
        "acme-tools",
        {"mine": "acme_mine"},
        acme_mine=DESTINATION
        + """
from functools import cached_property

class Mine(Destination):
    type = 'mine'

    @property
    def client(self): raise RuntimeError("not open")

    @cached_property
    def pool(self): raise RuntimeError("not open")

    async def deliver(self, event): ...
""",
    )
    (one,) = configured('[destination.x]\ntype = "mine"\n').destinations
    assert not DeliverHook(one.kind("x", one.options)).threaded


def test_an_entry_point_that_names_a_destination_class_is_told_to_name_the_module(site, faults):
    site.install("acme-tools", {"mine": "acme_mine:Mine"}, acme_mine=DESTINATION + "class Mine(Destination): ...")
    assert faults() == called(
        "mine", "its entry point names the class Mine, which is no Plugin; name the module instead"
    )


def test_a_plugin_class_that_cannot_be_made_is_named(site, faults):
    site.install(
        "acme-tools",
        {"mine": "acme_mine:Mine"},
        acme_mine="""
        from sodarouter import Plugin, Options

        class Mine(Plugin[Options]):
            def __init__(self, options):
                raise OSError("no such device")
        """,
    )
    assert faults() == called("mine", "it cannot be made: OSError: no such device")


def test_a_plugin_that_cannot_be_hashed_is_named(site, faults):
    site.install("acme-tools", {"mine": "acme_mine:hooks"}, acme_mine="hooks = {}")
    assert faults() == called("mine", "it cannot be registered: TypeError: unhashable type: 'dict'")


def test_one_object_behind_two_entry_points_is_told(site, faults):
    site.install("acme-tools", {"one": "acme_shout", "two": "acme_shout"}, acme_shout=MODULE)
    assert faults() == called("two", "its entry point names the same object as that of the plugin one")


def test_two_distributions_with_one_plugin_name_are_both_named(site, faults):
    site.install("acme-tools", {"shout": "acme_shout"}, acme_shout=MODULE)
    site.install("brand-x", {"shout": "brand_shout"}, version="2.1", brand_shout=MODULE)
    assert faults() == called("shout", "brand-x 2.1 offers a plugin of the same name")


def test_a_distribution_that_is_half_removed_is_no_reason_for_a_traceback(site, faults, tmp_path):
    site.install("acme-tools", {"shout": "acme_shout"}, acme_shout=MODULE)
    site.install("brand-x", {"shout": "brand_shout"}, version="2.1", brand_shout=MODULE)
    (metadata,) = tmp_path.glob("**/brand_x-2.1.dist-info/METADATA")
    metadata.unlink()
    (fault,) = faults()
    assert "offers a plugin of the same name" in fault


def test_two_plugins_with_one_destination_type_are_both_named(site, faults):
    source = DESTINATION + "class Mine(Destination):\n    type = 'mine'\n    async def deliver(self, event): ..."
    site.install("acme-tools", {"one": "acme_mine"}, acme_mine=source)
    site.install("brand-x", {"two": "brand_mine"}, brand_mine=source)
    assert faults() == called(
        "two", "plugin one (acme-tools 1.0) offers the destination type 'mine' too", "brand-x 1.0"
    )


def test_a_built_in_destination_type_cannot_be_taken_over_silently(site, faults):
    source = DESTINATION + "class Mine(Destination):\n    type = 'file'\n    async def deliver(self, event): ..."
    site.install("acme-tools", {"mine": "acme_mine"}, acme_mine=source)
    (fault,) = faults()
    assert "plugin file (sodarouter " in fault
    assert "offers the destination type 'file' too" in fault
    assert "plugin mine (acme-tools 1.0)" in fault


def test_every_broken_plugin_is_told_at_once(site, faults):
    site.install("acme-tools", {"broken": "acme_broken"}, acme_broken="1 / 0")
    site.install("brand-x", {"bare": "brand_bare"}, brand_bare="")
    told = faults("[server]\nlisten = []\n")
    assert len(told) == 3
    assert any("acme-tools 1.0" in fault for fault in told)
    assert any("brand-x 1.0" in fault for fault in told)


# what they are told


RAISING = """
from sodarouter import hookimpl

@hookimpl
def event_accepted(event):
    raise {error}
"""

LISTENING = """
from sodarouter import hookimpl

heard = []

@hookimpl
def event_accepted(duplicate):
    heard.append(duplicate)
"""


@pytest.mark.parametrize("error", ["RuntimeError('again')", "SystemExit(1)", "KeyboardInterrupt", "BaseException('x')"])
def test_an_observer_that_raises_keeps_nothing_from_the_others_and_is_logged_once(site, configured, error):
    site.install("acme-tools", {"raising": "acme_raising"}, acme_raising=RAISING.format(error=error))
    site.install("brand-x", {"zealous": "brand_zealous"}, brand_zealous=LISTENING)
    observers = Observers(accepted=configured().plugins.observers("event_accepted"))
    with capture_logs() as logged:
        for _ in range(3):
            observers.event_accepted(make_event(), duplicate=True)
    assert sys.modules["brand_zealous"].heard == [True, True, True]
    assert [(line["event"], line["plugin"], line["hook"]) for line in logged] == [
        ("an observer failed", "raising", "event_accepted")
    ]


def test_an_observer_whose_exception_cannot_be_printed_is_logged_all_the_same(site, configured):
    error = "type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})()"
    site.install("acme-tools", {"raising": "acme_raising"}, acme_raising=RAISING.format(error=error))
    observers = Observers(accepted=configured().plugins.observers("event_accepted"))
    with capture_logs() as logged:
        observers.event_accepted(make_event(), duplicate=False)
    assert [line["plugin"] for line in logged] == ["raising"]


async def test_each_destination_s_deliver_is_called_alone():
    """A broadcast would stop at the first that raises and leave the coroutines of the rest behind."""

    class Mine(Destination):
        type = "mine"

        async def deliver(self, delivery):
            if self.name == "bad":
                raise Retry("not now")
            await trio.lowlevel.checkpoint()
            seen.append((self.name, delivery.destination))

    seen = []
    bad, good, later = (DeliverHook(Mine(name, Mine.options_type())) for name in ("bad", "good", "good"))
    event = make_event()
    with pytest.raises(Retry):
        await bad(event, make_delivery(event, "bad"), make_store())
    await good(event, make_delivery(event, "first"), make_store())
    await later(event, make_delivery(event, "second"), make_store())
    assert seen == [("good", "first"), ("good", "second")]


async def test_a_type_with_deliver_batch_takes_as_many_at_once_as_its_table_says(site, configured, faults):
    site.install(
        "acme-tools",
        {"bulk": "acme_bulk"},
        acme_bulk=DESTINATION
        + """
class Bulk(Destination):
    type = "bulk"
    batch_size = 7

    async def deliver(self, event):
        raise AssertionError("the other one is called")

    async def deliver_batch(self, batch):
        return [item.delivery.id for item in batch]

@hookimpl
def destination_types():
    return [Bulk]
""",
    )
    table = '[destination.x]\ntype = "bulk"\n'
    for toml, size in ((table, 7), (table + "batch_size = 2\n", 2)):
        (destination,) = configured(toml).destinations
        assert destination.batch_size == size
        hook = DeliverHook(destination.kind("x", destination.options))
        event = make_event()
        assert await hook.batch([BatchItem(event, make_delivery(event), make_store())]) == [f"{event.id}/there"]
    assert faults('[destination.x]\ntype = "file"\npath = "x"\nbatch_size = 2\n') == [
        "router.toml: destination.x.batch_size: has no effect: 'file' takes one delivery at a time; leave it out"
    ]
