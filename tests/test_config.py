import json
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sodarouter.config import destination_types, load, load_table
from sodarouter.config.tables import Admin, Spool
from sodarouter.errors import ConfigError
from sodarouter.trial import run_tests

SHIPPED = Path(__file__).parent.parent / "router.toml"
SOURCE = '[source.soda]\npath = "/webhooks/soda"\n'
CANARY = "canary-3f9d"
JARGON = re.compile(
    r"input should|extra inputs|union_tag|value_error|validat|pydantic|field required|string should", re.IGNORECASE
)

Faults = Callable[..., list[str]]


@pytest.fixture
def written(tmp_path) -> Callable[[str], Path]:
    def write(toml: str) -> Path:
        path = tmp_path / "router.toml"
        path.write_text(toml, encoding="utf-8")
        return path

    return write


@pytest.fixture
def faults(written) -> Faults:
    """The faults of a file, each as it is printed but for the name of the file. Every one must read well."""

    def of(toml: str, *, source: str = SOURCE) -> list[str]:
        return _faults_of(written(f"{toml}\n{source}"))

    return of


def _faults_of(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(path)
    texts = str(raised.value).splitlines()
    for text in texts:
        assert text.startswith(f"{path.name}: ")
        assert not JARGON.search(text), text
    return [text.removeprefix(f"{path.name}: ") for text in texts]


def uncommented(text: str) -> Iterator[str]:
    """The shipped file with its examples in force: a commented line that looks like TOML replaces the same key above it.

    Each table is taken apart and put together again, because an example may stand for a key that is set already.
    """
    tables: list[tuple[str, dict[str, str]]] = [("", {})]
    for line in text.splitlines():
        code = line.removeprefix("# ") if re.match(r"# (\[+[a-z._]+\]+|[a-z_]+ = )", line) else line
        if header := re.match(r"\[.*?\]+", code):
            tables.append((header[0], {}))
        elif key := re.match(r"([a-z_]+) = ", code):
            tables[-1][1][key[1]] = code
    for header, keys in tables:
        yield header
        yield from keys.values()


def test_the_shipped_file_loads_and_warns_only_that_nothing_is_verified():
    config = load(SHIPPED)
    (warning,) = config.warnings
    assert str(warning) == (
        "router.toml: source.soda: nothing is verified: whoever can reach it can send events; "
        "set verify before it faces the internet"
    )
    assert [destination.name for destination in config.destinations] == ["log"]
    assert config.file.spool.path == SHIPPED.parent / "var/sodarouter.db"
    assert all(address.is_local for address in (*config.file.server.listen, *config.file.admin.listen))


def test_the_shipped_file_loads_with_all_its_examples_in_force(written, tmp_path, monkeypatch):
    for name in re.findall(r'env = "(\w+)"', SHIPPED.read_text(encoding="utf-8")):
        monkeypatch.setenv(name, "https://example.org/hook")
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    text = "\n".join(uncommented(SHIPPED.read_text(encoding="utf-8")))
    examples = re.findall(r"^# \[+((?:destination\.)?\w+)\]+", SHIPPED.read_text(encoding="utf-8"), re.MULTILINE)
    config = load(written(text))
    assert config.file.server.tls
    assert config.file.admin.token
    assert config.sources[0].table.verify
    named = {name.removeprefix("destination.") for name in examples if name.startswith("destination.")}
    assert {destination.name for destination in config.destinations} == {"log", *named}
    assert len(config.file.route) == 1 + examples.count("route")
    assert len(config.file.team) == examples.count("team") == 1
    assert [one.failures for one in run_tests(config, lambda _: None)] == [()] * examples.count("test")
    assert list(config.warnings) == []


def test_paths_start_at_the_folder_of_the_file(written, monkeypatch):
    path = written(SOURCE + '[server]\nlisten = ["unix:run/in.sock"]\n[destination.log]\ntype = "file"\npath = "log"\n')
    monkeypatch.chdir(path.parent.parent)
    config = load(Path(path.parent.name) / path.name)
    assert config.file.spool.path == path.parent / "var/sodarouter.db"
    assert [str(address) for address in config.file.server.listen] == [f"unix:{path.parent}/run/in.sock"]
    assert config.destinations[0].options.path == path.parent / "log"


def test_every_fault_is_told_at_once(faults):
    told = faults(
        """
        speel = 1
        [server]
        max_body = "5 potatoes"
        [destination.audit]
        type = "flie"
        [destination."on call"]
        type = "forward"
        url = "gopher://example.org"
        [plugin.prometheus]
        pth = "/m"
        [[route]]
        to = ["audti"]
        """.replace("        ", ""),
        source="",
    )
    assert told == [
        'server.max_body: must be a size, like "2 MiB"',
        'destination."on call": a name is a letter or a digit, then letters, digits, "-" and "_", 64 of them at most',
        "speel: unknown key; did you mean 'spool'?",
        "plugin.prometheus.pth: unknown key; did you mean 'path'?",
        "destination.audit.type: no plugin offers 'flie'; did you mean 'file'?",
        'destination."on call".url: must be an absolute URL that begins with http:// or https://',
        'source: there is none; add one: [source.soda] with path = "/webhooks/soda"',
    ]


def test_a_key_that_is_wrong_hides_nothing_of_what_stands_beside_it(faults):
    told = faults(
        """
        [destination.log]
        type = "file"
        path = "log.jsonl"
        fallback = "c2"
        [[route]]
        match = { evnt = "x" }
        active = ["offce"]
        to = ["lgo"]
        [[route]]
        to = ["c2"]
        [window.office]
        hours = "09:00-17:00"
        """.replace("        ", "")
    )
    assert told == [
        "route[0].match.evnt: unknown key; did you mean 'event'?",
        "route[0].to: there is no destination 'lgo'; did you mean 'log'?",
        "route[1].to: there is no destination 'c2'",
        "route[0].active: there is no window 'offce'; did you mean 'office'?",
        "destination.log.fallback: there is no destination 'c2'",
    ]


VALUE = 'value = "x"'
SIGNED = '[source.x]\npath = "/x"\nverify = [{ %s }]\n'
FILE = '[destination.log]\ntype = "file"\npath = "log"\n%s\n'
FORWARD = '[destination.there]\ntype = "forward"\nurl = "https://example.org/"\n%s\n'
LOG = '[destination.{}]\ntype = "file"\npath = "log"\nfallback = "{}"\n'
ROUTED = FILE % "" + '[[route]]\nto = ["log"]\n%s\n'
DURATION = 'a duration is written like "30s", "5m", "1h 30m" or "7d", not '
RATE = 'a rate is written like "10/s", "100/m" or "5/h", not '
PATH = 'a path begins with "/" and has no spaces, "?", "#" or "%" in it'
VERIFICATIONS = "header, basic, hmac, standard-webhooks, address"


@pytest.mark.parametrize(
    ("toml", "place", "meant"),
    [
        ("sorce = 1", "sorce", "source"),
        ("[log]\nlvl = 1", "log.lvl", "level"),
        ("[server]\nlistne = []", "server.listne", "listen"),
        ('[server]\ntls = { cert = "c", kye = "k" }', "server.tls.kye", "key"),
        ('[source.x]\npth = "/x"', "source.x.pth", "path"),
        ('[source.verify]\npth = "/x"', "source.verify.pth", "path"),
        (SIGNED % f'type = "header", nmae = "A", {VALUE}', "source.x.verify[0].nmae", "name"),
        (SIGNED % 'type = "hmac", header = "A", secrets = ["x"], perfix = ""', "source.x.verify[0].perfix", "prefix"),
        (SIGNED % f'tpye = "header", name = "A", {VALUE}', "source.x.verify[0].tpye", "type"),
        (FILE % 'timeot = "1s"', "destination.log.timeot", "timeout"),
        (FILE % 'rotate_sise = "1s"', "destination.log.rotate_sise", "rotate_size"),
        (FILE % "retry = { max_attemps = 1 }", "destination.log.retry.max_attemps", "max_attempts"),
        (FILE % 'rate = { limt = "1/s" }', "destination.log.rate.limt", "limit"),
        (FILE % "breaker = { failurs = 1 }", "destination.log.breaker.failurs", "failures"),
        (FILE % 'fallbck = "log"', "destination.log.fallbck", "fallback"),
        (FORWARD % 'auth = { baerer = "x" }', "destination.there.auth.baerer", "bearer"),
        ('[destination.log]\ntpe = "file"', "destination.log.tpe", "type"),
        (ROUTED % "sotp = true", "route[0].sotp", "stop"),
        (ROUTED % 'match = { evnt = "x" }', "route[0].match.evnt", "event"),
        (ROUTED % 'match = { not = { tga = "x" } }', "route[0].match.not.tga", "tag"),
        (FILE % "" + '[[route]]\not = ["log"]', "route[0].ot", "to"),
        ("[unrouted]\ntoo = []", "unrouted.too", "to"),
        ("[plugins]\ndisable = []", "plugins.disable", "disabled"),
        ("[plugin.prometheus]\npth = 1", "plugin.prometheus.pth", "path"),
    ],
)
def test_an_unknown_key_is_a_fault_that_says_what_was_perhaps_meant(faults, toml, place, meant):
    assert faults(toml) == [f"{place}: unknown key; did you mean '{meant}'?"]


def test_an_unknown_key_that_is_like_no_other_has_no_hint(faults):
    assert faults("[server]\nqqq = 1") == ["server.qqq: unknown key"]
    assert faults(FILE % '"a b" = 1') == ['destination.log."a b": unknown key']


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ("server = 3", "server: must be a table"),
        ("destination = [1]", "destination: must be a table"),
        ("destination.log = 1", "destination.log: must be a table; a destination has a name: write [destination.NAME]"),
        (
            '[destination]\ntype = "file"',
            "destination.type: must be a table; a destination has a name: write [destination.NAME]",
        ),
        ('[plugin]\npath = "/m"', "plugin.path: must be a table; a plugin has a name: write [plugin.NAME]"),
        ("route = 3", "route: must be a list"),
        ('[route]\nto = ["log"]', "route: must be a list; write [[route]]"),
        ('[unrouted]\nto = "log"', 'unrouted.to: must be a list; write ["…"]'),
        ('[server]\nlisten = "127.0.0.1:1"', 'server.listen: must be a list; write ["…"]'),
        (
            SIGNED % 'type = "hmac", header = "A", secrets = "s3cret"',
            'source.x.verify[0].secrets: must be a list; write ["…"]',
        ),
        ('[source.x]\npath = "/x"\nverify = { type = "header" }', "source.x.verify: must be a list; write [{ … }]"),
        ('[source.x]\npath = "/x"\nverify = "text"', "source.x.verify: must be a list"),
        ('[spool]\npath = ""', "spool.path: must not be empty"),
        ("[spool]\npath = 3", "spool.path: must be a path"),
        ("[server]\nmax_connections = true", "server.max_connections: must be a whole number"),
        ("[server]\nmax_connections = 1.5", "server.max_connections: must be a whole number"),
        ("[server]\nmax_connections = 0", "server.max_connections: must be at least 1"),
        ("[server]\nlisten = []", "server.listen: must not be empty"),
        ('[log]\nlevel = "verbose"', "log.level: must be 'debug', 'info', 'warning' or 'error'"),
        (SIGNED % f'type = "header", name = 3, {VALUE}', "source.x.verify[0].name: must be text"),
        ('[source.x]\npath = "/x"\nverify = ["text"]', "source.x.verify[0]: must be a table"),
        (FILE % "fsync = 1", "destination.log.fsync: must be true or false"),
        (FILE % "keep = 0", "destination.log.keep: must be at least 1"),
        (FILE % "concurrency = 1001", "destination.log.concurrency: must be at most 1000"),
        (FORWARD % "idempotency_header = 3", "destination.there.idempotency_header: must be text"),
        (FORWARD % 'method = "GET"', "destination.there.method: must be 'POST', 'PUT' or 'PATCH'"),
        (ROUTED % "name = 3", "route[0].name: must be text"),
        (ROUTED % "match = { severity = [] }", "route[0].match.severity: must not be empty"),
        (ROUTED % 'match = { dataset = "" }', "route[0].match.dataset: must not be empty"),
        (ROUTED % 'match = { dataset = ["a", ""] }', "route[0].match.dataset[1]: must not be empty"),
        (ROUTED % 'match = { attribute = "x" }', "route[0].match.attribute: must be a table"),
        ("[plugin.prometheus]\npath = 1", "plugin.prometheus.path: must be text"),
        ('[plugin.prometheus]\npath = "x"', "plugin.prometheus.path: must begin with /"),
        (
            '[source.x]\npath = "/x"\nreply_with_link = "10s"',
            "source.x.reply_with_link: must be at most 9s: Soda itself gives up after 10s",
        ),
        ("[server]\nbody_timeout = 8", f"server.body_timeout: {DURATION}8"),
        ('[spool]\nretention = "30 days"', f"spool.retention: {DURATION}'30 days'"),
        (FILE % 'timeout = "0s"', "destination.log.timeout: must be more than 0"),
        (FILE % 'retry = { initial = "0s" }', "destination.log.retry.initial: must be more than 0"),
        (FILE % 'retry = { delays = ["1s", "x"] }', f"destination.log.retry.delays[1]: {DURATION}'x'"),
        (FILE % "retry = { delays = [] }", "destination.log.retry.delays: must not be empty"),
        (
            FILE % 'retry = { delays = ["1s"], max_attempts = 2 }',
            "destination.log.retry: max_attempts has no meaning beside delays, which says how often and when",
        ),
        (
            FILE % 'retry = { delays = ["2d"] }',
            "destination.log.retry: its delays add up to 2d, and max_age ends it after 1d",
        ),
        (FILE % 'rate = "10 a second"', f"destination.log.rate: {RATE}'10 a second'"),
        (FILE % "rate = 10", f"destination.log.rate: {RATE}10"),
        (FILE % 'rate = "0/s"', "destination.log.rate: a rate is at least 1"),
        (FILE % 'rate = { limit = "x" }', f"destination.log.rate.limit: {RATE}'x'"),
        (FILE % 'rate = { limit = "1/s", burst = 0 }', "destination.log.rate.burst: must be at least 1"),
        (FILE % "rate = { burst = 2 }", "destination.log.rate.limit: is missing"),
        (
            FILE % "breaker = false",
            'destination.log.breaker: a breaker is "off", or a table such as { failures = 10, pause = "30s" }',
        ),
        (FILE % "breaker = { failures = 0 }", "destination.log.breaker.failures: must be at least 1"),
        (
            FILE % 'breaker = { pause = "1h" }',
            "destination.log.breaker: max_pause must not be shorter than pause",
        ),
        (FILE % 'order_by = "check"', "destination.log.order_by: must be 'incident' or 'dataset'"),
        (FILE % 'mode = "once"', "destination.log.mode: must be 'at-least-once' or 'at-most-once'"),
        (
            FILE % 'mode = "at-most-once"\nretry = { max_attempts = 1 }',
            'destination.log: mode = "at-most-once" has nothing to retry; leave retry out',
        ),
        ('[spool]\nmax_size = "big"', 'spool.max_size: must be a size, like "2 MiB"'),
        (
            "[server]\nlisten = [8080]",
            'server.listen[0]: an address is written like "127.0.0.1:8080", "[::1]:8080" or "unix:run/router.sock"',
        ),
        (
            '[server]\ntrusted_proxies = ["10.0.0.1/8"]',
            "server.trusted_proxies[0]: '10.0.0.1/8' has bits set beyond its prefix; did you mean '10.0.0.0/8'?",
        ),
        ('[source.x]\npath = "x"', f"source.x.path: {PATH}"),
        ('[source.x]\npath = "/x?y"', f"source.x.path: {PATH}"),
        (
            '[source."a b"]\npath = "/x"',
            'source."a b": a name is a letter or a digit, then letters, digits, "-" and "_", 64 of them at most',
        ),
    ],
)
def test_a_wrong_value_is_a_fault_that_says_what_would_be_right(faults, toml, fault):
    assert faults(toml) == [fault]


