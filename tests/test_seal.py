import json
import subprocess
import sys
import threading
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support import SAMPLES, make_event, payload

from sodarouter import Options
from sodarouter.callback import LEAST, NAME, is_mentioned
from sodarouter.errors import SpoolError
from sodarouter.options import Place
from sodarouter.redact import REDACTED, without_callback
from sodarouter.seal import Sealer, SealKey, Span, Unsealable, cut_out, key_file, load_keys, parse_keys, put_back

URL = "https://cloud.soda.io/integrations/webhook/8224bbc2/incident-link/510fad8c/uL-token_Kr6r"
KEYS = parse_keys("k" * 32)
ID = b"0192a4b2-0000-7000-8000-000000000000"

PIECES = [
    NAME,
    NAME[:-1],
    "incident-link",
    "incident-link/",
    "https://a/",
    '"',
    "'",
    "\\",
    ":",
    "=",
    " ",
    "/",
    "&",
    "[",
    "é",
    REDACTED,
]
tricky = st.lists(st.sampled_from([*PIECES, "x", "\n", ",", "\\u0069", "&quot;", "%22"]), max_size=12).map("".join)
urls = st.one_of(
    st.text("abc012-_/é\N{SNOWMAN}?&=", max_size=8).map(lambda token: f"{URL}{token}"),
    st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=LEAST, max_size=30),
)
values = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | tricky,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | tricky, inner, max_size=3),
    max_leaves=8,
)


def written(value: Any, random: Random) -> str:
    """A value as some JSON writer might write it: every character in any of its spellings."""
    match value:
        case str():
            return '"' + "".join(spelt(character, random) for character in value) + '"'
        case dict():
            pairs = (
                f"{written(key, random)}{space(random)}:{space(random)}{written(inner, random)}"
                for key, inner in value.items()
            )
            return "{" + f"{space(random)},{space(random)}".join(pairs) + "}"
        case list():
            return "[" + ",".join(written(inner, random) for inner in value) + "]"
        case _:
            return json.dumps(value)


def space(random: Random) -> str:
    return random.choice(["", "", " ", "\n\t"])


def spelt(character: str, random: Random) -> str:
    short = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\n": "\\n", "\t": "\\t"}
    units = character.encode("utf-16-be", "surrogatepass")
    escaped = "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    spellings = [escaped, escaped[:2] + escaped[2:].upper() if len(units) == 2 else escaped]
    if character in short:
        spellings.append(short[character])
    if character == "/" or (character >= " " and character not in short):
        spellings += [character] * 8
    return random.choice(spellings)


def placed(value: Any, member: dict[str, Any], random: Random) -> Any:
    """The value with a member added to some object in it, or to a new one round it."""
    if isinstance(value, dict) and value and random.random() < 0.7:
        key = random.choice(list(value))
        return {**value, key: placed(value[key], member, random)}
    return {"before": value, **member, "after": value}


def parsed(raw: bytes) -> Any:
    """JSON with the members of an object as a list of pairs, so that none hides another of the same name."""
    return json.loads(raw, object_pairs_hook=list)


def strings(value: Any) -> list[str]:
    if isinstance(value, list | tuple):
        return [text for inner in value for text in strings(inner)]
    return [value] if isinstance(value, str) else []


def shape(value: Any) -> Any:
    """A parsed value without its strings."""
    if isinstance(value, list | tuple):
        return [shape(inner) for inner in value]
    return "" if isinstance(value, str) else value


# cutting out and putting back


@given(values, urls, values, st.randoms(use_true_random=False))
def test_no_string_of_a_body_holds_the_callback_afterwards_and_it_comes_back_byte_for_byte(value, url, other, random):
    """Wherever its members stand, however every character is spelt, and whatever else is there."""
    body = placed(placed(value, {NAME: url}, random), {NAME: url, "copy": f"see {url} for it", "other": other}, random)
    raw = written(body, random).encode()
    rest, spans = cut_out(raw, url)
    assert put_back(rest, spans) == raw
    assert not [text for text in strings(parsed(rest)) if url in text]
    assert is_mentioned(raw)


