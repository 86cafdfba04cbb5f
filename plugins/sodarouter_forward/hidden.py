"""What of a request an answer must not be stored with: many error pages quote it."""

import re
from collections.abc import Iterator

import httpx2

from sodarouter_forward.options import ForwardOptions
from sodarouter_forward.request import Composed

REDACTED = "**********"


def secrets(options: ForwardOptions) -> frozenset[str]:
    """What is secret in the options."""
    found = {options.url.get_secret_value()}
    if options.url.is_template:
        found.update(part for literal in options.url.literals for part in _target_parts(literal))
        found.update(_url_parts(httpx2.URL(options.url.head)))
    else:
        found.update(_url_parts(httpx2.URL(options.url.get_secret_value())))
    found.update(literal.strip() for value in options.headers.values() for literal in value.literals)
    if options.auth:
        found.add(options.auth.header.partition(" ")[2])
    if options.auth and options.auth.basic:
        found.add(options.auth.basic.password.get_secret_value())
    return frozenset(secret for secret in found if len(secret) >= 4)


def rendered(composed: Composed) -> frozenset[str]:
    """What is secret in a request that templates have taken part in."""
    values = {composed.headers[name] for name in composed.secret_headers}
    found = {str(composed.url), *_url_parts(composed.url), *values}
    return frozenset(secret for secret in found if len(secret) >= 8)


def _url_parts(url: httpx2.URL) -> Iterator[str]:
    """The parts of path and query that are long enough for a token, percent-encoded and not."""
    target = url.raw_path.decode()
    parts = {target, url.path, url.query.decode(), *_target_parts(target), *url.path.split("/")}
    parts.update(value for _, value in url.params.multi_items())
    return (part for part in parts if len(part) >= 8)


def _target_parts(text: str) -> Iterator[str]:
    return (part for part in re.split("[/?&=]", text) if len(part) >= 8)
