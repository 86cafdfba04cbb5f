import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from sodarouter import ConfigPath, Duration, Options, Secret, Size
from sodarouter.options import Place, format_duration, parse_duration


class Sample(Options):
    wait: Duration = 1.5
    size: Size = Size(0)
    secret: Secret | None = None
    path: ConfigPath | None = None


def sample(place: Place | None = None, **keys: object) -> Sample:
    return Sample.model_validate(keys, context=place)


def fault(**keys: object) -> str:
    with pytest.raises(ValidationError) as raised:
        sample(**keys)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("500ms", 0.5),
        ("1h 30m", 5400),
        ("1h30m", 5400),
        ("7d", 604_800),
        ("2w", 1_209_600),
        (" 1.5 m ", 90),
    ],
)
def test_a_duration_is_written_as_people_write_it(text, seconds):
    assert parse_duration(text) == sample(wait=text).wait == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "-5s", "5 s x", "five", "1,5s", 30, None, True, ["1s"]])
def test_what_is_no_duration_is_told_how_one_is_written(text):
    assert 'a duration is written like "30s"' in fault(wait=text)


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan, "9" * 400 + "d"])
def test_a_duration_ends_and_does_not_begin_in_the_past(seconds):
    assert "not negative, and at most a hundred years" in fault(wait=seconds)


@given(st.integers(0, 10_000_000))
def test_a_printed_duration_reads_back_to_within_its_smaller_unit(seconds):
    back = parse_duration(format_duration(float(seconds)))
    assert back <= seconds
    assert seconds - back < max(1, seconds / 24)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.25, "250ms"), (90, "1m 30s"), (3600, "1h"), (90061, "1d 1h"), (30 * 86400, "30d")],
)
def test_durations_are_printed_in_at_most_two_units(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("text", "size"), [("2 MiB", 2 * 1024**2), ("1kB", 1000), ("5", 5), (7, 7)])
def test_sizes_are_written_as_people_write_them(text, size):
    assert sample(size=text).size == size


def test_what_is_no_size_is_refused():
    assert "size" in fault(size="big")


def test_a_secret_comes_from_the_environment_a_file_or_the_text_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMPLE_SECRET", "from-env")
    (tmp_path / "secret").write_text("from-file\n")
    place = Place(tmp_path)
    values = [
        sample(place, secret=secret).secret.get_secret_value()
        for secret in ({"env": "SAMPLE_SECRET"}, {"file": "secret"}, {"file": str(tmp_path / "secret")}, "inline")
    ]
    assert values == ["from-env", "from-file", "from-file", "inline"]
    assert place.secrets == {"from-env", "from-file", "inline"}
    assert "from-env" not in repr(sample(place, secret={"env": "SAMPLE_SECRET"}))


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ({"env": "SAMPLE_MISSING"}, "the environment variable SAMPLE_MISSING is not set or is empty"),
        ({"file": "missing"}, "the secret's file 'missing' cannot be read: No such file or directory"),
        ({"file": "empty"}, "the secret's file 'empty' is empty"),
        ({"file": "binary"}, "the secret's file 'binary' cannot be read: it is not UTF-8"),
        ("", "a secret must not be empty"),
    ],
)
def test_a_secret_that_is_not_there_is_told_where_it_was_looked_for(secret, said, tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ValidationError) as raised:
        sample(Place(tmp_path), secret=secret)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"secret": {"env": "PATH", "value": "hunter2"}},
        {"secret": ["hunter2"]},
        {"secret": {"vault": "hunter2"}},
        {"size": "hunter2"},
        {"path": ["hunter2"]},
        {"unknown": "hunter2"},
    ],
)
def test_no_fault_repeats_what_may_be_a_secret(keys):
    assert "hunter2" not in fault(**keys)


def test_tables_are_strict_frozen_and_know_their_keys():
    assert "unknown" in fault(unknown=1)
    with pytest.raises(ValidationError):
        sample().wait = 2.0


def test_relative_paths_start_at_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert sample(Place(tmp_path), path="var/x").path == tmp_path / "var/x"
    assert str(sample(Place(tmp_path), path="/abs").path) == "/abs"
    assert str(sample(Place(tmp_path), path="~/x").path) == "/home/me/x"


def test_defaults_that_are_secrets_are_remembered_too():
    class WithDefault(Options):
        secret: Secret = SecretStr("default-secret")

    place = Place()
    WithDefault.model_validate({}, context=place)
    assert place.secrets == {"default-secret"}


def test_the_options_of_a_plugin_have_a_schema_with_their_descriptions():
    class Described(Options):
        url: Secret
        """Where to."""

    assert Described.model_json_schema()["properties"]["url"]["description"] == "Where to."
