# ruff: noqa: ASYNC221, ASYNC251
"""A plugin that does whatever a plugin can do wrong. `test_isolation` installs it and runs it in processes of its own."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio
from pydantic import SecretStr

from sodarouter import (
    BatchItem,
    ConfigPath,
    Delivery,
    Destination,
    Event,
    IncidentLink,
    Options,
    Plugin,
    Reject,
    Retry,
    Secret,
    Store,
    hookimpl,
)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


class Panic(BaseException):
    pass


async def raises(error: BaseException) -> None:
    raise error


async def deaf() -> None:
    while True:
        with suppress(BaseException):
            await trio.sleep_forever()


async def blocks() -> None:
    time.sleep(1000)


async def keeps_the_lock() -> None:
    ctypes.PyDLL(None).sleep(1000)


async def crashes() -> None:
    ctypes.string_at(0)


async def exits() -> None:
    os._exit(3)


async def stops_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    await trio.sleep_forever()


async def crashes_trio() -> None:
    trio.lowlevel.spawn_system_task(raises, ValueError("a system task"))
    await trio.sleep_forever()


async def leaves_a_child() -> None:
    """One that holds all that it inherits, the output too, and outlives it."""
    child = os.fork()
    if not child:
        time.sleep(1000)
    print(f"child {child}", flush=True)
    os._exit(3)


async def floods() -> None:
    line = "x" * 1000 + "\n"
    while True:
        sys.stdout.write(line * 100)
        sys.stderr.write(line * 100)


async def prints_without_an_end() -> None:
    while True:
        os.write(1, b"y" * 65536)


async def prints() -> None:
    print("to the output", end="\n\n")
    print("to the error", file=sys.stderr)
    print('{"level": "error", "message": 1}')
    print('{"level": "error", "message": "made by hand", "self": 1, "exc_info": true, "destination": "another"}')
    os.write(1, b"\xff bytes\n")


def _socket() -> int:
    """That to the router; a plugin can find it."""
    return int(sys.argv[2])


async def answers_a_gigabyte() -> None:
    os.write(_socket(), b"\x40\x00\x00\x00")
    await trio.sleep_forever()


async def answers_nonsense() -> None:
    os.write(_socket(), b"\x00\x00\x00\x03{[\xff")
    await trio.sleep_forever()


async def answers_before_it_is_asked() -> None:
    said = json.dumps(
        {"said": "answered", "number": 99, "answers": [{"kind": "taken"}], "changes": [], "measured": []}
    ).encode()
    os.write(_socket(), len(said).to_bytes(4, "big") + said)


async def hangs_up() -> None:
    os.close(_socket())
    trio.lowlevel.spawn_system_task(trio.sleep_forever)
    time.sleep(1000)


WAYS: dict[str, Callable[[], Any]] = {
    "takes it": trio.lowlevel.checkpoint,
    "gives something back": lambda: trio.to_thread.run_sync(object),
    "raises": lambda: raises(ValueError("broken")),
    "raises a group": lambda: raises(ExceptionGroup("all", [Retry("busy"), OSError("x")])),
    "raises what cannot be printed": lambda: raises(Mute()),
    "panics": lambda: raises(Panic("index out of range")),
    "raises SystemExit": lambda: raises(SystemExit(3)),
    "raises KeyboardInterrupt": lambda: raises(KeyboardInterrupt()),
    "names a file that is no UTF-8": lambda: raises(OSError("caf\udce9")),
    "raises at length": lambda: raises(ValueError("x" * 10_000_000)),
    "asks for a retry": lambda: raises(Retry("busy", after=7, response="try later")),
    "asks for a retry much later": lambda: raises(Retry("busy", after=10**400)),
    "asks for a retry with bytes": lambda: raises(Retry("busy", response=b"no")),
    "rejects": lambda: raises(Reject("unknown", response="no")),
    "rejects at length": lambda: raises(Reject("x" * 10_000_000, response="y" * 10_000_000)),
    "hangs": trio.sleep_forever,
    "swallows its cancellation": deaf,
    "blocks": blocks,
    "keeps the interpreter's lock": keeps_the_lock,
    "crashes": crashes,
    "exits": exits,
    "stops itself": stops_itself,
    "crashes trio": crashes_trio,
    "leaves a child": leaves_a_child,
    "floods": floods,
    "prints without an end": prints_without_an_end,
    "prints": prints,
    "answers a gigabyte": answers_a_gigabyte,
    "answers nonsense": answers_nonsense,
    "answers before it is asked": answers_before_it_is_asked,
    "hangs up": hangs_up,
}


async def keeps(store: Store) -> None:
    store.set("count", (await store.get("count") or 0) + 1)
    store.set("soon", ["gone"], expires=60)
    store.delete("old")
    assert await store.get("count") == 6


async def keeps_and_asks_for_a_retry(store: Store) -> None:
    store.set("a", 1)
    raise Retry("busy")


async def keeps_and_hangs(store: Store) -> None:
    store.set("a", 1)
    await trio.sleep_forever()


async def keeps_a_secret(store: Store) -> None:
    store.set("a", "not known here: T0K3N")


async def keeps_too_much(store: Store) -> None:
    store.set("a", "x" * 20_000)


async def asks_all_at_once(store: Store) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(store.get, "count")


async def asks_for_no_key(store: Store) -> None:
    said = json.dumps({"said": "asked", "number": 1, "item": 0, "key": ""}).encode()
    os.write(_socket(), len(said).to_bytes(4, "big") + said)
    await trio.sleep_forever()


async def changes_what_is_another_s(store: Store) -> None:
    change = {"item": 1, "key": "a", "value": "1", "expires": 1.0}
    said = json.dumps({"said": "answered", "number": 1, "answers": [], "changes": [change], "measured": []}).encode()
    os.write(_socket(), len(said).to_bytes(4, "big") + said)
    await trio.sleep_forever()


async def links(store: Store) -> IncidentLink:
    return IncidentLink("https://tracker.example/1", "#1")


async def links_nothing(store: Store) -> IncidentLink:
    return IncidentLink(None)


STORING: dict[str, Callable[[Store], Any]] = {
    "keeps": keeps,
    "keeps and asks for a retry": keeps_and_asks_for_a_retry,
    "keeps and hangs": keeps_and_hangs,
    "keeps a secret": keeps_a_secret,
    "keeps too much": keeps_too_much,
    "asks all at once": asks_all_at_once,
    "asks for no key": asks_for_no_key,
    "changes what is another's": changes_what_is_another_s,
    "links": links,
    "links nothing": links_nothing,
}


class WildOptions(Options):
    how: str = "takes it"
    """What is done with events whose source says nothing else."""
    opening: str = "takes it"
    closing: str = "takes it"
    token: Secret | None = None
    seen: ConfigPath | None = None
    """Where it writes down what it sees."""


class Wild(Destination[WildOptions]):
    type = "wild"

    async def open(self) -> None:
        self.write("open", os.getpid())
        self.metrics.gauge("open", 1)
        await WAYS[self.options.opening]()

    async def deliver(self, event: Event, delivery: Delivery, store: Store) -> Any:
        teams = " ".join(team.name for team in event.view.teams)
        self.metrics.count("calls", 2, how=event.source)
        self.metrics.observe("attempt", delivery.attempt)
        self.metrics.observe("attempt", 2)
        self.write("deliver", os.getpid(), delivery.attempt, delivery.results, teams or "-")
        token = self.options.token.get_secret_value() if self.options.token else ""
        self.log.info("delivering", token=token, destination="another", level="none")
        if event.source == "tells its token":
            print(f"posting with {token}")
            subprocess.run(["/bin/echo", token], check=True)
            raise ValueError(token)
        if event.source in STORING:
            return await STORING[event.source](store)
        return await WAYS[event.source if event.source in WAYS else self.options.how]()

    async def close(self) -> None:
        self.write("close", os.getpid())
        await WAYS[self.options.closing]()

    def write(self, *words: object) -> None:
        if self.options.seen:
            with Path(self.options.seen).open("a", encoding="utf-8") as file:
                file.write(" ".join(map(str, words)) + "\n")


class Threaded(Destination[WildOptions]):
    type = "threaded"

    def deliver(self, event: Event, store: Store) -> None:
        if event.source == "keeps":
            store.set("count", store.get_from_thread("count") + 1)
        if event.source == "hangs":
            threading.Event().wait()
        if event.source == "raises":
            raise Retry(threading.current_thread().name)


class Batches(Destination[WildOptions]):
    type = "batches"
    batch_size = 10

    async def deliver_batch(self, batch: list[BatchItem]) -> Any:
        match batch[0].event.source:
            case "nothing":
                return None
            case "no list":
                return 3
            case "too few":
                return [None]
            case "raises":
                raise Reject("all of them")
        return [await self.answer(item.event.source, item.store) for item in batch]

    async def answer(self, source: str, store: Store) -> Any:
        match source:
            case "later":
                return Retry("busy", after=7)
            case "never":
                return Reject("unknown")
            case "odd":
                return object()
            case "no text":
                return Retry(None)
            case "keeps":
                store.set("count", await store.get("count"))
                return None
            case "links":
                return IncidentLink("https://tracker.example/1")


class WildPluginOptions(Options):
    word: Secret = SecretStr("none")


class WildPlugin(Plugin[WildPluginOptions]):
    @hookimpl
    def destination_types(self) -> list[type[Destination[WildOptions]]]:
        print(f"a word of {len(self.options.word.get_secret_value())} letters")
        return [Wild, Threaded, Batches]