@pytest.mark.parametrize(
    ("verification", "fault"),
    [
        (
            'type = "header", name = "A", value = { env = "SODAROUTER_TEST_UNSET" }',
            "value: the environment variable SODAROUTER_TEST_UNSET is not set or is empty",
        ),
        (
            'type = "header", name = "A", value = ["x", { env = "SODAROUTER_TEST_UNSET" }]',
            "value[1]: the environment variable SODAROUTER_TEST_UNSET is not set or is empty",
        ),
        (
            'type = "basic", username = "u", password = { file = "gone" }',
            "password: the secret's file 'gone' cannot be read: No such file or directory",
        ),
        (
            'type = "basic", username = "u", password = { evn = "X" }',
            'password: a secret is a string, { env = "NAME" } or { file = "path" }',
        ),
        ('type = "basic", username = "u", password = ""', "password: a secret must not be empty"),
        (
            'type = "standard-webhooks", secrets = ["whsec_!"]',
            "secrets[0]: a Standard Webhooks secret is base64, usually behind whsec_",
        ),
    ],
)
def test_a_secret_that_is_not_there_is_a_fault(faults, verification, fault):
    assert faults(SIGNED % verification) == [f"source.x.verify[0].{fault}"]


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ("[destination.audit]\ntype = 'flie'", "audit.type: no plugin offers 'flie'; did you mean 'file'?"),
        ("[destination.audit]\ntype = 'kafka'", "audit.type: no plugin offers 'kafka'; is its package installed?"),
        ("[destination.audit]\npath = 'x'", "audit.type: is missing; one of apprise, email, exec, file, forward"),
        ("[destination.audit]\ntype = 3", "audit.type: must be text; one of apprise, email, exec, file, forward"),
        (FORWARD % 'sign = { type = "x" }', "there.sign.type: must be one of hmac, standard-webhooks"),
    ],
)
def test_a_destination_of_an_unknown_type_is_a_fault(faults, toml, fault):
    assert faults(toml) == [f"destination.{fault}"]


