"""What destinations keep for themselves, from one delivery to the next."""

import json
import time

import pytest
import trio
from engines import ENGINES, NOW, ended, keeping, open_engine
from house import House, lane, now
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support import make_event, make_store

from sodarouter import Reject, Retry, State, Store
from sodarouter.spool import MemorySpool
from sodarouter.store import Kept

TOKEN = "https://cloud.soda.io/integrations/webhook/1/incident-link/2/abcdef0123456789"


async def test_what_one_delivery_sets_the_next_one_gets(autojump_clock):
    seen = []

    async def counting(event, delivery, store: Store):
        seen.append(await store.get("count"))
        store.set("count", (seen[-1] or 0) + 1)
        assert await store.get("count") == (seen[-1] or 0) + 1

    house = House(lane("there", counting, concurrency=1))
    for _ in range(3):
        await house.plan("there")
    async with house.running():
        await trio.sleep(1)
    assert seen == [None, 1, 2]
    assert house.spool.entries("there", now(), limit=9) == [("count", Kept("3", pytest.approx(now() + 90 * 86_400)))]


@pytest.mark.parametrize("ending", [Retry("busy"), Reject("no"), KeyError("a fault"), None])
async def test_what_was_set_is_kept_however_the_attempt_ends(autojump_clock, ending):
    """A ticket that was made is there, even if what came after it failed."""

    async def making(event, delivery, store: Store):
        store.set("ticket", "OPS-1")
        store.delete("draft")
        if ending:
            raise ending
        await trio.sleep_forever()

    house = House(lane("there", making, max_attempts=1))
    await house.plan("there")
    async with house.running():
        with capture_logs():
            await trio.sleep(20)
    assert await house.spool.kept("there", "ticket", now()) == '"OPS-1"'


async def test_destinations_do_not_see_what_others_keep(autojump_clock):
    seen = {}

    async def looking(event, delivery, store: Store):
        seen[delivery.destination, delivery.attempt] = await store.get("whose")
        store.set("whose", delivery.destination)
        if delivery.attempt == 1:
            raise Retry("again")

    house = House(lane("one", looking), lane("other", looking))
    await house.plan("one", "other")
    async with house.running():
        await trio.sleep(20)
    assert seen == {("one", 1): None, ("other", 1): None, ("one", 2): "one", ("other", 2): "other"}


async def test_an_ordinary_function_has_the_store_too():
    settled = trio.Event()
    seen = []

    def counting(event, delivery, store: Store):
        seen.append(store.get_from_thread("count"))
        store.set("count", {"n": 1})
        seen.append(store.get_from_thread("count"))

    house = House(lane("there", counting), told=lambda _: settled.set())
    await house.plan("there")
    async with house.running():
        with trio.fail_after(5):
            await settled.wait()
    assert seen == [None, {"n": 1}]


async def test_what_a_thread_sets_after_its_time_is_not_stored():
    settled, after = trio.Event(), trio.Event()
    outcome = []
    token = trio.lowlevel.current_trio_token()

    def late(event, delivery, store: Store):
        trio.from_thread.run(settled.wait, trio_token=token)
        try:
            store.set("key", 1)
        except RuntimeError as error:
            outcome.append(str(error))
        trio.from_thread.run_sync(after.set, trio_token=token)

    house = House(lane("there", late, timeout=0.01), told=lambda _: settled.set())
    await house.plan("there")
    async with house.running():
        with trio.fail_after(5):
            await after.wait()
    assert outcome == ["store: the attempt has ended, and nothing more is stored of it"]
    assert house.spool.entries("there", now(), limit=9) == []


@pytest.mark.parametrize(
    ("key", "value", "expires", "fault"),
    [
        ("", 1, 1.0, "a key is a text of 1 to 256 characters"),
        ("k" * 257, 1, 1.0, "a key is a text of 1 to 256 characters"),
        (7, 1, 1.0, "a key is a text of 1 to 256 characters"),
        ("\udce9", 1, 1.0, "can be written as UTF-8"),
        ("k", {1, 2}, 1.0, "'k' is not what JSON can say"),
        ("k", float("nan"), 1.0, "'k' is not what JSON can say"),
        ("k", "\udce9", 1.0, "'k' is not what JSON can say"),
        ("k", "x" * 16_384, 1.0, "has 16,386 bytes, and 16,384 are the most"),
        ("k", 1, 0.0, "kept for some seconds"),
        ("k", 1, float("inf"), "kept for some seconds"),
    ],
)
def test_what_cannot_be_kept_is_told(key, value, expires, fault):
    store = make_store()
    with pytest.raises(ValueError, match=fault):
        store.set(key, value, expires=expires)
    assert store.seal() == {}


def test_a_delivery_changes_so_many_entries_and_no_more():
    store = make_store()
    for number in range(64):
        store.set(f"{number}", number)
    store.set("0", "again")
    with pytest.raises(ValueError, match="a delivery may change 64 entries"):
        store.set("one too many", 1)
    assert len(store.seal()) == 64


