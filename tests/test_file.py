"""The destination type ``file``, on real files."""

import contextlib
import errno
import gzip
import json
import os
import re
import resource
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sodarouter_file
import trio
import trio.testing
from pydantic import ValidationError
from sodarouter_file import File
from sodarouter_file.options import FileOptions
from support import SAMPLES, make_delivery, make_event, opened, payload

from sodarouter import Event, Fallback, Reject, Retry
from sodarouter.options import Place
from sodarouter.plugins import Found, Plugins

CALLBACK = "https://cloud.soda.io/integrations/webhook/1/incident-link/2/s3cret-token"
ROTATED = re.compile(r"events\.jsonl\.\d{8}T\d{6}Z(-\d+)?(\.gz)?")


def numbered(number: int, size: int = 0) -> Event:
    return make_event({"event": "checkEvaluation", "number": number, "padding": "x" * size})


def content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content(path).splitlines()]


async def write(file: File, event: Event, **known: Any) -> None:
    await file.deliver(event, make_delivery(event, **known))


def numbers(*paths: Path) -> list[int]:
    return [record["payload"]["number"] for path in paths for record in records(path)]


def rotated(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if ROTATED.fullmatch(path.name))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@contextlib.asynccontextmanager
async def a_file(path: Path, **options: Any) -> AsyncIterator[File]:
    async with opened(File, {"path": str(path), **options}) as file:
        yield file


async def deliver_all(nursery: trio.Nursery, file: File, these: Iterable[int]) -> None:
    """Starts the deliveries and lets each come as far as it can."""
    for number in these:
        nursery.start_soon(write, file, numbered(number))
    await trio.testing.wait_all_tasks_blocked()


class Sync:
    """``os.fsync``, counted, and held on demand: in that moment others queue up behind the write."""

    def __init__(self) -> None:
        self.calls = 0
        self._real = os.fsync
        self._free = threading.Event()
        self._free.set()

    def hold(self) -> None:
        self.reached = trio.Event()
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    def __call__(self, fd: int) -> None:
        if not self._free.is_set():
            trio.from_thread.run_sync(self.reached.set)
            assert self._free.wait(10)
        self.calls += 1
        self._real(fd)


@pytest.fixture
def sync(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sync]:
    sync = Sync()
    monkeypatch.setattr(os, "fsync", sync)
    yield sync
    sync.release()


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Makes writes beyond ``size`` fail half-way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_every_sample_becomes_one_line_with_the_whole_event(path: Path) -> None:
    events = [make_event(name) for name in SAMPLES]
    async with a_file(path) as file:
        for event in events:
            await write(file, event)
    assert records(path) == [event.as_dict() for event in events]


@pytest.mark.parametrize("name", SAMPLES)
async def test_the_payload_alone_is_what_soda_sent_on_one_line(path: Path, name: str) -> None:
    event = make_event(json.dumps(json.loads(payload(name)), indent=2).encode())
    async with a_file(path, format="payload") as file:
        await write(file, event)
    assert records(path) == [json.loads(event.raw_redacted)]


async def test_what_is_late_replayed_or_stands_in_for_another_says_so(path: Path) -> None:
    event = make_event(late=True)
    async with a_file(path) as file:
        await write(file, event, replay=3, fallback=Fallback("pager", "gone"))
        await write(file, make_event())
    marked, plain = records(path)
    assert (marked["late"], marked["replay"]) == (True, 3)
    assert marked["fallback"] == {"destination": "pager", "reason": "gone"}
    assert plain["late"] is False
    assert not {"replay", "fallback"} & set(plain)


async def test_the_payload_keeps_every_spelling_and_loses_only_white_space(path: Path) -> None:
    raw = '{ "event" :\r\n\t"new", "a": 1.10, "b":1E5, "c": "two  spaces \\" \\n \\u00e9 é {", "d": [ 1 , 2 ] }'
    async with a_file(path, format="payload") as file:
        await write(file, make_event(raw.encode()))
    expected = '{"event":"new","a":1.10,"b":1E5,"c":"two  spaces \\" \\n \\u00e9 é {","d":[1,2]}\n'
    assert path.read_text() == expected


@pytest.mark.parametrize("format_", ["event", "payload"])
@pytest.mark.parametrize("inside", [True, False], ids=["v4 place", "v3 place"])
async def test_the_callback_url_is_never_written(path: Path, format_: str, inside: bool) -> None:
    link = {"incidentLinkCallbackUrl": CALLBACK}
    body = {"event": "incidentCreated", "incident": {"id": "1", **(link if inside else {})}, **({} if inside else link)}
    async with a_file(path, format=format_) as file:
        await write(file, make_event(body))
    assert len(records(path)) == 1
    assert "s3cret" not in path.read_text()


