"""Canaries: secrets that nothing else holds, where they are put, and how they are looked for afterwards."""

import base64
import json
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, get_args

from leaky import WAYS
from pydantic import BaseModel, SecretStr
from running import LISTEN, OUTGOING


def canary(name: str) -> str:
    """24 letters and digits, the same for a name each time."""
    return base64.b32encode(blake2b(name.encode(), digest_size=15).digest()).decode()


PIECE = 8
"""Characters of a canary that are looked for: a part of a secret has leaked too."""


def find(data: bytes, names: Iterable[str]) -> set[str]:
    """The canaries of which a piece is in the data, in whatever spelling."""
    return {name for name in names if any(spelling in data for spelling in _spellings(canary(name)))}


def _spellings(word: str) -> Iterator[bytes]:
    for start in range(0, len(word), PIECE):
        piece = word[start : start + PIECE].encode()
        yield piece
        yield piece.hex().encode()
        yield piece.hex().upper().encode()
        yield b"".join(b"%%%02X" % letter for letter in piece)
        yield b"".join(b"\\u00%02x" % letter for letter in piece)
        for shift in range(3):
            # without the letters that depend on what stands before and behind
            yield base64.b64encode(bytes(shift) + piece)[[0, 2, 3][shift] : 8 * (shift + PIECE) // 6]


# in the configuration

ODD = "\\\"'<&>é/%\N{SNOWMAN}"
"""What is spelt in many ways."""

SECRETS = {
    "token": canary("token"),
    "seal": canary("seal") + "0123456789" * 3,
    "source_header": f"Bearer {canary('source_header')}",
    "source_password": canary("source_password") + ODD,
    "source_hmac": canary("source_hmac") + ODD,
    "source_standard": "whsec_" + base64.b64encode(canary("source_standard").encode()).decode(),
    "url": f"SINK/hooks/{canary('url_path')}?key={canary('url_query')}",
    "update": f"SINK/tickets/{canary('update')}/{{{{ kept.id }}}}",
    "header": f"Token {canary('header')}",
    "basic": canary("basic") + ODD,
    "bearer": canary("bearer"),
    "hmac": canary("hmac") + ODD,
    "standard": "whsec_" + base64.b64encode(canary("standard").encode()).decode(),
    "proxy": f"http://router:{canary('proxy')}@SINK",
    "outgoing": f"http://router:{canary('outgoing')}@SINK",
    "mail": canary("mail") + "'<&/%",
    "env": canary("env") + ODD,
    "apprise": f"json://router:{canary('apprise')}@SINK/{canary('apprise_path')}",
    "leaky": canary("leaky") + ODD,
    "plugin": canary("plugin") + ODD,
}
"""What the configuration takes, each from a file of that name and one from the environment."""

CONFIGURED = [*(name for name in SECRETS if name != "url"), "url_path", "url_query", "apprise_path"]
"""The names of their canaries."""

VARIABLE = "SODAROUTER_CANARY"

CORE = """
[spool]
key = { file = "seal" }

[log]
level = "debug"

[source.soda]
path = "/webhooks/soda"
verify = [
  { type = "header", name = "X-Token", value = { file = "source_header" } },
  { type = "basic", username = "soda", password = { file = "source_password" } },
  { type = "hmac", header = "X-Soda-Signature", secrets = [{ file = "source_hmac" }] },
  { type = "standard-webhooks", secrets = [{ env = "SODAROUTER_CANARY" }] },
]

[outgoing]
allow = ["127.0.0.0/8"]
proxy = { file = "outgoing" }

[plugin.leaky]
token = { file = "plugin" }
"""

TELLS = 'cat; printf "%s\\n" "$TOKEN"; printf "%s" "$TOKEN" | base64; env; exit 65'
"""A command that prints whatever it knows."""

DESTINATIONS = {
    "events": 'type = "file"\npath = "events.jsonl"',
    "payloads": 'type = "file"\npath = "payloads.jsonl"\nformat = "payload"',
    "url": 'type = "forward"\nproxy = "off"\nurl = { file = "url" }',
    "update": 'type = "forward"\nproxy = "off"\nurl = "SINK/tickets"\nconcurrency = 1\nkeep = { id = "$.id" }\n'
    'update = { url = { file = "update" } }',
    "header": 'type = "forward"\nproxy = "off"\nurl = "SINK/header"\nheaders = { X-Token = { file = "header" } }',
    "basic": 'type = "forward"\nproxy = "off"\nurl = "SINK/basic"\n'
    'auth = { basic = { username = "router", password = { file = "basic" } } }',
    "bearer": 'type = "forward"\nproxy = "off"\nurl = "SINK/bearer"\nauth = { bearer = { file = "bearer" } }',
    "hmac": 'type = "forward"\nproxy = "off"\nurl = "SINK/hmac"\n'
    'sign = { type = "hmac", header = "X-Signature", secrets = [{ file = "hmac" }] }',
    "standard": 'type = "forward"\nproxy = "off"\nurl = "SINK/standard"\n'
    'sign = { type = "standard-webhooks", secrets = [{ file = "standard" }] }',
    "proxy": 'type = "forward"\nurl = "http://hooks.example.org/proxy"\nproxy = { file = "proxy" }',
    "outgoing": 'type = "forward"\nurl = "http://hooks.example.org/outgoing"',
    "mail": 'type = "email"\nhost = "127.0.0.1"\nport = MAIL\ntls = "none"\n'
    'from = "soda@example.org"\nto = ["team@example.org"]\nusername = "router"\npassword = { file = "mail" }',
    "env": f'type = "exec"\ncommand = ["sh", "-c", {json.dumps(TELLS)}]\nenv = {{ TOKEN = {{ file = "env" }} }}',
    "apprise": 'type = "apprise"\nurl = { file = "apprise" }',
    **{way: f'type = "leaky"\ntoken = {{ file = "leaky" }}\nhow = "{way}"' for way in WAYS},
    **{
        f"{way}_apart": f'type = "leaky"\ntoken = {{ file = "leaky" }}\nhow = "{way}"\nisolation = "process"'
        for way in ("raises_a_group", "prints", "loses_a_thread", "rejects", "logs")
    },
}
"""The tables of the destinations. Each gets every event, and gives up after one attempt."""


def write_config(folder: Path, sink: str, mail: int) -> Path:
    """Writes ``router.toml`` and the files of its secrets.

    Args:
        folder: Where to.
        sink: The URL of a server that echoes.
        mail: The port of a mail server.
    """
    host = sink.partition("//")[2]
    for name, secret in SECRETS.items():
        (folder / name).write_text(secret.replace("@SINK", f"@{host}").replace("SINK", sink), encoding="utf-8")
    tables = [f"[destination.{name}]\nretry = {{ max_attempts = 1 }}\n{table}" for name, table in DESTINATIONS.items()]
    listen = LISTEN.removeprefix(OUTGOING).replace("[admin]", '[admin]\ntoken = { file = "token" }')
    # so that the log of one, and what it says to the router, is looked at too
    listen = listen.replace("[server]", "[server]\nworkers = 1")
    text = "\n\n".join([listen + CORE, *tables, f"[[route]]\nto = {json.dumps(list(DESTINATIONS))}\n"])
    path = folder / "router.toml"
    path.write_text(text.replace("SINK", sink).replace("MAIL", str(mail)), encoding="utf-8")
    return path


def places(model: type[BaseModel], place: str = "") -> Iterator[str]:
    """The options of a model that take a secret, at any depth."""
    for name, info in model.model_fields.items():
        yield from _places(info.annotation, f"{place}/{model.__name__}.{name}")


def _places(annotation: Any, place: str) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, SecretStr):
        yield place
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from places(annotation, place)
    else:
        for argument in get_args(annotation):
            yield from _places(argument, place)


