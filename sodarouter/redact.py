"""Keeps secrets out of text: whatever the router prints, logs or stores of others' words goes through a `Redactor`."""

import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from sodarouter.callback import find_in_text

REDACTED = "**********"

LEAST = 4
"""Characters of a secret that is looked for: a shorter one would blot out ordinary words."""
LEAST_ENCODED = 8
"""Characters of a secret's base64 and hexadecimal forms, which are random letters and stand in the middle of others."""
LEAST_PART = 16
"""Characters of a part of a URL that is likelier a token than a word, such as ``/webhook``."""


class Redactor:
    """Takes known secrets and Soda's callback URLs out of text.

    It knows each secret as it is and as others are likely to show it: in JSON, HTML, ``repr``, percent-encoding, base64
    and hexadecimal; and the parts of it that are secrets too, such as the path of a URL and the password in it.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: Mapping[str, Sequence[str]] = {}
        """What to look for, by how it begins: many forms begin alike, and a text need be searched for that only once."""
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Adds secrets. Other threads may redact meanwhile: they know all of these or none."""
        known = {form for forms in self._known.values() for form in forms}
        known.update(form for secret in secrets for part in _parts(secret) for form in _forms(part))
        by_head: dict[str, list[str]] = {}
        for form in known:
            by_head.setdefault(form[:LEAST], []).append(form)
        self._known = by_head

    def __call__(self, text: str) -> str:
        # no pattern: a hundred searches for a string are faster than one for a hundred alternatives
        likely = [form for head, forms in self._known.items() if head in text for form in forms]
        # longest first, so that a secret inside another one does not leave its tail behind
        for form in sorted(likely, key=len, reverse=True):
            text = text.replace(form, REDACTED)
        return without_callback(text)

    def within(self, value: Any) -> Any:
        """The same value with every string in it, at any depth of dicts and lists, redacted."""
        match value:
            case str():
                return self(value)
            case dict():
                return {self.within(k): self.within(v) for k, v in value.items()}
            case list() | tuple():
                return type(value)(map(self.within, value))
            case _:
                return value


def without_callback(text: str) -> str:
    """A text, or a body or what is left of it, without Soda's incident callback URLs."""
    spans = find_in_text(text)
    if not spans:
        return text
    kept = [text[end:start] for (_, end), (start, _) in pairwise([(0, 0), *spans, (len(text), 0)])]
    return REDACTED.join(kept)


def _parts(secret: str) -> set[str]:
    """A secret, and what of it is one by itself."""
    parts = {secret, *_url_parts(secret), *_credentials(secret)}
    return {part for part in (*parts, *map(unquote, parts), *secret.splitlines()) if len(part) >= LEAST}


def _url_parts(secret: str) -> Iterator[str]:
    """The password in a URL, and what servers quote of it when they refuse it: its path, and the longer parts of that."""
    _, found, rest = secret.partition("://")
    if not found:
        return
    authority, _, path = rest.partition("/")
    user, _, password = authority.rpartition("@")[0].partition(":")
    yield password
    yield from (part for part in (user, path, *re.split(r"[/?&=#]", path)) if len(part) >= LEAST_PART)


def _credentials(secret: str) -> Iterator[str]:
    """What follows the scheme in the value of an ``Authorization`` header."""
    if header := re.fullmatch(r"[A-Za-z]+ +(\S{8,})", secret):
        yield header[1]


def _forms(secret: str) -> set[str]:
    """How others show a secret."""
    data = secret.encode(errors="surrogatepass")
    quoted = {*_quoted(secret), repr(data + _QUOTES.encode())[2:-4]}
    # the signs that encodeURIComponent and encodeURI of browsers leave, and those that Python does
    percent = {quote_plus(data), *(quote(data, safe=safe) for safe in ("", "/", "!'()*", "!'()*;,/?:@&=+$#"))}
    forms = {secret, *quoted, *percent, *(re.sub("%..", lambda code: code[0].lower(), form) for form in percent)}
    # as in the body of an answer that is quoted in an error, and in the cause that trio gives of a cancellation
    forms.update(twice for once in quoted for twice in _quoted(once))
    for form in (secret, *quoted):
        page = html.escape(form)
        forms |= {page, page.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")}
    for form in (*_base64(data), data.hex(), data.hex().upper()):
        if len(form) >= LEAST_ENCODED:
            forms |= {form, quote(form, safe=""), form.replace("/", "\\/")}
    return forms


_QUOTES = "'\""
"""A string that holds both is written between the first, which is escaped; without the second it is not."""


def _quoted(text: str) -> Iterator[str]:
    """What stands between the quotes where a string is written in Python or in JSON."""
    python = repr(text + _QUOTES)[1:-4]
    yield from (python, python.replace("\\'", "'"))
    for ascii_only in (True, False):
        form = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield from (form, form.replace("/", "\\/"))


def _base64(secret: bytes) -> Iterator[str]:
    """Those characters of a secret's base64 that are the same whatever stands before and behind it.

    A secret inside something longer, such as a password in Basic credentials, begins in one of three ways.
    """
    for encode in (b64encode, urlsafe_b64encode):
        for shift in range(3):
            text = encode(bytes(shift) + secret).decode()
            yield text[-(-8 * shift // 6) : 8 * (shift + len(secret)) // 6]