def test_a_verification_of_an_unknown_type_is_a_fault(faults):
    assert faults(SIGNED % 'type = "haeder"') == [
        f"source.x.verify[0].type: must be one of {VERIFICATIONS}; did you mean 'header'?"
    ]
    assert faults(SIGNED % 'name = "A"') == [f"source.x.verify[0].type: is missing; one of {VERIFICATIONS}"]


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ("[plugin.prometeus]", "plugin.prometeus: no such plugin is installed; did you mean 'prometheus'?"),
        ("[plugin.file]", "plugin.file: this plugin has no options; leave the table out"),
        (FILE % "" + '[[route]]\nto = ["lgo"]', "route[0].to: there is no destination 'lgo'; did you mean 'log'?"),
        (FILE % "" + '[[route]]\nname = "x"', "route[0].to: is missing"),
        (FILE % "" + "[[route]]\nto = []", "route[0].to: must not be empty"),
        ('[unrouted]\nto = ["x"]', "unrouted.to: there is no destination 'x'"),
        (
            FILE % 'fallback = "lgo"',
            "destination.log.fallback: there is no destination 'lgo'; did you mean 'log'?",
        ),
        (
            FILE % 'fallback = "log"',
            "destination.log.fallback: a destination cannot stand in for itself; name another, or leave it out",
        ),
        (
            "".join(LOG.format(name, to) for name, to in ("ab", "bc", "cb")),
            "destination.b.fallback: goes in a circle: b, c, b; leave one of them out",
        ),
        ('[source.x]\npath = "/webhooks/soda"', "source.soda.path: source.x has the same path"),
        ('[source.x]\npath = "/livez"', "source.x.path: /livez is the router's own"),
        (
            '[admin]\nlisten = ["0.0.0.0:8081"]',
            "admin.token: is missing, and 0.0.0.0:8081 can be reached from elsewhere; set a token",
        ),
        (
            '[admin]\nlisten = ["127.0.0.1:8080"]',
            "admin.listen[0]: 127.0.0.1:8080 is taken by server.listen[0]; each needs an address of its own",
        ),
        (
            '[server]\nlisten = ["[::1]:80", "[::1]:80"]',
            "server.listen[1]: [::1]:80 is taken by server.listen[0]; each needs an address of its own",
        ),
    ],
)
def test_what_does_not_fit_together_is_a_fault(faults, toml, fault):
    assert faults(toml) == [fault]