@settings(max_examples=300)
@given(values, urls, st.randoms(use_true_random=False))
@example({"description": f"see {NAME}: ", "title": "x"}, URL, Random(1))
@example({f"{NAME}\\": "\\", "b": f'{NAME}":"'}, URL, Random(1))
def test_what_is_cut_out_of_json_leaves_json_of_the_same_shape(value, url, random):
    """Whatever strings in it look like: nothing but strings is ever touched."""
    raw = written(value, random).encode()
    rest, spans = cut_out(raw, url)
    assert put_back(rest, spans) == raw
    assert shape(parsed(rest)) == shape(parsed(raw))


@settings(max_examples=300)
@given(
    st.lists(st.binary(max_size=4) | st.sampled_from([piece.encode() for piece in PIECES]), max_size=20).map(b"".join)
)
@example(b"")
@example(f'{{"{NAME}":"'.encode())
def test_any_bytes_come_back(raw):
    rest, spans = cut_out(raw, None)
    assert put_back(rest, spans) == raw
    assert len(rest) == len(raw) + sum(len(REDACTED) - len(span.cut) for span in spans)


@pytest.mark.parametrize("name", SAMPLES)
def test_of_a_sample_nothing_but_the_callback_is_cut_out(name):
    event = make_event(name)
    callback = event.view.incident and event.view.incident.callback_url
    rest, spans = cut_out(event.raw, callback.get_secret_value() if callback else None)
    assert [span.cut.decode() for span in spans] == ([callback.get_secret_value()] if callback else [])
    assert rest == (event.raw.replace(spans[0].cut, REDACTED.encode()) if callback else event.raw)
    assert is_mentioned(event.raw) is bool(callback)


@pytest.mark.parametrize(
    "text",
    [
        f'{{"event": "incidentCreated", "{NAME}": "{URL}',
        f'{{"event": "incidentCreated", "{NAME}": "https://hooks.example.org/uL-token_Kr6',
        f"{{'event': 'incidentCreated', '{NAME}': 'https://hooks.example.org/uL-token_Kr6r'}}",
        f'{{"body": "{{\\"{NAME}\\": \\"https://hooks.example.org/uL-token_Kr6r\\"}}"}}',
        f'{{"body": "{{\\\\"{NAME}\\\\": \\\\"https:\\\\/\\\\/hooks.example.org\\\\/uL-token_Kr6r\\\\"}}"}}',
        f"<p>{{&quot;{NAME}&quot;: &quot;https://hooks.example.org/uL-token_Kr6r?a=1&amp;b=uL-token_&quot;}}</p>",
        f"body=%7B%22{NAME}%22%3A%22https%3A%2F%2Fhooks.example.org%2FuL-token_Kr6r%22%7D",
        f"{NAME}: https://hooks.example.org/uL-token_Kr6r",
        f'"{NAME}":["https://hooks.example.org/uL-token_Kr6r"]',
        f"ValueError: cannot post to {URL}: refused",
        f"cannot post to {URL.replace('/', chr(92) + '/')}",
        "GET /integrations/webhook/8224bbc2/incident-link%2F510fad8c%2FuL-token_Kr6r HTTP/1.1",
    ],
)
def test_a_callback_is_found_in_what_is_no_json_and_in_what_others_make_of_it(text):
    assert "uL-" not in without_callback(text)
    rest, spans = cut_out(text.encode())
    assert b"uL-" not in rest
    assert put_back(rest, spans) == text.encode()


def test_what_only_speaks_of_callbacks_is_left():
    for text in (
        f"no {NAME} in the event",
        f'{{"{NAME}": null}}',
        f'{{"{NAME}": ""}}',
        "incident-link-text",
        "incident-link/",
    ):
        assert without_callback(text) == text
        assert cut_out(text.encode()) == (text.encode(), ())


def test_spans_are_put_back_only_where_a_placeholder_stands():
    rest, spans = cut_out(payload("v3-incidentCreated"))
    for other in (b"", rest[1:], payload("v3-incidentCreated")):
        with pytest.raises(ValueError, match="does not belong"):
            put_back(other, spans)
    assert put_back(b"**********", [Span(0, b"a")]) == b"a"


# sealing


