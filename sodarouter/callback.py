"""Finds Soda's incident callback URL in bodies and texts, however it is quoted there.

Soda documents it as ``https://…/incident-link/<id>/<token>``, the value of ``incidentLinkCallbackUrl``. Its path is a
token: whoever knows it can put links onto the incident.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import AnyStr

NAME = "incidentLinkCallbackUrl"
"""The member of Soda's JSON that holds it, beside the incident or inside it."""

LEAST = 16
"""Characters of a callback URL that is looked for outside its member: a shorter one would be found in ordinary words."""

# a JSON writer may escape any letter
_KEY = "".join(rf"(?:{letter}|\\u00(?i:{ord(letter):02x}))" for letter in NAME)
# up to the closing quote, or to the end of a body that breaks off
_STRING = r'"([^"\\]*+(?:\\.[^"\\]*+)*+)'
_URL = r"""(?:[^\s"'\\<>&]|&(?!quot;|\#)|\\+[/u])++"""

# what may stand between the name and the URL where JSON is quoted in HTML, a form, a dict, other JSON
_SIGN = r"""(?:[\\"'\s:=\[+]|&(?:quot|\#34);|%[0-9A-Fa-f]{2})"""

# none of the three ever ends outside the JSON string in which it began: what is cut out of JSON leaves JSON
_PATTERN = rf"""
    {_KEY} "\s*:\s* {_STRING}                            # the member itself
    | {_KEY} {_SIGN}{{1,16}} (https?[:%] {_URL})         # quoted
    | incident-link (?:\\|%5C)*+ (?:/|%2F) ({_URL})      # by itself
"""
_IN_TEXT = re.compile(_PATTERN, re.VERBOSE | re.DOTALL)
_IN_BODY = re.compile(_PATTERN.encode(), re.VERBOSE | re.DOTALL)
_STRING_IN_BODY = re.compile(_STRING.encode() + b'"', re.DOTALL)
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")
_NAME = NAME.encode()


def is_mentioned(body: bytes) -> bool:
    """Whether a body may hold a callback URL. False for nearly all, and quick: then there is no need to parse it."""
    # one search for what both words begin with, as most bodies have neither; `find` is quicker than `in`
    if body.find(b"incident") >= 0 and (_NAME in body or b"incident-link" in body):
        return True
    # a single byte is found in no time, and many bodies have no backslash at all
    return body.find(b"\\") >= 0 and body.find(b"\\u00") >= 0 and _ESCAPED_LETTER.search(body) is not None


def find_in_text(text: str) -> list[tuple[int, int]]:
    """Where callback URLs, or at least their tokens, begin and end in a text of any kind."""
    if "incident" not in text and "\\u00" not in text:
        return []
    return list(_spans(_IN_TEXT.finditer(text)))


def find_in_body(body: bytes, callback: str | None) -> list[tuple[int, int]]:
    """Where callback URLs begin and end in a body, in their order and without overlap, each inside a JSON string.

    Args:
        body: JSON, or what was meant to be.
        callback: The URL that was found when the body was parsed: other strings that hold it are found too.
    """
    if not is_mentioned(body):
        return []
    spans = set(_spans(_IN_BODY.finditer(body)))
    if callback is not None and len(callback) >= LEAST:
        spans.update(_strings_with(callback, body))
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        # a whole string comes before what was found inside it
        if not found or start >= found[-1][1]:
            found.append((start, end))
    return found


def _spans(matches: Iterable[re.Match[AnyStr]]) -> Iterator[tuple[int, int]]:
    """Of each match the group that is the URL. An empty string is none."""
    for match in matches:
        start, end = match.span(match.lastindex or 0)
        if start < end:
            yield start, end


def _strings_with(callback: str, body: bytes) -> Iterator[tuple[int, int]]:
    for match in _STRING_IN_BODY.finditer(body):
        # escapes only lengthen, so most strings need not be read
        if len(match[1]) >= len(callback) and callback in json.loads(match[0], strict=False):
            yield match.span(1)