def test_a_file_without_a_source_is_a_fault(faults):
    assert faults("", source="") == ['source: there is none; add one: [source.soda] with path = "/webhooks/soda"']


def test_a_source_without_a_name_is_told_how_it_is_written(faults):
    assert faults('[source]\npath = "/a"', source="") == [
        "source.path: must be a table; a source has a name: write [source.NAME]"
    ]


def test_files_of_tls_that_cannot_be_read_are_faults(faults, tmp_path):
    (tmp_path / "cert.pem").touch()
    gone = "cannot be read: no such file or directory"
    tls = 'tls = { cert = "cert.pem", key = "gone.pem", client_ca = "ca.pem" }'
    assert faults(f'[server]\n{tls}\n[admin]\ntls = {{ cert = ".", key = "cert.pem" }}') == [
        f"server.tls.key: {tmp_path}/gone.pem {gone}",
        f"server.tls.client_ca: {tmp_path}/ca.pem {gone}",
        f"admin.tls.cert: {tmp_path} cannot be read: is a directory",
    ]


def test_destinations_are_read_of_a_file_with_faults_and_without_its_secrets(written):
    path = written(
        '[destination.a]\ntype = "flie"\nurl = { env = "SODAROUTER_TEST_UNSET" }\n[destination.b]\n[destination]\nc = 3\n'
    )
    assert destination_types(path) == {"a": "flie", "b": ""}
    assert destination_types(written("[source]")) == destination_types(written("destination = 3")) == {}


