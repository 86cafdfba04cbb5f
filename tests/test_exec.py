"""The destination type `exec` against real commands."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from running import LISTEN, running_router, until
from sodarouter_exec import Exec, judge, process
from sodarouter_exec.options import ExecOptions
from sodarouter_exec.process import Ended, Tail
from support import SAMPLES, make_delivery, make_event, opened

from sodarouter import Event, Fallback, Reject, Retry, State
from sodarouter.redact import REDACTED

DOCS = Path(__file__).parent.parent / "docs" / "destinations" / "exec.md"
CALLBACK = "https://cloud.soda.io/integrations/webhook/8224bbc2/incident-link/510fad8c/tokentokentoken"


def sh(script: str, *arguments: str) -> list[str]:
    return ["sh", "-c", script, "sh", *arguments]


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


async def run(command: Sequence[str], event: Event | None = None, **options: Any) -> None:
    known = {name: options.pop(name) for name in ("attempt", "replay", "fallback") if name in options}
    event = event or make_event()
    async with opened(Exec, {"command": list(command), **options}) as destination:
        await destination.deliver(event, make_delivery(event, **known))


def fault(**options: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        ExecOptions.model_validate({"command": ["true"], **options})
    return str(caught.value)


def is_there(pid: int) -> bool:
    """Whether there is such a process, a zombie included."""
    return Path(f"/proc/{pid}").exists()


def is_running(pid: int) -> bool:
    """The same, without zombies: what a command has started is not this process's child, and somebody else's to reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def pids(folder: Path) -> list[int]:
    """What a script has written to the file ``pids``; nothing while it is not whole."""
    path = folder / "pids"
    text = path.read_text() if path.exists() else ""
    return [*map(int, text.split())] if text.endswith("\n") else []


# what a command is handed


@pytest.mark.parametrize("sample", SAMPLES)
async def test_the_event_is_on_standard_input(tmp_path, sample):
    event = make_event(sample)
    await run(sh('cat >"$1"', str(tmp_path / "got")), event)
    assert json.loads((tmp_path / "got").read_bytes()) == event.as_dict()


async def test_what_a_replay_and_a_fallback_send_says_so(tmp_path):
    await run(sh('cat >"$1"', str(tmp_path / "got")), replay=3, fallback=Fallback("pager", "gave up"))
    got = json.loads((tmp_path / "got").read_bytes())
    assert got["replay"] == 3
    assert got["fallback"] == {"destination": "pager", "reason": "gave up"}


async def test_the_payload_is_what_soda_sent(tmp_path):
    raw = b' {\t"event" :\r\n"validate" , "n": 1.0e+2 }\n'
    await run(sh('cat >"$1"', str(tmp_path / "got")), make_event(raw), format="payload")
    assert (tmp_path / "got").read_bytes() == raw


async def test_a_template_makes_the_input(tmp_path):
    await run(sh('cat >"$1"', str(tmp_path / "got")), input="{{ event.type }} {{ delivery.attempt }}", attempt=2)
    assert (tmp_path / "got").read_text() == "checkEvaluation 2"


