"""``sodarouter PLUGIN …``: plugins have commands, which are loaded only when they are typed."""

import json
import sys
from pathlib import Path

import pytest
from commandline import CANARY
from distributions import SitePackages

pytestmark = pytest.mark.usefixtures("own_log")

TICKETS = """
from pathlib import Path
from typing import Annotated
import typer
from sodarouter import Options, Plugin, Retry, Secret, hookimpl

class TicketOptions(Options):
    url: str
    token: Secret = "none"

class Tickets(Plugin[TicketOptions]):
    @hookimpl
    def commands(self, config: Path) -> typer.Typer:
        app = typer.Typer()

        @app.command()
        def where(shout: Annotated[bool, typer.Option("--shout")] = False) -> None:
            typer.echo(f"{config.name}: {self.options.url}" + "!" * shout)

        @app.command()
        def fails(how: str) -> None:
            token = self.options.token.get_secret_value()
            match how:
                case "value": raise ValueError(f"nothing of {token}")
                case "group": raise ExceptionGroup("x", [ExceptionGroup("y", [KeyError(token)])])
                case "file": open("/nowhere/at/all")
                case "retry": raise Retry("later")
                case "exit": raise typer.Exit(7)
                case "system": raise SystemExit(8)
                case "prints": print(token)
                case "logs": self.log.info("done", token=token)
                case "usage": raise typer.BadParameter("not so")

        return app
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SitePackages:
    site = SitePackages(tmp_path / "site", monkeypatch)
    site.install("acme-tickets", {"tickets": "acme_tickets:Tickets"}, acme_tickets=TICKETS)
    (tmp_path / "router.toml").write_text(
        # what is wrong with the rest of the file is not asked
        f'[plugin.tickets]\nurl = "https://example.org"\ntoken = "{CANARY}"\n[source.soda]\nverify = 3\n'
    )
    return site


def one_command(source: str) -> str:
    return f"import typer\nfrom sodarouter import hookimpl\n\n@hookimpl\ndef commands():\n    {source}\n"


SINGLE = one_command("app = typer.Typer()\n    app.command()(lambda: typer.echo('hello'))\n    return app")


def test_a_plugin_s_command_has_its_options_and_the_configuration(sodarouter, site, tmp_path):
    assert sodarouter("tickets", "where").out == "router.toml: https://example.org\n"
    (tmp_path / "other.toml").write_text('[plugin.tickets]\nurl = "https://other.example.org"\n')
    ran = sodarouter("--config", "other.toml", "tickets", "where", "--shout")
    assert (ran.status, ran.out) == (0, "other.toml: https://other.example.org!\n")
    assert "where" in sodarouter("tickets", "--help").out


def test_a_plugin_with_one_command_is_that_command_and_needs_no_file(sodarouter, site, tmp_path):
    site.install("acme-hello", {"hello": "acme_hello"}, acme_hello=SINGLE)
    (tmp_path / "router.toml").unlink()
    assert sodarouter("hello").out == "hello\n"
    ran = sodarouter("--config", "gone.toml", "hello")
    assert (ran.status, ran.err) == (2, "gone.toml: there is no such file; name another with --config\n")


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("value", 1, "sodarouter: plugin tickets (acme-tickets 1.0): ValueError: nothing of **********\n"),
        ("group", 1, "sodarouter: plugin tickets (acme-tickets 1.0): KeyError: '**********'\n"),
        ("file", 1, "sodarouter: plugin tickets (acme-tickets 1.0): FileNotFoundError: [Errno 2] No such file or"),
        ("retry", 1, "sodarouter: plugin tickets (acme-tickets 1.0): Retry: later\n"),
        ("exit", 7, ""),
        ("system", 8, ""),
        ("usage", 2, "Usage: sodarouter tickets fails"),
    ],
)
def test_a_command_that_fails_is_told_in_a_line_as_its_plugin_s(sodarouter, site, how, status, said):
    ran = sodarouter("tickets", "fails", how)
    assert ran.status == status
    assert ran.err.startswith(said)
    assert bool(ran.err) == bool(said)


def test_what_a_command_prints_and_logs_has_no_secrets_in_it(sodarouter, site):
    assert sodarouter("tickets", "fails", "prints").out == "**********\n"
    ran = sodarouter("tickets", "fails", "logs")
    assert ran.out == ""
    logged = json.loads(ran.err)
    assert (logged["message"], logged["plugin"], logged["token"]) == ("done", "tickets", "**********")


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ("", "router.toml: plugin.tickets.url: is missing\n"),
        (
            '[plugin.tickets]\nurll = "x"\n',
            "router.toml: plugin.tickets.urll: unknown key; did you mean 'url'?\n",
        ),
        (
            '[plugins]\ndisabled = ["tickets"]\n',
            "router.toml: plugins.disabled: the plugin tickets is disabled; take its name out\n",
        ),
        ("[plugin", "router.toml:1:8: is not TOML"),
    ],
)
def test_what_is_wrong_with_its_configuration_is_told_as_elsewhere(sodarouter, site, tmp_path, toml, fault):
    (tmp_path / "router.toml").write_text(toml)
    ran = sodarouter("tickets", "where")
    assert ran.status == 2
    assert ran.err.startswith(fault)


@pytest.mark.parametrize(
    ("source", "status", "said"),
    [
        (one_command("1 / 0"), 1, "sodarouter: plugin odd (acme-odd 1.0): commands fails: ZeroDivisionError: division"),
        (one_command("return 3"), 1, "sodarouter: plugin odd (acme-odd 1.0): commands must give a typer.Typer, not 3"),
        (
            one_command("return None"),
            1,
            "sodarouter: plugin odd (acme-odd 1.0): commands must give a typer.Typer, not N",
        ),
        (
            one_command("return typer.Typer()"),
            1,
            "sodarouter: plugin odd (acme-odd 1.0): commands fails: RuntimeError: ",
        ),
        (
            "1 / 0",
            2,
            "router.toml: plugin odd (acme-odd 1.0): it cannot be imported: ZeroDivisionError: division by zero",
        ),
    ],
)
def test_a_plugin_whose_commands_cannot_be_had_is_told(sodarouter, site, source, status, said):
    site.install("acme-odd", {"odd": "acme_odd"}, acme_odd=source)
    ran = sodarouter("odd")
    assert (ran.status, ran.err[: len(said)]) == (status, said)


def test_a_plugin_without_commands_says_so(sodarouter, tmp_path):
    ran = sodarouter("prometheus")
    assert ran.status == 2
    assert "No such command 'prometheus'. The plugin of that name has no commands." in ran.err


def test_a_misspelt_command_has_its_near_miss_of_the_router_or_of_a_plugin(sodarouter, site):
    assert "No such command 'tikets'. Did you mean 'tickets'?" in sodarouter("tikets").err
    assert "No such command 'evnts'. Did you mean 'events'?" in sodarouter("evnts").err
    ran = sodarouter("zzzzz")
    assert (ran.status, "No such command 'zzzzz'." in ran.err, "mean" in ran.err) == (2, True, False)


def test_the_help_names_plugins_and_neither_it_nor_a_command_imports_one(sodarouter, site):
    ran = sodarouter("--help")
    assert "Installed plugins may have commands too, under their names: tickets." in ran.out
    sodarouter("zzzzz")
    sodarouter("evnts")
    sodarouter("simulate", "validate")
    assert "acme_tickets" not in sys.modules
    site.install("acme-hello", {"hello": "acme_hello"}, acme_hello=SINGLE)
    sodarouter("hello")
    assert "acme_hello" in sys.modules
    assert "acme_tickets" not in sys.modules


def test_the_router_s_own_commands_go_before_those_of_a_plugin(sodarouter, site):
    site.install("acme-twin", {"plugins": "acme_twin", "hello": "acme_hello"}, acme_twin=SINGLE, acme_hello=SINGLE)
    listed = {plugin["name"]: plugin for plugin in json.loads(sodarouter("plugins", "--json").out)}
    commands = {name: plugin["command"] for name, plugin in listed.items() if plugin["command"]}
    assert commands == {"hello": "sodarouter hello"}