def test_a_table_that_is_broken_is_not_also_told_to_be_missing(faults):
    assert faults('source = 3\ndestnation = 4\n[[route]]\nto = ["x"]', source="") == [
        "source: must be a table",
        "destnation: unknown key; did you mean 'destination'?",
    ]


def test_any_free_port_is_not_the_same_address_twice(written):
    load(written('[server]\nlisten = ["127.0.0.1:0"]\n[admin]\nlisten = ["127.0.0.1:0"]\n' + SOURCE))


def test_an_admin_listener_off_loopback_is_fine_with_a_token(written):
    load(written('[admin]\nlisten = ["0.0.0.0:8081"]\ntoken = "t0ken"\n' + SOURCE))


def test_a_disabled_plugin_offers_nothing(faults):
    assert faults('[plugins]\ndisabled = ["file"]\n' + FILE % "") == [
        "destination.log.type: no plugin offers 'file'; the plugin file is installed, but disabled or broken"
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[server]\nlisten = \n", "router.toml:2:10: is not TOML: invalid value"),
        (b"[server\n", "router.toml:1:8: is not TOML: expected ']' at the end of a table declaration"),
        (b"[source.soda]\n[source.soda]\n", "router.toml:2:13: is not TOML: cannot declare [source.soda] twice"),
        (b"a = 1\na = 2\n", "router.toml:2:6: is not TOML: cannot overwrite a value"),
        (b"a = '\xff'\n", "router.toml: is not UTF-8 at byte 5"),
    ],
)
def test_a_file_that_is_no_toml_is_told_with_the_place(tmp_path, content, told):
    path = tmp_path / "router.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert str(raised.value) == told


