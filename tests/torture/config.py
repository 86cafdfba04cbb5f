"""The tortured router's configuration: waits are short, so that it converges, and every limit is one of its own."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

SECRET = "torture"
"""Of both sources: one signs, the other sends it in a header."""
SIGNED, HEADED = "signed", "headed"
DESTINATIONS = ("log", "good", "flaky", "hanging", "picky")
"""Where everything goes that is routed."""

RETRY = '{ initial = "100ms", max_delay = "1s" }'
PICKY_RETRY = '{ initial = "100ms", max_delay = "1s", max_attempts = 3, max_age = "2s" }'
# its pauses of half a minute and more would make the end wait for them
BREAKER = 'breaker = { failures = 20, pause = "500ms", max_pause = "1s" }'

_TOML = """
# {comment}
[server]
listen = ["127.0.0.1:0"]
workers = {workers}
[admin]
listen = ["127.0.0.1:0"]
[spool]
path = "{spool}"
[source.signed]
path = "/signed"
verify = [{{ type = "hmac", header = "X-Soda-Signature", secrets = ["{secret}"], prefix = "sha256=" }}]
duplicate_window = "1d"
[source.headed]
path = "/headed"
verify = [{{ type = "header", name = "Authorization", value = "{secret}" }}]
duplicate_window = "1d"
[outgoing]
allow = ["127.0.0.0/8"]
[destination.log]
type = "file"
path = "{log}"
format = "payload"
[destination.good]
type = "forward"
url = "{good}"
concurrency = {concurrency}
[destination.flaky]
type = "forward"
url = "{flaky}"
retry = {retry}
{breaker}
[destination.hanging]
type = "forward"
url = "{hanging}"
timeout = "300ms"
retry = {retry}
{breaker}
[destination.picky]
type = "forward"
url = "{picky}"
retry = {picky_retry}
{off}
[[route]]
match = {{ event = "checkEvaluation" }}
to = {destinations}
"""


def write(path: Path, *, spool: Path, log: Path, urls: Mapping[str, str], workers: int = 0, version: int = 1) -> None:
    """Writes the configuration; each version differs a little from the one before, as one that is reloaded does."""
    text = _TOML.format(
        comment=f"version {version}",
        workers=workers,
        spool=spool,
        log=log,
        secret=SECRET,
        retry=RETRY,
        picky_retry=PICKY_RETRY,
        breaker=BREAKER,
        off='breaker = "off"',
        concurrency=4 + version % 5,
        destinations=list(DESTINATIONS),
        **urls,
    )
    tomllib.loads(text)
    # a router that reads it meanwhile must not find half of it
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