async def test_what_arrives_during_a_write_is_written_with_one_write_and_one_sync(path: Path, sync: Sync) -> None:
    async with a_file(path, fsync=True) as file, trio.open_nursery() as nursery:
        sync.hold()
        nursery.start_soon(write, file, numbered(0))
        await sync.reached.wait()
        before = sync.calls
        await deliver_all(nursery, file, range(1, 64))
        sync.release()
    assert sync.calls - before == 2
    assert sorted(numbers(path)) == list(range(64))


async def test_a_cancelled_delivery_leaves_no_line_and_costs_the_others_none(path: Path, sync: Sync) -> None:
    scope = trio.CancelScope()
    async with a_file(path, fsync=True) as file, trio.open_nursery() as nursery:
        sync.hold()
        nursery.start_soon(write, file, numbered(1))
        await sync.reached.wait()
        nursery.start_soon(deliver_within, scope, file, numbered(2))
        await deliver_all(nursery, file, [3, 4])
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert scope.cancelled_caught
        sync.release()
    assert sorted(numbers(path)) == [1, 3, 4]


async def test_the_one_that_writes_for_the_others_finishes_though_it_is_cancelled(path: Path, sync: Sync) -> None:
    scope = trio.CancelScope()
    async with a_file(path, fsync=True) as file, trio.open_nursery() as nursery:
        sync.hold()
        nursery.start_soon(deliver_within, scope, file, numbered(1))
        await sync.reached.wait()
        await deliver_all(nursery, file, [2])
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        sync.release()
    assert numbers(path) == [1, 2]


async def deliver_within(scope: trio.CancelScope, file: File, event: Event) -> None:
    with scope:
        await write(file, event)


async def test_a_failed_sync_takes_the_lines_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_file(path, fsync=True) as file:
        await write(file, numbered(1))
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", fail_to_sync)
            with pytest.raises(Retry, match="Input/output error"):
                await write(file, numbered(2))
        await write(file, numbered(3))
    assert numbers(path) == [1, 3]