def test_a_file_that_cannot_be_read_is_told_with_its_whole_path(tmp_path):
    for path, told in (
        (tmp_path / "gone.toml", "there is no such file; name another with --config"),
        (tmp_path, "cannot be read: is a directory"),
    ):
        with pytest.raises(ConfigError) as raised:
            load(path)
        assert str(raised.value) == f"{path}: {told}"


def test_one_table_alone_needs_nothing_of_the_others(written):
    path = written('[spool]\npath = "x.db"\n[admin]\ntoken = { env = "SODAROUTER_TEST_UNSET" }\nlsten = 1\n[source]\n')
    assert load_table(path, "spool", Spool).path == path.parent / "x.db"
    with pytest.raises(ConfigError) as raised:
        load_table(path, "admin", Admin)
    assert [str(fault) for fault in raised.value.faults] == [
        "router.toml: admin.token: the environment variable SODAROUTER_TEST_UNSET is not set or is empty",
        "router.toml: admin.lsten: unknown key; did you mean 'listen'?",
    ]


def test_no_secret_is_in_any_error_text(written, tmp_path, monkeypatch):
    """Secrets that are not right, that stand in the wrong place, and that are given twice."""
    monkeypatch.setenv("SODAROUTER_TEST_SECRET", CANARY)
    monkeypatch.setenv("SODAROUTER_TEST_LINES", f"{CANARY}\n{CANARY}")
    (tmp_path / "secret").write_text(CANARY + "\n")
    path = written(f"""
        [admin]
        token = ["{CANARY}"]
        listen = ["{CANARY}"]
        [log]
        level = "{CANARY}"
        [server]
        body_timeout = "{CANARY}"
        trusted_proxies = ["{CANARY}"]
        [source.a]
        path = "{CANARY}"
        verify = "Bearer {CANARY}"
        [source.b]
        path = "/b"
        verify = [
            "{CANARY}",
            {{ type = "{CANARY}" }},
            {{ type = "header", name = "A", value = {{ env = "SODAROUTER_TEST_LINES" }} }},
            {{ type = "header", name = "A", value = "{CANARY} " }},
            {{ type = "basic", username = "a:b", password = {{ file = "secret" }} }},
            {{ type = "standard-webhooks", secrets = ["whsec_{CANARY}", {{ env = "SODAROUTER_TEST_SECRET" }}] }},
            {{ type = "hmac", header = "X", secrets = "{CANARY}", algorithm = "{CANARY}" }},
        ]
        [destination.a]
        type = "forward"
        url = "{CANARY}"
        auth = {{ bearer = "{CANARY}\\n", basic = "{CANARY}" }}
        headers = {{ A = ["{CANARY}"] }}
        proxy = "socks://{CANARY}"
        [destination.b]
        type = "{CANARY}"
        [destination.c]
        type = "forward"
        url = "https://user:{CANARY}@example.org/"
        [[route]]
        to = ["{CANARY}"]
    """)
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert len(raised.value.faults) >= 15
    told = "\n".join([repr(raised.value), *traceback.format_exception(raised.value)])
    assert CANARY not in told


