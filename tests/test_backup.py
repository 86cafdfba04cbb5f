"""Backups of a spool and their way back: under load, damaged, cut off, killed at every step."""

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from running import LISTEN, SOURCE, router_process, running_router, until
from sink import Answer, open_sink
from support import payload

from sodarouter.errors import SpoolError
from sodarouter.spool import back_up
from sodarouter.spool.sqlite.schema import MIGRATIONS

REFUSED = b'{"event": "checkEvaluation", "checkResults": 3}'
SPOOL = "var/sodarouter.db"
TO_FILE = '[destination.log]\ntype = "file"\npath = "events.jsonl"\n[[route]]\nto = ["log"]\n'


def routes(url: str) -> str:
    """All events to a sink, and incidents to where nobody listens, which makes dead letters of them."""
    return f"""
[destination.hook]
type = "forward"
url = "{url}"
[destination.closed]
type = "forward"
url = "http://127.0.0.1:1/"
retry = {{ max_attempts = 1 }}
[[route]]
to = ["hook"]
[[route]]
match = {{ event = "incidentCreated" }}
to = ["closed"]
"""


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that has read, and does not bring the -wal in when it is closed."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as connection:
        connection.execute("SELECT * FROM sqlite_schema").fetchall()
        yield connection


def rows(path: Path) -> dict[str, list[Any]]:
    """All that a spool holds. Only what says that it is a copy is left out."""
    with reading(path) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables if table != "backup"}