def fail_to_sync(fd: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


async def test_a_failed_write_fails_its_whole_batch_and_leaves_no_half_line(path: Path) -> None:
    failed = []

    async def expect_retry(number: int) -> None:
        with pytest.raises(Retry, match=rf"cannot write to {re.escape(str(path))}: File too large") as caught:
            await write(file, numbered(number, size=200_000))
        failed.append(caught.value)

    async with a_file(path) as file:
        await write(file, numbered(1))
        with file_size_limit(500_000):
            async with trio.open_nursery() as nursery:
                for number in range(2, 8):
                    nursery.start_soon(expect_retry, number)
        assert len(set(map(id, failed))) == 6
        assert numbers(path) == [1]
        await write(file, numbered(8))
    assert numbers(path) == [1, 8]


async def test_an_event_that_cannot_be_written_down_fails_alone(path: Path) -> None:
    broken = Event("1", "soda", numbered(0).received, "new", b"not JSON")
    async with a_file(path) as file, trio.open_nursery() as nursery:
        nursery.start_soon(write, file, numbered(1))
        nursery.start_soon(expect_value_error, file, broken)
        nursery.start_soon(write, file, numbered(2))
    assert sorted(numbers(path)) == [1, 2]


async def expect_value_error(file: File, event: Event) -> None:
    with pytest.raises(ValueError, match="expected ident"):
        await write(file, event)


async def test_half_a_line_left_by_a_crash_does_not_spoil_the_next_one(path: Path) -> None:
    path.write_bytes(b'{"half": ')
    async with a_file(path) as file:
        await write(file, numbered(1))
        await write(file, numbered(2))
    half, *whole = path.read_bytes().splitlines()
    assert half == b'{"half": '
    assert [json.loads(line)["payload"]["number"] for line in whole] == [1, 2]


async def test_it_goes_on_in_a_new_file_when_the_old_one_was_moved_or_deleted(path: Path) -> None:
    moved = path.with_name("moved")
    async with a_file(path) as file:
        await write(file, numbered(1))
        path.rename(moved)
        await write(file, numbered(2))
        assert (numbers(moved), numbers(path)) == ([1], [2])
        path.unlink()
        await write(file, numbered(3))
        assert numbers(path) == [3]
        path.rename(moved)
        path.touch()
        await write(file, numbered(4))
    assert (numbers(moved), numbers(path)) == ([3], [4])


async def test_folders_are_made_at_start_and_again_when_they_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "far" / "away" / "events.jsonl"
    async with a_file(path) as file:
        assert path.exists()
        path.unlink()
        path.parent.rmdir()
        await write(file, numbered(1))
    assert numbers(path) == [1]


async def test_strangers_cannot_read_the_file(path: Path) -> None:
    async with a_file(path):
        assert path.stat().st_mode & 0o007 == 0


async def test_a_place_where_no_file_can_be_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, fault in {
        "taken/events.jsonl": "taken is no folder",
        "pipe": "pipe is no regular file",
        ".": f"{tmp_path} is no regular file",
    }.items():
        with pytest.raises(ValidationError, match=fault):
            FileOptions.model_validate({"path": str(tmp_path / name)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe", "taken"], "to look makes nothing"


async def test_a_place_that_is_taken_after_it_was_looked_at_stops_the_start(tmp_path: Path) -> None:
    options = FileOptions.model_validate({"path": str(tmp_path / "events.jsonl")})
    (tmp_path / "events.jsonl").mkdir()
    with pytest.raises(IsADirectoryError, match=re.escape(str(tmp_path))):
        await File("there", options).open()


async def test_rotation_by_size_keeps_every_line_and_every_file_within_the_size(path: Path) -> None:
    async with a_file(path, rotate_size="4 KiB", keep=100) as file:
        for number in range(40):
            await write(file, numbered(number, size=300))
    older = rotated(path.parent)
    assert len(older) > 2, "several in one second"
    assert all(other.stat().st_size <= 4096 for other in [*older, path])
    assert sorted(numbers(*older, path)) == list(range(40))


async def test_only_the_newest_rotated_files_are_kept_and_no_other_file_is_touched(path: Path) -> None:
    strangers = ["events.jsonl.bak", "events.jsonl.20200101T000000Z.zip", "other.jsonl.20200101T000000Z"]
    old = "events.jsonl.20200101T000000Z.gz"
    for name in [*strangers, old]:
        (path.parent / name).write_text("{}")
    async with a_file(path, rotate_size="1 KiB", keep=3) as file:
        for number in range(15):
            await write(file, numbered(number, size=700))
    kept = rotated(path.parent)
    assert len(kept) == 3
    assert sorted(numbers(*kept, path)) == [11, 12, 13, 14]
    assert all((path.parent / name).exists() for name in strangers)


async def test_rotated_files_are_compressed_whole_and_keep_their_mode(path: Path) -> None:
    async with a_file(path, rotate_size="1 KiB", gzip=True) as file:
        path.chmod(0o600)
        for number in range(4):
            await write(file, numbered(number, size=700))
    older = rotated(path.parent)
    assert [other.suffix for other in older] == [".gz"] * 3
    assert sorted(numbers(*older, path)) == [0, 1, 2, 3]
    assert 0o600 in {other.stat().st_mode & 0o777 for other in older}
    assert not list(path.parent.glob(".*"))


async def test_what_a_crash_left_uncompressed_is_compressed_at_the_next_start(path: Path) -> None:
    left = path.with_name("events.jsonl.20200101T000000Z")
    left.write_text('{"payload": {"number": 1}}\n')
    path.with_name(".events.jsonl.20200101T000000Z.gz.partial").write_text("half")
    async with a_file(path, rotate_size="1 KiB", gzip=True):
        pass
    assert rotated(path.parent) == [left.with_name(f"{left.name}.gz")]
    assert numbers(*rotated(path.parent)) == [1]
    assert not list(path.parent.glob(".*"))


async def test_a_close_that_is_cancelled_loses_nothing_of_what_is_being_compressed(path: Path) -> None:
    left = path.with_name("events.jsonl.20200101T000000Z")
    lines = b'{"payload": {"number": 1}}\n' * 500_000
    left.write_bytes(lines)
    with trio.CancelScope() as scope:
        async with a_file(path, rotate_size="1 KiB", gzip=True):
            scope.cancel()
    for thread in threading.enumerate():
        if thread.name.startswith("tidy"):
            thread.join()
    (only,) = rotated(path.parent)
    assert content(only) == lines
    assert not list(path.parent.glob(".*"))


async def test_rotation_by_age_counts_from_the_first_line_and_over_a_restart(path: Path) -> None:
    since = path.with_name(".events.jsonl.since")
    async with a_file(path, rotate_age="1h") as file:
        await write(file, numbered(1))
        begun = since.read_text()
        await write(file, numbered(2))
    async with a_file(path, rotate_age="1h") as file:
        await write(file, numbered(3))
        assert since.read_text() == begun
        assert not rotated(path.parent)
        since.write_text("2020-01-01T00:00:00+00:00")
        await write(file, numbered(4))
        await write(file, numbered(5))
    (older,) = rotated(path.parent)
    assert (numbers(older), numbers(path)) == ([1, 2, 3], [4, 5])


@pytest.mark.parametrize("known", [None, "nonsense"])
async def test_a_file_of_unknown_age_counts_from_its_last_line(path: Path, known: str | None) -> None:
    path.write_text('{"payload": {"number": 1}}\n')
    os.utime(path, (0, 0))
    if known:
        path.with_name(".events.jsonl.since").write_text(known)
    async with a_file(path, rotate_age="1h") as file:
        await write(file, numbered(2))
    (older,) = rotated(path.parent)
    assert (numbers(older), numbers(path)) == ([1], [2])


async def test_two_destinations_on_one_path_lose_no_line_while_both_rotate(path: Path) -> None:
    options = {"rotate_size": "8 KiB", "keep": 1000, "gzip": True}
    async with a_file(path, **options) as one, a_file(path, **options) as other, trio.open_nursery() as nursery:
        for start in range(0, 400, 20):
            file = (one, other)[start // 20 % 2]
            nursery.start_soon(deliver_in_turn, file, range(start, start + 20))
    older = rotated(path.parent)
    assert older
    assert sorted(numbers(*older, path)) == list(range(400))


async def deliver_in_turn(file: File, these: range) -> None:
    for number in these:
        await write(file, numbered(number, size=200))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"keep": 3}, "set rotate_size or rotate_age"),
        ({"gzip": True}, "set rotate_size or rotate_age"),
        ({"rotate_size": "1 KiB", "keep": 0}, "greater than or equal to 1"),
        ({"rotate_size": 0}, "greater than 0"),
        ({"rotate_age": "0s"}, "greater than 0"),
        ({"format": "csv"}, "'event' or 'payload'"),
    ],
)
def test_options_that_make_no_sense_are_faults(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        FileOptions.model_validate({"path": "events.jsonl", **options})


def test_the_router_finds_the_type_and_no_fault() -> None:
    plugins = Plugins([Found("file", "sodarouter", "0", target=sodarouter_file)], {})
    assert not plugins.faults()
    assert plugins.types == {"file": File}


# a line of one's own, and previews


async def test_a_template_makes_the_line_and_its_line_breaks_become_spaces(path: Path) -> None:
    body = {
        "event": "incidentCreated",
        "incident": {"title": "a\r\nb", "number": 7},
        "incidentLinkCallbackUrl": CALLBACK,
    }
    async with a_file(path, line="INC-{{ incident.number }}\n{{ incident.title }} {{ payload }}\n") as file:
        await write(file, make_event(body))
        await write(file, make_event("v3-incidentCreated"))
    first, second = path.read_text().splitlines()
    assert first.startswith("INC-7 a b {'event'")
    assert second.startswith("INC-196 Invalid customer ids")
    assert "s3cret" not in first


async def test_a_template_that_fails_rejects_its_own_event_alone(path: Path) -> None:
    async with a_file(path, line="{{ incident.title }}") as file:
        with pytest.raises(Reject, match="template"):
            await write(file, numbered(1))
        await write(file, make_event("v3-incidentCreated"))
    assert path.read_text() == "Invalid customer ids\n"


def test_a_line_takes_the_place_of_a_format(path: Path) -> None:
    with pytest.raises(ValidationError, match="line takes the place of format"):
        FileOptions.model_validate({"path": str(path), "line": "x", "format": "payload"})


@pytest.mark.parametrize("options", [{}, {"format": "payload"}, {"line": "{{ event.type }}\n{{ delivery.id }}"}])
async def test_a_preview_is_the_line_that_arrives(path: Path, options: dict[str, Any]) -> None:
    event = make_event("v3-incidentCreated", late=True)
    delivery = make_delivery(event, replay=2, fallback=Fallback("pager", "gone"))
    shown = File("there", FileOptions.model_validate({"path": str(path), **options}, context=Place())).preview(
        event, delivery
    )
    assert not path.exists()
    async with a_file(path, **options) as file:
        await file.deliver(event, delivery)
    assert shown.body == path.read_bytes()
    assert shown.target == str(path)