WHOLE: dict[str, Any] = {
    "server": {
        "listen": ["127.0.0.1:8080"],
        "tls": {"cert": "c", "key": "k", "client_ca": "a"},
        "max_body": "1 MiB",
        "body_timeout": "1s",
        "header_timeout": "1s",
        "keep_alive": "1s",
        "max_connections": 9,
        "http": "hypercorn",
        "stop_timeout": "1s",
        "trusted_proxies": ["unix"],
    },
    "admin": {"listen": ["127.0.0.1:8081"], "token": "t0ken"},
    "spool": {"path": "x.db", "retention": "1d", "max_size": "1 GiB"},
    "log": {"level": "info", "format": "json"},
    "source": {
        "path": {
            "path": "/x",
            "verify": [
                {"type": "header", "name": "A", "value": ["b"]},
                {"type": "basic", "username": "u", "password": "p"},
                {
                    "type": "hmac",
                    "header": "X-Signature",
                    "secrets": ["s"],
                    "algorithm": "sha1",
                    "encoding": "hex",
                    "prefix": "p=",
                    "timestamp_header": "T",
                    "tolerance": "1s",
                    "signed": "{timestamp}{body}",
                },
                {"type": "standard-webhooks", "secrets": ["whsec_AAAA"], "tolerance": "1s"},
                {"type": "address", "allow": ["10.0.0.0/8"]},
            ],
            "duplicate_window": "1s",
        }
    },
    "plugins": {"disabled": []},
    "plugin": {"prometheus": {"path": "/m", "max_series": 10}},
    "destination": {
        "file": {
            "type": "file",
            "path": "x",
            "fsync": True,
            "rotate_size": "1 MiB",
            "timeout": "1s",
            "concurrency": 2,
            "rate": {"limit": "10/s", "burst": 2},
            "mode": "at-least-once",
            "retry": {"max_attempts": 2, "max_age": "1d", "initial": "1s", "max_delay": "1h"},
            "breaker": {"failures": 2, "pause": "1s", "max_pause": "1m"},
            "order_by": "incident",
            "fallback": "mail",
        },
        "there": {
            "type": "forward",
            "url": "https://example.org/",
            "auth": {"basic": {"username": "u", "password": "p"}},
            "sign": {"type": "standard-webhooks", "secrets": ["whsec_AAAA"]},
            "retry": {"delays": ["1s", "1m"]},
        },
        "mail": {"type": "email", "from": "a@example.org", "to": ["$owners"], "cc": ["$lead"]},
    },
    "defaults": {
        "destination": {"timeout": "1s", "retry": {"max_attempts": 2}},
        "type": {"email": {"host": "h", "timeout": "2s"}},
        "route": {"to": ["file"], "stop": False, "match": {"source": "path", "not": {"tag": "x"}}},
    },
    "include": [],
    "route": [
        {},
        {
            "name": "one",
            "to": ["file"],
            "stop": True,
            "match": {"event": "x", "severity": ["a", "b"], "dataset": "*", "not": {"tag": "x", "column": ["y"]}},
        },
        {"to": ["there", "mail"]},
    ],
    "unrouted": {"to": ["file"]},
}