def taken(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """The secrets that a table has taken, each with its place as `places` names it."""
    match value:
        case SecretStr():
            yield place, value.get_secret_value()
        case BaseModel():
            for name, inner in value:
                yield from taken(inner, f"{place}/{type(value).__name__}.{name}")
        case dict() | list():
            for inner in value.values() if isinstance(value, dict) else value:
                yield from taken(inner, place)


TOKEN = 'token = { file = "token" }'

MISTAKES = {
    "in a list": (TOKEN, 'token = ["CANARY"]'),
    "under another key": (TOKEN, 'tokn = "CANARY"'),
    "in a table": (TOKEN, 'token = { value = "CANARY" }'),
    "as the name of a variable": (TOKEN, 'token = { env = "CANARY-" }'),
    "for a header's value": ('headers = { X-Token = { file = "header" } }', 'headers = { X-Token = "CANARY\\n" }'),
    "for a header's key": ('value = { file = "source_header" }', 'valu = "CANARY"'),
    "as a password in a URL": ('url = "SINK/basic"', 'url = "http://router:CANARY@hooks.example.org/"'),
    "as a URL": ('url = { file = "url" }', 'url = "CANARY"'),
    "in a URL of another kind": ('url = { file = "url" }', 'url = "ftp://CANARY/"'),
    "in a URL of a service": ('url = { file = "apprise" }', 'url = "slack://CANARY/"'),
    "before a URL of a service": ('url = { file = "apprise" }', 'url = "CANARY://CANARY/"'),
    "in a proxy of another kind": ('proxy = { file = "proxy" }', 'proxy = "https://router:CANARY@hooks.example.org/"'),
    "for a key in base64": ('secrets = [{ file = "standard" }]', 'secrets = ["CANARY!"]'),
    "in a text that does not end": ('token = { file = "plugin" }', 'token = "CANARY'),
    "twice": ('token = { file = "plugin" }', 'token = "CANARY"\ntoken = "CANARY"'),
    "in an option that a plugin does not have": ('how = "raises"', 'hw = "CANARY"'),
}
"""Where people put a secret by mistake: what of the configuration becomes what."""


def broken(config: str, mistake: str) -> str:
    """A configuration with one of the `MISTAKES`."""
    right, wrong = MISTAKES[mistake]
    sink = config.partition("/basic")[0].rpartition('"')[2]
    assert right.replace("SINK", sink) in config
    return config.replace(right.replace("SINK", sink), wrong.replace("CANARY", canary("mistake")), 1)


# in events


def callback(name: str) -> str:
    """A callback URL as Soda documents it."""
    return f"https://cloud.soda.io/integrations/webhook/8224bbc2/incident-link/510fad8c/{canary(name)}"


def member(name: str) -> dict[str, str]:
    return {"incidentLinkCallbackUrl": callback(name)}


def incident(title: str, beside: dict[str, Any], **inside: Any) -> str:
    return json.dumps({"event": "incidentCreated", "incident": {"id": "1", "title": title, **inside}, **beside})


EVENTS = [
    incident("v3", member("v3")),
    incident("v4", {}, **member("v4")),
    incident("both", member("outer"), **member("inner")),
    incident("copied", member("copied"), description=f"post to {callback('copied')} or {callback('copied')}"),
    incident("slashes", member("slashes")).replace("/", "\\/"),
    incident("escaped", {"\\": callback("escaped")}).replace('"\\\\"', '"\\u0069ncidentLinkCallbackUr\\u006C"'),
    incident("another shape", {"incidentLinkCallbackUrl": f"https://hooks.example.org/{canary('another shape')}"}),
    incident("nested", {"body": json.dumps(member("nested"))}),
    json.dumps({"event": "incidentClosed", "deep": [{"er": member("unknown")}]}),
    '{"event": "checkEvaluation", "checkResults": [{"id": "1", "outcome": "fail"}]}',
    '{"event": "validate"}',
]
MALFORMED = [
    incident("broken off", member("broken off"))[:-10],
    incident("without its end", member("without its end"))[:-2],
    str({"event": "incidentCreated", **member("Python")}),
    json.dumps({"event": "incidentCreated", "incident": [], **member("no object")}),
    json.dumps(member("no event")),
    incident("no UTF-8", member("no UTF-8"), description="\N{SNOWMAN}"),
]
CALLBACKS = [
    *("v3", "v4", "outer", "inner", "copied", "slashes", "escaped", "another shape", "nested", "unknown"),
    *("broken off", "without its end", "Python", "no object", "no event", "no UTF-8"),
]
"""The names of the canaries in `EVENTS` and `MALFORMED`."""