@pytest.mark.parametrize("value", ["s3cret-of-the-config", f"see {TOKEN}", {"deep": [TOKEN]}])
async def test_secrets_are_not_stored(autojump_clock, value):
    faults = []

    async def leaking(event, delivery, store: Store):
        for key, chosen in (("key", value), (json.dumps(value)[:250], 1)):
            with pytest.raises(ValueError, match="holds a secret") as caught:
                store.set(key, chosen)
            faults.append(str(caught.value))

    house = House(lane("there", leaking), secrets=("s3cret-of-the-config",))
    await house.plan("there")
    async with house.running():
        await trio.sleep(1)
    assert house.states("there") == [State.DELIVERED]
    assert not any("s3cret" in fault or "incident-link" in fault for fault in faults)


@pytest.mark.parametrize("engine_name", ENGINES)
async def test_entries_expire_and_are_pruned_and_can_be_forgotten(engine_name, tmp_path):
    async with open_engine(engine_name, tmp_path) as engine:
        await engine.planned("log")
        (claim,) = await engine.claim("log")
        kept = {"short": Kept("1", NOW + 10), "long": Kept("[2]", NOW + 100), "other": Kept("3", NOW + 100)}
        await engine.spool.settle([ended(claim, kept=kept)])
        assert [key for key, _ in engine.reader.entries("log", NOW, limit=9)] == ["long", "other", "short"]
        assert engine.reader.entries("log", NOW, limit=1, after="long") == [("other", kept["other"])]
        assert await engine.spool.kept("log", "short", NOW + 9) == "1"
        assert await engine.spool.kept("log", "short", NOW + 10) is None
        assert await engine.spool.prune(keeping(), NOW + 10, 100) == 1
        assert await engine.spool.forget("log", ["long", "none"]) == ["long"]
        assert [key for key, _ in engine.reader.entries("log", NOW, limit=9)] == ["other"]
        assert engine.reader.entries("mail", NOW, limit=9) == []


@pytest.mark.parametrize("engine_name", ENGINES)
async def test_of_a_lease_that_was_lost_nothing_is_kept(engine_name, tmp_path):
    async with open_engine(engine_name, tmp_path) as engine:
        await engine.planned("log")
        (claim,) = await engine.claim("log", lease=1.0)
        (again,) = await engine.claim("log", now=NOW + 5) or [None]
        stale = ended(claim, kept={"k": Kept("1", NOW + 100)})
        assert await engine.spool.settle([stale]) == [False]
        assert again is not None
        assert await engine.spool.kept("log", "k", NOW) is None


async def test_a_destination_keeps_so_many_entries(tmp_path, monkeypatch):
    monkeypatch.setattr("sodarouter.spool.sqlite.keeping.MAX_ENTRIES", 3)
    async with open_engine("sqlite", tmp_path) as engine:
        await engine.planned("log")
        (claim,) = await engine.claim("log")
        await engine.spool.settle([ended(claim, kept={f"{n}": Kept("1", NOW + 100 + n) for n in range(6)})])
        await engine.spool.prune(keeping(), NOW, 100)
        assert [key for key, _ in engine.reader.entries("log", NOW, limit=9)] == ["3", "4", "5"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abc"), JSON | st.just(...)), max_size=10))
def test_what_is_got_is_what_was_set_last(changes):
    """``...`` stands for taking it out."""

    async def run() -> None:
        spool = MemorySpool()
        store = Store(lambda key: spool.kept("there", key, NOW), NOW)
        expected = {}
        for key, value in changes:
            try:
                if value is ...:
                    store.delete(key)
                else:
                    store.set(key, value)
            except ValueError:  # a lone surrogate, or too long
                continue
            expected[key] = None if value is ... else value
            assert await store.get(key) == expected[key]
        event = make_event()
        await spool.append(event, window=0.0)
        (claim,) = (await spool.claim({"$route": 1}, NOW, {"$route": 60.0})).claims
        await spool.settle([ended(claim, kept=store.seal())])
        for key, value in expected.items():
            text = await spool.kept("$route", key, NOW)
            assert (None if text is None else json.loads(text)) == value

    trio.run(run)


class Lying(str):
    """Text that cannot be written as UTF-8, and says that it can."""

    def encode(self, *arguments):
        return b"fine"


class Odd(float):
    def __radd__(self, other):
        return "no number"


def test_nothing_of_a_class_of_the_plugin_s_own_reaches_the_spool():
    """There it would fail for all whose work is in the same transaction."""
    store = make_store()
    with pytest.raises(ValueError, match="UTF-8"):
        store.set(Lying("caf\udce9"), 1)
    store.set(Lying("key"), Lying("value"), expires=Odd(60))
    ((key, kept),) = store.seal().items()
    assert (type(key), type(kept.value), type(kept.expires)) == (str, str, float)


@pytest.mark.parametrize("seconds", [1e300, 10**400])
def test_an_entry_is_kept_for_a_hundred_years_at_most(seconds):
    store = make_store()
    store.set("key", 1, expires=seconds)
    assert store.seal()["key"].expires < time.time() + 101 * 366 * 86_400


def test_what_was_sealed_is_not_changed_by_a_thread_that_comes_late():
    store = make_store()
    store.set("key", 1)
    sealed = store.seal()
    store._sealed = False  # as a thread saw it that was about to change something
    store.set("late", 1)
    assert list(sealed) == ["key"]