def _write_pems(folder: Path) -> None:
    """The files that `WHOLE` names."""
    for name in "cka":
        (folder / name).touch()


Keys = tuple[str | int, ...]
NAMED = {("source",), ("destination",), ("plugin",), ("defaults", "type")}
"""What stands right below these are names, which are free."""


def _keys(value: object, at: Keys = ()) -> Iterator[Keys]:
    """The place of every key that is not free."""
    match value:
        case dict():
            for key, inner in value.items():
                if at not in NAMED:
                    yield (*at, key)
                yield from _keys(inner, (*at, key))
        case list():
            for index, inner in enumerate(value):
                yield from _keys(inner, (*at, index))


def _misspellings(word: str) -> set[str]:
    """One letter left out, doubled, or swapped with the next."""
    left_out = {word[:i] + word[i + 1 :] for i in range(len(word))}
    doubled = {word[:i] + word[i] + word[i:] for i in range(len(word))}
    swapped = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)}
    return (left_out | doubled | swapped) - {word, ""}


def _renamed(value: Any, at: Keys, key: str) -> Any:
    """A copy in which the key at a place is another one."""
    first, *rest = at
    if isinstance(value, list):
        return [_renamed(inner, tuple(rest), key) if i == first else inner for i, inner in enumerate(value)]
    return {
        (key if not rest and name == first else name): _renamed(inner, tuple(rest), key)
        if rest and name == first
        else inner
        for name, inner in value.items()
    }


def _toml(value: object) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return json.dumps(value)


def _write(path: Path, document: dict[str, Any]) -> Path:
    path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in document.items()), encoding="utf-8")
    return path


def test_the_document_of_the_next_test_is_valid(tmp_path):
    _write_pems(tmp_path)
    load(_write(tmp_path / "router.toml", WHOLE))


@given(data=st.data())
@settings(max_examples=100)
def test_any_single_misspelt_key_is_exactly_one_fault_at_its_place(tmp_path_factory, data):
    place = data.draw(st.sampled_from(sorted(_keys(WHOLE), key=str)))
    misspelt = data.draw(st.sampled_from(sorted(_misspellings(str(place[-1])))))
    # "plugin" and "plugins" are each a misspelling of the other
    assume(misspelt not in WHOLE)
    folder = tmp_path_factory.getbasetemp()
    _write_pems(folder)
    path = _write(folder / "router.toml", _renamed(WHOLE, place, misspelt))
    (fault,) = _faults_of(path)
    assert fault.startswith(f"{_dotted((*place[:-1], misspelt))}: unknown key")


def _dotted(place: Keys) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")
