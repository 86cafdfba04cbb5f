"""Cuts an event's bytes down to some of its check results and leaves every other byte as it was.

Parsing and serialising again would change what the receiver gets: number spellings, key order, white space.
So the places of the results are found in the text, and the text is spliced.
"""

import json
import re
from collections.abc import Collection, Iterator

from sodarouter import soda

_WHITESPACE = re.compile(r"[ \t\n\r]*")
# numbers are skipped, not used: leaving them as text also avoids Python's limit on the digits of an integer
_decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


def cut_results(raw: bytes, keep: Collection[int]) -> bytes:
    """``raw`` with only the results at the indices ``keep``, in their order.

    Args:
        raw: A JSON object that has passed `sodarouter.soda.validate`, with its results in ``checkResults``, or in
            ``incident.checkResults`` when it is about an incident.
        keep: Indices into that array; those beyond its end are ignored.

    Raises:
        ValueError: There is no such array.
    """
    text = raw.decode()
    body = _skip(text, 0)
    event = _member(text, body, "event")
    about_incident = event is not None and soda.SCOPES.get(_decoder.raw_decode(text, event)[0]) == "incidents"
    subject = _member(text, body, "incident") if about_incident else body
    start = _member(text, subject, "checkResults") if subject is not None else None
    if start is None or text[start] != "[":
        raise ValueError("the body has no checkResults")
    spans = list(_elements(text, start))
    if not spans:
        return raw
    kept = [text[begin:end] for index, (begin, end) in enumerate(spans) if index in keep]
    return (text[: spans[0][0]] + ", ".join(kept) + text[spans[-1][1] :]).encode()


def _skip(text: str, at: int) -> int:
    match = _WHITESPACE.match(text, at)
    assert match  # noqa: S101 (the pattern matches the empty string)
    return match.end()


def _value_end(text: str, at: int) -> int:
    end: int = _decoder.raw_decode(text, at)[1]
    return end


def _member(text: str, at: int, name: str) -> int | None:
    """Where the value of the object's member ``name`` starts: the last one, as parsers read it, if there are several."""
    found = None
    if text[at] != "{":
        return None
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _decoder.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        if key == name:
            found = start
        at = _skip(text, _value_end(text, start))
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def _elements(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Start and end of each element of the array at ``at``."""
    at = _skip(text, at + 1)
    while text[at] != "]":
        end = _value_end(text, at)
        yield at, end
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