async def test_a_template_that_fails_runs_nothing(tmp_path):
    with pytest.raises(Reject, match="template, line 1"):
        await run(["touch", str(tmp_path / "ran")], input="{{ payload.no.such }}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("options", [{}, {"format": "payload"}, {"input": "{{ payload | tojson }}"}])
async def test_sodas_callback_url_is_never_in_the_input(tmp_path, options):
    """A command may print what it reads."""
    event = make_event({"event": "incidentCreated", "incident": {"id": "1"}, "incidentLinkCallbackUrl": CALLBACK})
    await run(sh('cat >"$1"', str(tmp_path / "got")), event, **options)
    got = (tmp_path / "got").read_text()
    assert REDACTED in got
    assert "tokentoken" not in got


async def test_the_environment_has_what_is_told_and_nothing_else(tmp_path, monkeypatch):
    for name in [*os.environ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("ROUTERS_OWN_SECRET", "hush")
    event = make_event()
    await run(sh('env -0 >"$1"', str(tmp_path / "got")), event, env={"TOKEN": "a\nb=c"})
    got = dict(line.split("=", 1) for line in (tmp_path / "got").read_text().split("\0") if line)
    for own_of_the_shell in ("PWD", "OLDPWD", "SHLVL", "_"):
        got.pop(own_of_the_shell, None)
    assert got == {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TOKEN": "a\nb=c",
        "SODAROUTER_EVENT_ID": event.id,
        "SODAROUTER_TYPE": "checkEvaluation",
        "SODAROUTER_SOURCE": "soda",
        "SODAROUTER_DELIVERY": f"{event.id}/there",
        "SODAROUTER_ATTEMPT": "1",
        "SODAROUTER_DESTINATION": "there",
    }


@pytest.mark.parametrize("type_", ["a\0b\nc", "x" * 200_000, "\N{SNOWMAN}", "() { :; }; touch pwned"])
async def test_no_type_of_an_event_keeps_a_command_from_running(tmp_path, type_):
    event = make_event({"event": type_})
    await run(sh('printf %s "$SODAROUTER_TYPE" >"$1"', str(tmp_path / "got")), event)
    got = (tmp_path / "got").read_text()
    assert got == type_.replace("\0", "\N{REPLACEMENT CHARACTER}").replace("\n", "\N{REPLACEMENT CHARACTER}")[:1000]


async def test_there_is_no_shell(tmp_path):
    words = ["$HOME", "; touch pwned", "`id`", "*", "", "two words", "{{ event.id }}"]
    await run([*sh('printf "%s\\n" "$@" >got'), *words], cwd=str(tmp_path))
    assert (tmp_path / "got").read_text().splitlines() == words


async def test_a_command_need_not_read_its_input():
    event = make_event(b'{"event":"validate","text":"' + b"x" * 3_000_000 + b'"}')
    await run(["true"], event)


async def test_a_program_that_is_a_path_starts_at_the_folder_of_the_configuration(tmp_path):
    (tmp_path / "hooks").mkdir()
    program = tmp_path / "hooks" / "hook"
    program.write_text('#!/bin/sh\ntouch "$1"\n')
    program.chmod(0o755)
    event = make_event()
    async with opened(Exec, {"command": ["hooks/hook", str(tmp_path / "ran")]}, folder=tmp_path) as destination:
        await destination.deliver(event, make_delivery(event))
    assert (tmp_path / "ran").exists()


# what an end means


@given(st.integers(0, 255), st.sets(st.integers(0, 255), min_size=1), st.sets(st.integers(0, 255)))
def test_every_exit_status_means_one_of_three(status, taken, never):
    options = ExecOptions(command=["true"], taken=[*taken], never=[*never - taken])
    verdict = judge(Ended(status, "printed"), options)
    if status in taken:
        assert verdict is None
    elif status in never:
        assert verdict == Reject(f"exit status {status}", response="printed")
    else:
        assert verdict == Retry(f"exit status {status}", response="printed")


@pytest.mark.parametrize("status", range(256))
def test_by_default_0_is_taken_and_65_never(status):
    verdict = judge(Ended(status, ""), ExecOptions(command=["true"]))
    assert type(verdict) is {0: type(None), 65: Reject}.get(status, Retry)


@pytest.mark.parametrize(("signal", "said"), [(9, "SIGKILL"), (11, "SIGSEGV"), (40, "signal 40")])
async def test_an_end_by_a_signal_means_later(signal, said):
    with pytest.raises(Retry, match=f"ended by {said}"):
        await run(sh(f"kill -{signal} $$"))


async def test_a_command_that_has_gone_is_tried_again(tmp_path):
    program = tmp_path / "hook"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    event = make_event()
    async with opened(Exec, {"command": [str(program)]}) as destination:
        program.unlink()
        with pytest.raises(Retry, match="the command cannot be started: No such file or directory"):
            await destination.deliver(event, make_delivery(event))


# its output


async def test_both_streams_are_kept_in_their_order():
    with pytest.raises(Retry) as caught:
        await run(sh("echo one; echo two >&2; echo three; exit 1"))
    assert caught.value.response == "one\ntwo\nthree\n"


async def test_of_much_output_the_last_lines_are_kept():
    with pytest.raises(Retry) as caught:
        await run(python("import sys\nfor n in range(200000): print('line', n)\nsys.exit(1)"), max_output="100 B")
    lines = caught.value.response.splitlines()
    assert lines[-1] == "line 199999"
    assert lines == [f"line {number}" for number in range(200_000 - len(lines), 200_000)]
    assert 80 < len(caught.value.response) <= 100


@given(st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\xff", b"\n"))), st.integers(0, 40))
def test_a_tail_is_the_longest_end_of_whole_lines_that_fits(pieces, limit):
    tail = Tail(limit)
    for piece in pieces:
        tail.add(piece)
    whole = b"".join(pieces)
    starts = [0, *(at + 1 for at in range(len(whole)) if whole[at : at + 1] == b"\n")]
    ends = [whole[start:] for start in starts if len(whole) - start <= limit]
    assert tail.text() == (ends[0] if ends else b"").decode(errors="replace")


# its end


CHILD = "sleep 600 & echo $$ $! >pids; "


async def cut_short(folder: Path, script: str) -> list[int]:
    """Runs a script until it has written ``pids``, and gives them."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run(sh(script), cwd=str(folder)))
        await until(lambda: pids(folder) != [])
        nursery.cancel_scope.cancel()
    return pids(folder)


async def test_a_command_that_is_cancelled_ends_with_all_that_it_has_started(tmp_path):
    command, child = await cut_short(tmp_path, CHILD + "wait")
    assert not is_there(command)
    await until(lambda: not is_running(child))


async def test_a_command_that_is_cancelled_may_tidy_up(tmp_path):
    await cut_short(tmp_path, "trap 'touch tidy; exit' TERM; " + CHILD + "wait")
    assert (tmp_path / "tidy").exists()


async def test_a_command_that_does_not_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "GRACE", 0.1)
    command, child = await cut_short(tmp_path, "trap '' TERM; " + CHILD + "while :; do wait; done")
    assert not is_there(command)
    await until(lambda: not is_running(child))


async def test_a_command_that_prints_for_ever_is_ended(tmp_path):
    (command,) = await cut_short(tmp_path, "echo $$ >pids; exec yes")
    assert not is_there(command)


async def test_what_a_command_leaves_behind_ends_with_it(tmp_path):
    await run(sh(CHILD), cwd=str(tmp_path))
    command, child = pids(tmp_path)
    assert not is_there(command)
    await until(lambda: not is_running(child))


DAEMON = """
import os

ready, told = os.pipe()
if os.fork():
    os.close(told)
    os.read(ready, 1)
    os._exit(0)
os.setsid()
with open("pids", "w") as file:
    print(os.getpid(), file=file)
os.close(told)
os.execlp("sleep", "sleep", "600")
"""


async def test_a_daemon_that_holds_the_output_open_holds_no_delivery(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "DRAIN", 0.1)
    with trio.fail_after(20):
        await run(python(DAEMON), cwd=str(tmp_path))
    (daemon,) = pids(tmp_path)
    assert is_running(daemon)
    os.kill(daemon, 9)


# through the router


async def test_a_router_takes_from_the_exit_status_how_a_delivery_ended(tmp_path):
    commands = {"good": 'cat >>"$SODAROUTER_DESTINATION"', "bad": 'echo "no, $TOKEN"; exit 65', "slow": "sleep 600"}
    toml = "".join(
        f'[destination.{name}]\ntype = "exec"\ncommand = ["sh", "-c", {json.dumps(script)}]\ncwd = "."\n'
        f'retry = {{ max_attempts = 1 }}\nenv = {{ TOKEN = {{ file = "token" }} }}\n'
        for name, script in commands.items()
    )
    (tmp_path / "token").write_text("hush-hush-hush")
    async with running_router(tmp_path, toml + 'timeout = "1s"\n[[route]]\nto = ["good", "bad", "slow"]\n') as router:
        await router.post(make_event().raw)
        settled = {delivery.destination: delivery for delivery in await router.until_settled()}
        (stored,) = router.reader.attempts(settled["bad"].id)
    assert json.loads((tmp_path / "good").read_bytes())["type"] == "checkEvaluation"
    assert settled["good"].state is State.DELIVERED
    assert settled["bad"].state is settled["slow"].state is State.DEAD
    assert settled["bad"].reason == "rejected: exit status 65"
    assert stored.response == f"no, {REDACTED}\n"
    assert settled["slow"].reason == "exhausted after 1 attempt: timed out after 1 s"


async def test_a_router_that_stops_leaves_no_command_behind(tmp_path):
    toml = '[destination.slow]\ntype = "exec"\ncwd = "."\ncommand = ["sh", "-c", "echo $$ >pids; sleep 600"]\n'
    listen = LISTEN.replace("[admin]", 'stop_timeout = "100ms"\nbody_timeout = "100ms"\n[admin]')
    async with running_router(tmp_path, toml + '[[route]]\nto = ["slow"]\n', listen=listen) as router:
        await router.post(make_event().raw)
        await until(lambda: pids(tmp_path) != [])
    (command,) = pids(tmp_path)
    assert not is_there(command)


# options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"command": []}, "at least 1 item"),
        ({"command": "true"}, "valid list"),
        ({"command": ["a\0b"]}, "NUL"),
        ({"env": {"A-B": "x"}}, "letters, digits and underscores"),
        ({"env": {"SODAROUTER_TYPE": "x"}}, "the router's own"),
        ({"env": {"A": "x\0"}}, "NUL"),
        ({"taken": []}, "at least 1 item"),
        ({"taken": [256]}, "less than or equal to 255"),
        ({"taken": [0, 3], "never": [3]}, "the exit status 3 is in taken and in never"),
        ({"max_output": "5 KiB"}, "less than or equal to 4096"),
        ({"format": "payload", "input": "x"}, "input takes the place of format"),
        ({"input": "{{ incidnet }}"}, "did you mean 'incident'"),
    ],
)
def test_a_wrong_option_is_told(options, said):
    assert said in fault(**options)


def test_no_fault_quotes_a_secret():
    assert "hush" not in fault(env={"A": "hush\0"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"command": ["no-such-command"]}, "command: 'no-such-command' is in none of the folders of PATH"),
        ({"command": ["/no/such/command"]}, "command: '/no/such/command' is not there, or cannot be executed"),
        ({"command": ["/etc/passwd"]}, "command: '/etc/passwd' is not there, or cannot be executed"),
        ({"command": ["/"]}, "command: '/' is not there, or cannot be executed"),
        ({"command": ["true"], "env": {"PATH": "/nowhere"}}, "command: 'true' is in none"),
        ({"command": ["true"], "cwd": "/no/such/folder"}, "there is no folder /no/such/folder"),
    ],
)
def test_what_cannot_be_run_is_a_fault(options, said):
    assert said in fault(**options)


def test_a_preview_shows_the_command_the_input_and_the_environment_without_secrets():
    options = {"command": ["echo", "two words"], "env": {"TOKEN": "hush-hush"}, "input": "{{ event.type }}"}
    event = make_event()
    shown = Exec("there", ExecOptions.model_validate(options)).preview(event, make_delivery(event))
    assert shown.target == "echo 'two words'"
    assert shown.body == b"checkEvaluation"
    assert shown.headers["TOKEN"] == REDACTED
    assert shown.headers["SODAROUTER_EVENT_ID"] == event.id
    assert "hush" not in repr(shown)