@pytest.mark.parametrize("raw", [payload("v3-incidentCreated"), f'{{"{NAME}": "{URL}", "x": "\xff'.encode("latin-1")])
def test_what_is_sealed_comes_back_byte_for_byte_and_shows_nothing(raw):
    sealer = Sealer(KEYS)
    rest, sealed = sealer.seal(raw, None, ID)
    assert b"incident-link" not in rest + sealed
    assert sealer.unseal(rest, sealed, ID) == raw
    assert sealer.seal(raw, None, ID)[1] != sealed, "the same nonce twice"


def test_a_body_without_a_callback_is_stored_as_it_is():
    raw = payload("v4-2026-checkEvaluation")
    assert Sealer(KEYS).seal(raw, None, ID) == (raw, None)
    assert Sealer(KEYS).unseal(raw, None, ID) is raw


def test_what_was_changed_or_is_of_another_event_is_not_opened():
    sealer = Sealer(KEYS)
    rest, sealed = sealer.seal(payload("v3-incidentCreated"), None, ID)
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for changed in ((rest, sealed, b"another"), (rest, flipped, ID), (rest, sealed[:12], ID), (rest[1:], sealed, ID)):
        with pytest.raises(Unsealable, match="changed after it was sealed, or is of another event"):
            sealer.unseal(*changed)


def test_without_the_key_it_is_said_which_is_missing():
    rest, sealed = Sealer(KEYS).seal(payload("v3-incidentCreated"), None, ID)
    stranger = Sealer(parse_keys("s" * 32))
    assert not stranger.opens(sealed)
    with pytest.raises(Unsealable, match=f"sealed with the key {sealed[:4].hex()}, which is not here"):
        stranger.unseal(rest, sealed, ID)


def test_a_new_key_seals_and_the_old_one_still_opens():
    raw = payload("v3-incidentCreated")
    rest, sealed = Sealer(KEYS).seal(raw, None, ID)
    both = Sealer(parse_keys(f"{'n' * 32}\n{'k' * 32}\n"))
    assert both.opens(sealed)
    assert both.unseal(rest, sealed, ID) == raw
    assert not Sealer(KEYS).opens(both.seal(raw, None, ID)[1])


def test_a_router_without_incidents_does_not_load_the_ciphers():
    code = (
        "import sys, sodarouter.daemon\n"
        "from sodarouter.seal import Sealer, parse_keys\n"
        "Sealer(parse_keys('k' * 32)).unseal(*Sealer(parse_keys('k' * 32)).seal(b'{}', None, b''), b'')\n"
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# keys


def test_a_key_is_made_once_and_is_the_owner_s_alone(tmp_path):
    path = key_file(tmp_path / "var" / "sodarouter.db")
    assert path == tmp_path / "var" / "sodarouter.db.key"
    keys = load_keys(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_keys(path) == keys == parse_keys(path.read_text())
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_those_who_make_a_key_at_the_same_time_have_the_same(tmp_path):
    path, found, together = tmp_path / "key", [], threading.Barrier(8)

    def make() -> None:
        together.wait()
        found.append(load_keys(path))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "a key has at least 32 characters and no white space; `openssl rand -hex 32` makes one"),
        (b"k" * 32 + b"\nhunter2\n", "a key has at least 32 characters"),
        (b"\xff" * 32, "it is not UTF-8"),
        (None, "Is a directory"),
    ],
)
def test_a_key_file_that_holds_no_key_is_refused_and_left(tmp_path, content, said):
    path = tmp_path / "key"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(SpoolError) as raised:
        load_keys(path)
    assert str(raised.value).startswith(f"the key file {path} cannot be used: {said}")
    assert "hunter2" not in str(raised.value)
    assert content is None or path.read_bytes() == content


def test_a_key_file_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match=r"cannot be used: (File exists|Not a directory)"):
        load_keys(tmp_path / "file" / "key")


def test_an_operator_s_key_is_checked_with_the_configuration():
    class Table(Options):
        key: SealKey

    place = Place()
    assert Table.model_validate({"key": "k" * 32}, context=place).key.get_secret_value() == "k" * 32
    assert place.secrets == {"k" * 32}
    with pytest.raises(ValidationError, match="a key has at least 32 characters") as raised:
        Table.model_validate({"key": "hunter2"})
    assert "hunter2" not in str(raised.value)
