"""A decision is a pure function, and the trace that is stored of it can be had again from what is stored beside it."""

import json
from copy import deepcopy
from dataclasses import replace

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from routing import LATER, events, routed, routings, silences, states
from support import make_event

from sodarouter.decide import Routing, Silence, State, compile_rules, decide, explain, parse_routing
from sodarouter.decide.memory import dump_memory, parse_memories
from sodarouter.event import Event
from sodarouter.hindsight import effective, now, silences_of, state_of, why
from sodarouter.spool import DeliveryFilter, MemorySpool, StoredSilence

often = settings(max_examples=80)


def again(event: Event) -> Event:
    """The same event, of which nothing was worked out yet."""
    return replace(event)


@often
@given(events(), routings(), states())
def test_equal_events_rules_and_states_give_equal_decisions_and_are_not_changed(
    event: Event, routing: Routing, state: State
) -> None:
    rules = compile_rules(routing)
    before = deepcopy((dict(state.memory), list(state.silences), routing.dump(), event.raw))
    first = decide(event, rules, state)
    assert (dict(state.memory), list(state.silences), routing.dump(), event.raw) == before
    decide(make_event({"event": "anything"}), rules, state)  # what the index keeps for the next one changes nothing
    assert decide(again(event), rules, state) == first
    # nor does it matter that everything has been on a disk in between
    memory = parse_memories({key: dump_memory(one) for key, one in state.memory.items()})
    restored = [one for kept in state.silences if (one := Silence.restored(kept.dump(), kept.ends))]
    assert decide(again(event), compile_rules(parse_routing(routing.dump())), State(memory, restored)) == first


@often
@given(events(), routings(), states())
def test_the_few_rules_that_the_index_finds_decide_the_same_as_all_of_them(
    event: Event, routing: Routing, state: State
) -> None:
    rules = compile_rules(routing)
    few, every = decide(event, rules, state), explain(event, rules, state)
    assert (few.planned, few.withheld) == (every.planned, every.withheld)
    assert [*map(json.dumps, few.trace)] == [*map(json.dumps, effective(every))]
    told = [step for step in every.trace if "route" in step]
    assert [step["route"] for step in told] == [rule.name for rule in rules.rules]


@settings(max_examples=40)
@given(st.lists(events(), min_size=1, max_size=6), routings(), st.lists(silences("s"), max_size=1), st.data())
def test_every_stored_trace_can_be_had_again_with_a_step_for_every_rule(
    coming: list[Event], routing: Routing, kept: list[Silence], data: st.DataObject
) -> None:
    replayed = data.draw(st.sets(st.sampled_from([event.id for event in coming])))
    batches = data.draw(st.booleans())
    rules = compile_rules(routing)

    async def run() -> MemorySpool:
        spool = MemorySpool()
        for one in kept:
            await spool.add_silence(StoredSilence(one.id, one.starts, one.ends, one.dump()))
        async with routed(spool, routing) as settled:
            for event in coming:
                await spool.append(event, window=0)
                if not batches:
                    await settled()
            await settled()
            states = {stored.event.id: stored.state for stored in spool.events(limit=99)}
            number = await spool.begin_replay(LATER)
            await spool.replay(number, sorted(replayed), [], LATER, first=LATER, every=0)
            await settled()
        assert {stored.event.id: stored.state for stored in spool.events(limit=99)} == states
        return spool

    spool = trio.run(run)
    for stored in spool.events(limit=99):
        told = why(spool, stored)
        assert told.whole
        assert sum("route" in step for step in told.steps) == len(rules.rules)
        assert any("replay" in step for step in told.steps) == (stored.event.id in replayed)
        state = state_of(stored, silences_of(spool.silences()))
        anew = now(stored, rules, silences_of(spool.silences()))
        assert anew == explain(stored.event, rules, state)
        deliveries = spool.deliveries(DeliveryFilter(event=stored.event.id), limit=999)
        last = max((d.replay for d in deliveries), default=0)
        if last or stored.event.id not in replayed:
            assert sorted(
                (d.destination, d.part, d.results or (), d.group) for d in deliveries if d.replay == last
            ) == (sorted((p.destination, p.part, p.results or (), p.group) for p in anew.planned))