def event_ids(path: Path) -> set[str]:
    with reading(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {event for (event,) in connection.execute("SELECT id FROM event")}


def states(path: Path) -> set[tuple[str, str, int]]:
    with reading(path) as connection:
        return set(connection.execute("SELECT destination, state, leased FROM delivery"))


def untold(_done: int, _total: int) -> None:
    pass


def wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.part*")]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a router left that was killed: delivered, leased and dead deliveries, and a quarantined body."""
    folder = tmp_path_factory.mktemp("killed")
    trio.run(_leave_behind, folder)
    return folder


async def _leave_behind(folder: Path) -> None:
    async with open_sink(Answer(200), Answer(200), Answer(hold=trio.Event())) as sink:
        with router_process(folder, routes(sink.url)) as router:
            async with httpx2.AsyncClient(base_url=router.url, trust_env=False) as client:
                for number, body in enumerate(_bodies(8)):
                    assert (await client.post("/webhooks/soda", content=body)).status_code == 200
                    if number < 3:
                        await sink.until_requests(number + 1)
                await client.post("/webhooks/soda", content=payload("v3-incidentCreated"))
                assert (await client.post("/webhooks/soda", content=REFUSED)).status_code == 422
            await until(lambda: ("closed", "dead", 0) in states(folder / SPOOL))
            router.end(signal.SIGKILL)
    assert {("hook", "delivered", 0), ("hook", "pending", 1), ("closed", "dead", 0)} <= states(folder / SPOOL)


def _bodies(many: int, begin: int = 0) -> list[bytes]:
    return [b'{"event": "checkEvaluation", "n": %d}' % number for number in range(begin, begin + many)]


@pytest.fixture
def spool(killed: Path, tmp_path: Path) -> Path:
    """The spool of a killed router, in the folder of the test: a database and its ``-wal``."""
    (tmp_path / "var").mkdir()
    for path in (killed / "var").iterdir():
        (tmp_path / "var" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "router.toml").write_text(LISTEN + SOURCE + routes("http://127.0.0.1:1/"))
    return tmp_path / SPOOL


# backup


async def test_each_backup_under_load_holds_whatever_was_acknowledged_before_it(tmp_path):
    """A router takes in events as fast as it can while backups are made one after another."""
    acknowledged: list[str] = []

    async def post(client: httpx2.AsyncClient, begin: int) -> None:
        for body in _bodies(100_000, begin * 100_000):
            answer = await client.post("/webhooks/soda", content=body)
            assert answer.status_code == 200
            acknowledged.append(answer.json()["id"])

    with router_process(tmp_path, TO_FILE) as router:
        async with httpx2.AsyncClient(base_url=router.url, trust_env=False) as client, trio.open_nursery() as nursery:
            for begin in range(4):
                nursery.start_soon(post, client, begin)
            for number in range(2):
                await until(lambda: len(acknowledged) > 100 * (number + 1))  # noqa: B023 (called in this round)
                before = set(acknowledged)
                command = [sys.executable, "-m", "sodarouter", "backup", f"{number}.db"]
                ran = await trio.run_process(command, cwd=tmp_path, capture_stdout=True, capture_stderr=True)
                assert ran.stderr == b""
                assert before <= event_ids(tmp_path / f"{number}.db")
            nursery.cancel_scope.cancel()
        assert router.end(signal.SIGTERM) == 0
    assert event_ids(tmp_path / "0.db") < event_ids(tmp_path / "1.db") <= event_ids(tmp_path / SPOOL)


def test_commits_during_a_backup_neither_show_in_it_nor_begin_it_anew(spool, tmp_path, monkeypatch):
    monkeypatch.setattr("sodarouter.spool.sqlite.backup.PAGES", 1)
    before = rows(spool)
    told = []
    with closing(sqlite3.connect(spool, isolation_level=None)) as writer:
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        (size,) = writer.execute("PRAGMA page_size").fetchone()

        def commit(done: int, total: int) -> None:
            told.append((done, total))
            assert len(told) <= pages
            writer.execute("UPDATE event SET repeats = repeats + 1, type = ?", ["x" * 10_000])

        back_up(spool, tmp_path / "copy.db", commit)
    assert pages > 3
    assert told == [(size * number, size * pages) for number in range(1, pages + 1)]
    assert rows(tmp_path / "copy.db") == before
    assert rows(spool) != before


def test_a_backup_touches_neither_the_database_nor_its_wal(spool, tmp_path):
    """Its connection is the only one, and still it leaves it to the writer to bring the -wal in."""
    files = [spool, wal(spool)]
    before = [path.read_bytes() for path in files]
    assert all(before)
    back_up(spool, tmp_path / "copy.db", untold)
    assert [path.read_bytes() for path in files] == before


def test_a_backup_is_one_file_that_nobody_else_may_read(spool, tmp_path):
    (tmp_path / "there").mkdir()
    copy = tmp_path / "there/copy.db"
    back_up(spool, copy, untold)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert rows(copy) == rows(spool)
    assert [path.name for path in copy.parent.iterdir()] == ["copy.db"]
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_backup_tells_what_it_holds_and_of_what_it_is(sodarouter, spool, tmp_path):
    ran = sodarouter("backup", "copy.db")
    assert (ran.status, ran.err) == (0, "")
    size = (tmp_path / "copy.db").stat().st_size
    waiting = "9 events, 7 deliveries waiting, 1 dead letter, 1 body in quarantine"
    assert ran.out == f"copy.db: {waiting}; {size:,} bytes, checked\n"
    told = json.loads(sodarouter("backup", "copy.db", "--force", "--json").out)
    assert told["file"] == str(tmp_path / "copy.db")
    assert told["origin"]["spool"] == str(spool)
    assert told["events"] == 9
    assert told["queues"] == {
        "closed": {"pending": 0, "leased": 0, "dead": 1},
        "hook": {"pending": 0, "leased": 7, "dead": 0},
    }


def test_a_backup_of_a_backup_tells_of_itself(spool, tmp_path):
    back_up(spool, tmp_path / "first.db", untold)
    second = back_up(tmp_path / "first.db", tmp_path / "second.db", untold)
    assert second.origin
    assert second.origin.spool == str(tmp_path / "first.db")
    assert rows(tmp_path / "second.db") == rows(spool)


def test_a_file_that_is_there_is_replaced_only_if_asked(sodarouter, spool, tmp_path):
    (tmp_path / "copy.db").write_text("something of mine")
    ran = sodarouter("backup", "copy.db")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "sodarouter: copy.db is there already; --force replaces it\n"
    assert (tmp_path / "copy.db").read_text() == "something of mine"
    assert sodarouter("backup", "copy.db", "--force").status == 0
    assert rows(tmp_path / "copy.db") == rows(spool)


@pytest.mark.parametrize(
    ("file", "status", "told"),
    [
        (SPOOL, 2, f"{SPOOL} belongs to the spool itself; name another"),
        (f"var/../{SPOOL}-wal", 2, f"var/../{SPOOL}-wal belongs to the spool itself; name another"),
        (f"{SPOOL}.key", 2, f"{SPOOL}.key belongs to the spool itself; name another"),
        ("var", 2, "var is a folder; name a file in it"),
        ("nowhere/copy.db", 1, "nowhere/copy.db cannot be written: No such file or directory"),
    ],
)
def test_a_backup_says_why_it_cannot_be_there(sodarouter, spool, file, status, told):
    before = rows(spool)
    ran = sodarouter("backup", file, "--force")
    assert (ran.status, ran.out, ran.err) == (status, "", f"sodarouter: {told}\n")
    assert rows(spool) == before


def test_without_a_spool_there_is_nothing_to_back_up(sodarouter, tmp_path):
    (tmp_path / "router.toml").write_text(SOURCE)
    ran = sodarouter("backup", "copy.db")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f"sodarouter: there is no spool at {tmp_path / SPOOL}; it is made when the router first starts\n"
    assert [path.name for path in tmp_path.iterdir()] == ["router.toml"]


def test_a_backup_that_is_interrupted_leaves_nothing_behind(spool, tmp_path):
    (tmp_path / "copy.db").write_text("the last one")
    # who runs the tests in the background of a shell has it ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            back_up(spool, tmp_path / "copy.db", lambda *_: signal.raise_signal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "copy.db").read_text() == "the last one"
    assert parts(tmp_path) == []


CUT_OFF = """
import resource, sys
from pathlib import Path
from sodarouter.errors import SpoolError
from sodarouter.spool import back_up

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    back_up(Path(sys.argv[1]), Path(sys.argv[2]), lambda *_: None)
except SpoolError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("most", [0, 20_000, 100_000])
def test_a_backup_that_cannot_be_written_leaves_nothing_behind(spool, tmp_path, most):
    """The system refuses what is written beyond a size, as it does on a full disk."""
    command = [sys.executable, "-c", CUT_OFF, spool, tmp_path / "copy.db", str(most)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"{spool} cannot be copied to {tmp_path}: ")
    assert not (tmp_path / "copy.db").exists()
    assert parts(tmp_path) == []


def test_a_backup_for_which_there_is_no_room_is_not_begun(spool, tmp_path):
    """It would fill the disk under the router. This one says that it has 2 TiB."""
    back_up(spool, tmp_path / "huge.db", untold)
    with (tmp_path / "huge.db").open("r+b") as file:
        file.seek(24)
        changes = file.read(4)
        file.write((1 << 29).to_bytes(4, "big"))
        file.seek(92)
        file.write(changes)
        file.truncate(1 << 41)
    with pytest.raises(SpoolError, match=r"a copy takes 2,199,023,255,552 bytes, and the disk under .* has .*; free"):
        back_up(tmp_path / "huge.db", tmp_path / "copy.db", untold)
    assert parts(tmp_path) == []


# restore


def replaced(spool: Path) -> list[Path]:
    """What was kept, without the -wal and -shm that looking at it leaves."""
    return [path for path in sorted(spool.parent.glob(f"{spool.name}.replaced-*")) if path.name.endswith("Z")]


def on_terminal(folder: Path, *arguments: str, answer: bytes = b"") -> tuple[int, str]:
    """Runs a command on a terminal, where it gets the answer once it asks. Gives its status and all that it printed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sodarouter", *arguments]
    environment = os.environ | {"TERM": "xterm"}
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        printed = b""
        # the end of the other side is an error of this one
        with suppress(OSError):
            while read := os.read(ours, 65536):
                printed += read
                if answer and b"[y/N]" in printed:
                    os.write(ours, answer)
                    answer = b""
    os.close(ours)
    return process.returncode, printed.decode()


@pytest.fixture
def backup(spool: Path, tmp_path: Path) -> Path:
    """A backup of `spool`, which has gone on since: an event more, in its -wal."""
    back_up(spool, tmp_path / "backup.db", untold)
    with reading(spool), closing(sqlite3.connect(spool, isolation_level=None)) as writer:
        writer.execute("INSERT INTO event (id, source, received, type, raw) VALUES ('since', 'soda', 1, 'x', x'7b7d')")
    assert wal(spool).stat().st_size
    return tmp_path / "backup.db"


def test_what_is_restored_is_what_was_backed_up_and_what_was_there_is_kept(sodarouter, spool, backup, killed):
    since = rows(spool)
    ran = sodarouter("restore", "backup.db", "--yes")
    assert (ran.status, ran.err) == (0, "")
    assert rows(spool) == rows(backup) == rows(killed / SPOOL)
    assert spool.stat().st_mode & 0o777 == 0o600
    (kept,) = replaced(spool)
    assert rows(kept) == since
    assert ran.out.endswith(f"{spool} is restored; what was there is {kept}\n")
    assert parts(spool.parent) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_restores_belongs_to_whom_the_spool_belonged(sodarouter, spool, backup):
    os.chown(spool, 12345, 12345)
    assert sodarouter("restore", "backup.db", "--yes").status == 0
    found = spool.stat()
    assert (found.st_uid, found.st_gid) == (12345, 12345)


def test_a_restore_tells_what_the_router_will_do_then(sodarouter, spool, backup):
    ran = sodarouter("restore", "backup.db", "--yes")
    first, held, *then = ran.out.splitlines()
    assert first.startswith("backup.db, made 20")
    assert f" of {spool} on " in first
    assert held.startswith("  9 events, 7 deliveries waiting, 1 dead letter, 1 body in quarantine, the newest of 20")
    assert then[:3] == [
        "At its next start the router goes on with",
        "  0 for hook, and 7 that were under way",
        "Of these, what was delivered after the backup was made is delivered again, with the same idempotency key.",
    ]


def test_a_restore_as_json(sodarouter, spool, backup):
    ran = sodarouter("restore", "backup.db", "--yes", "--json")
    told = json.loads(ran.out)
    assert told["spool"] == str(spool)
    assert [told["kept"]] == list(map(str, replaced(spool)))
    assert told["events"] == 9
    assert told["queues"]["hook"] == {"pending": 0, "leased": 7, "dead": 0}


async def test_a_router_on_a_restored_spool_delivers_what_was_waiting(sodarouter, killed, tmp_path):
    """On another machine, where no router has ever run."""
    back_up(killed / SPOOL, tmp_path / "backup.db", untold)
    async with open_sink() as sink:
        (tmp_path / "router.toml").write_text(LISTEN + SOURCE + routes(sink.url))
        ran = sodarouter("restore", "backup.db")
        assert (ran.status, ran.err) == (0, "")
        assert ran.out.endswith(f"{tmp_path / SPOOL} is restored\n")
        with router_process(tmp_path) as router:
            await sink.until_requests(7)
            assert router.end(signal.SIGTERM) == 0
    waiting = {row for row in rows(tmp_path / "backup.db")["delivery"] if "pending" in row}
    assert len({request.headers["idempotency-key"] for request in sink.requests}) == len(waiting) == 7
    assert {("hook", "delivered", 0), ("closed", "dead", 0)} <= states(tmp_path / SPOOL)


async def test_the_running_router_keeps_its_spool(sodarouter, tmp_path, killed):
    back_up(killed / SPOOL, tmp_path / "backup.db", untold)
    async with running_router(tmp_path, TO_FILE) as router:
        await router.post(payload("v3-incidentCreated"))
        await router.until_settled()
        ran = sodarouter("restore", "backup.db", "--yes")
        assert (ran.status, ran.out) == (1, "")
        assert ran.err == (
            f"sodarouter: the spool {tmp_path / SPOOL} is in use by another sodarouter, process {os.getpid()}\n"
        )
        assert len(event_ids(tmp_path / SPOOL)) == 1
        await router.post(payload("v4-2026-checkEvaluation"))
    assert len(event_ids(tmp_path / SPOOL)) == 2
    assert replaced(tmp_path / SPOOL) == []


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def scribbled(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        opened.write(b"?" * 16384)


def text(file: Path) -> None:
    file.write_text("this is a text file, not a database\n" * 1000)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def changed(*statements: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    return change


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        pytest.param(truncated, "cannot be copied to .*: database disk image is malformed", id="truncated"),
        pytest.param(scribbled, "is damaged, so its copy is not kept: ", id="scribbled"),
        pytest.param(changed("PRAGMA writable_schema = ON", "DELETE FROM sqlite_schema WHERE name = 'event_received'"),
            "is damaged, so its copy is not kept: ", id="index lost"),
        pytest.param(text, "cannot be copied to .*: file is not a database", id="text"),
        pytest.param(empty, "is no spool of sodarouter", id="empty"),
        pytest.param(changed("PRAGMA user_version = 0"), "is no spool of sodarouter", id="no version"),
        pytest.param(changed("DROP TABLE event"), "is no spool of sodarouter", id="another"),
        pytest.param(changed(f"PRAGMA user_version = {len(MIGRATIONS) + 1}"), "it was made by a newer one", id="newer"),
    ],
)  # fmt: skip
def test_a_backup_that_cannot_serve_is_refused_and_the_spool_stays(sodarouter, spool, backup, spoil, told):
    spoil(backup)
    before = rows(spool)
    ran = sodarouter("restore", "backup.db", "--yes")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("sodarouter: backup.db ")
    assert re.search(told, ran.err)
    assert rows(spool) == before
    assert replaced(spool) == parts(spool.parent) == []


def test_a_damaged_spool_makes_no_backup(spool, tmp_path):
    (tmp_path / "copy.db").write_text("the last one")
    changed("PRAGMA wal_checkpoint(TRUNCATE)")(spool)
    scribbled(spool)
    with pytest.raises(SpoolError, match="is damaged, so its copy is not kept"):
        back_up(spool, tmp_path / "copy.db", untold)
    assert (tmp_path / "copy.db").read_text() == "the last one"
    assert parts(tmp_path) == []


def test_a_backup_of_an_older_version_is_brought_up_to_date_at_the_next_start(sodarouter, tmp_path):
    with closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as connection:
        connection.executescript(MIGRATIONS[0])
        connection.execute("PRAGMA user_version = 1")
        connection.execute(
            "INSERT INTO event (id, source, received, type, raw) VALUES ('old', 'soda', ?, 'x', x'7b7d')",
            [time.time_ns() // 1000],
        )
    (tmp_path / "router.toml").write_text(LISTEN + SOURCE)
    assert sodarouter("restore", "old.db").status == 0
    with router_process(tmp_path) as router:
        assert router.end(signal.SIGTERM) == 0
    assert event_ids(tmp_path / SPOOL) == {"old"}


def test_a_spool_is_not_replaced_unless_somebody_says_so(sodarouter, spool, backup):
    before = rows(spool)
    ran = sodarouter("restore", "backup.db")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == f"sodarouter: it would replace the spool {spool}; --yes says that it may\n"
    assert sodarouter("restore", "nothing.db", "--yes").err == "sodarouter: there is no file nothing.db\n"
    assert sodarouter("restore", SPOOL, "--yes").status == 2
    assert rows(spool) == before
    assert replaced(spool) == []


def test_on_a_terminal_it_is_asked_and_shown_how_far_it_is(spool, backup):
    folder, before = backup.parent, rows(spool)
    status, printed = on_terminal(folder, "restore", "backup.db", answer=b"n\n")
    assert status == 1
    assert "7 that were under way" in printed
    assert rows(spool) == before
    assert replaced(spool) == parts(spool.parent) == []
    status, printed = on_terminal(folder, "restore", "backup.db", answer=b"y\n")
    assert status == 0
    assert "checking" in printed
    assert rows(spool) == rows(backup)
    assert len(replaced(spool)) == 1
    assert "checking" in on_terminal(folder, "backup", "again.db")[1]


def test_a_restore_is_undone_by_another(sodarouter, spool, backup):
    before = rows(spool)
    assert sodarouter("restore", "backup.db", "--yes").status == 0
    (kept,) = replaced(spool)
    kept.rename(spool.parent / "before.db")
    assert sodarouter("restore", "var/before.db", "--yes").status == 0
    assert rows(spool) == before


def test_a_spool_that_somebody_reads_is_not_taken_from_under_them(sodarouter, spool, backup):
    with reading(spool) as reader:
        reader.execute("BEGIN")
        before = reader.execute("SELECT * FROM event").fetchall()
        ran = sodarouter("restore", "backup.db", "--yes")
        assert ran.status == 1
        assert ran.err == f"sodarouter: another process reads the spool {spool}; try again when it has ended\n"
        assert reader.execute("SELECT * FROM event").fetchall() == before
    assert replaced(spool) == parts(spool.parent) == []
    assert sodarouter("restore", "backup.db", "--yes").status == 0


READ_AND_STAY = """
import sqlite3, sys

connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
for asked in sys.stdin:
    print(connection.execute("SELECT count(*) FROM event").fetchone()[0], flush=True)
"""


def test_a_reader_that_stays_open_does_no_harm(sodarouter, spool, backup):
    """In another process, as SQLite's locks keep no two connections of one process apart. It has a -shm that is no good."""
    command = [sys.executable, "-c", READ_AND_STAY, spool]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:

        def count() -> int:
            print(file=reader.stdin, flush=True)
            return int(reader.stdout.readline())

        assert count() == 10
        assert sodarouter("restore", "backup.db", "--yes").status == 0
        # as the router does when it starts
        changed("PRAGMA journal_mode = WAL", "DELETE FROM event WHERE seq > 1")(spool)
        assert len(event_ids(spool)) == 1
        assert count() == 10
        reader.stdin.close()


def with_a_page_scribbled_on(spool: Path) -> None:
    """Its -wal is to hold something, and not all pages: from it SQLite would have the whole."""
    changed("PRAGMA wal_checkpoint(TRUNCATE)")(spool)
    with reading(spool):
        changed("UPDATE event SET repeats = 7 WHERE id = 'since'")(spool)
    scribbled(spool)


def test_a_damaged_spool_is_kept_as_it_is(sodarouter, spool, backup):
    with_a_page_scribbled_on(spool)
    before = [spool.read_bytes(), wal(spool).read_bytes()]
    assert all(before)
    assert sodarouter("restore", "backup.db", "--yes").status == 0
    (kept,) = replaced(spool)
    assert [kept.read_bytes(), wal(kept).read_bytes()] == before
    assert rows(spool) == rows(backup)


@pytest.mark.parametrize("lost", [Path.unlink, empty])
def test_a_wal_without_its_database_is_kept_and_not_applied_to_another(sodarouter, spool, backup, lost):
    before = wal(spool).read_bytes()
    lost(spool)
    ran = sodarouter("restore", "backup.db", "--yes")
    assert ran.status == 0
    (kept,) = spool.parent.glob("*Z-wal")
    assert kept.read_bytes() == before
    assert rows(spool) == rows(backup)


KILLED = """
import os, shutil, signal, sys, traceback
from itertools import count
from pathlib import Path
from sodarouter.spool import Lock, copied, put_back

STEPS = {"open", "os.chown", "os.link", "os.remove", "os.rename", "sqlite3.connect"}

def restore(backup, spool, left):
    def watch(event, arguments):
        nonlocal left
        if event in STEPS and str(spool.parent) in str(arguments):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    lock = Lock(spool)
    sys.addaudithook(watch)
    with copied(backup, spool, lambda *_: None) as copy:
        put_back(copy, spool)

backup, spool, results = map(Path, sys.argv[1:])
for step in count(1):
    folder = shutil.copytree(spool.parent, results / str(step), ignore=shutil.ignore_patterns("*-shm"))
    child = os.fork()
    if child == 0:
        try:
            restore(backup, folder / spool.name, step)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != -signal.SIGKILL:
        sys.exit(status)
"""
"""Restores again and again, killed before the first step, the second and so on: each opens, links, renames or deletes."""


def killed_restores(spool: Path, backup: Path) -> list[Path]:
    """What the spool is after a kill at each step; the last was not killed."""
    results = backup.parent / "results"
    subprocess.run([sys.executable, "-c", KILLED, backup, spool, results], check=True)
    return [folder / spool.name for folder in sorted(results.iterdir(), key=lambda folder: int(folder.name))]


def test_a_kill_at_any_step_of_a_restore_leaves_the_old_spool_or_the_new_one(spool, backup):
    old, new = rows(spool), rows(backup)
    *results, last = killed_restores(spool, backup)
    assert len(results) >= 8
    assert rows(last) == new
    found = []
    for result in (*results, last):
        found.append(rows(result))
        assert found[-1] in (old, new)
        assert [rows(kept) for kept in replaced(result)] in ([], [old])
        assert replaced(result) or found[-1] == old
    # once it is the new one it stays that
    assert found == sorted(found, key=lambda each: each == new)


def test_a_kill_at_any_step_loses_nothing_of_a_damaged_spool(spool, backup):
    with_a_page_scribbled_on(spool)
    old = [spool.read_bytes(), wal(spool).read_bytes()]
    for result in killed_restores(spool, backup):
        beside = [result, *replaced(result)]
        assert old[0] in [path.read_bytes() for path in beside]
        assert old[1] in [wal(path).read_bytes() for path in beside if wal(path).exists()]
        assert result.read_bytes() == old[0] or rows(result) == rows(backup)
