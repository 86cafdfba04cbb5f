"""The admin API: what the commands ask of a running router. ``docs/api.md`` is held against it."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import structlog
from pydantic import Field, ValidationError
from pydantic_core import from_json
from quart import Quart, Response, abort, request

from sodarouter.decide import NewSilence
from sodarouter.delivery import Halt, Loaded
from sodarouter.errors import SpoolError
from sodarouter.faults import faults
from sodarouter.operations import BATCH, Impossible, NoSuchDestination, Operations
from sodarouter.options import LONGEST, Options
from sodarouter.problem import Answer, problem
from sodarouter.spool import LARGEST
from sodarouter.store import LONGEST_KEY

log = structlog.get_logger()

Id = Annotated[str, Field(min_length=1, max_length=300)]
Key = Annotated[str, Field(min_length=1, max_length=LONGEST_KEY)]
Seconds = Annotated[float, Field(ge=0, le=LONGEST, allow_inf_nan=False)]


class Nothing(Options):
    """The body of a request that says all with its path."""


class Deliveries(Options):
    """For ``/api/deliveries/retry`` and ``/api/deliveries/discard``."""

    deliveries: list[Id] = Field(max_length=BATCH)
    """``EVENT/DESTINATION``, with ``~PART`` behind it if the event was divided, and ``/NUMBER`` in a replay."""


class Bodies(Options):
    """For ``/api/quarantine/retry`` and ``/api/quarantine/discard``."""

    ids: list[Id] = Field(max_length=BATCH)
    """Of quarantined bodies."""


class Stretch(Options):
    """For ``/api/replays/NUMBER``: a part of a replay."""

    events: list[Id] = Field(max_length=BATCH)
    """In the order in which they are to be delivered."""
    to: list[Id] = Field(default=[], max_length=BATCH)
    """Destinations; without any, the events are decided anew."""
    after: Seconds = 0.0
    """Seconds until the first is due."""
    every: Seconds = 0.0
    """Seconds between one event and the next."""


class Keys(Options):
    """For ``/api/destinations/NAME/forget``."""

    keys: list[Key] = Field(max_length=BATCH)
    """Of what the destination keeps."""


class Standstill(Options):
    """For ``/api/destinations/NAME``."""

    halt: Literal["paused", "draining"] | None
    """``null`` resumes it."""


AskedT = TypeVar("AskedT", bound=Options)


def add_api(app: Quart, operations: Operations, reload: Callable[[], Awaitable[Loaded]]) -> None:
    """Adds the pages under `sodarouter.contract.OWN_API` to the app of the admin listener.

    Every one is a POST of a JSON document, and answers one; what is refused is answered with a problem document.

    Args:
        app: It sees to it that who asks may ask.
        operations: What the pages do.
        reload: Loads the configuration anew, and says which one runs then: another one, or the old one and the faults.
    """

    @app.errorhandler(SpoolError)
    async def _spool_failed(error: SpoolError) -> Response:
        return _response(problem(503, "The spool failed", str(error)))

    @app.errorhandler(NoSuchDestination)
    async def _no_such_destination(error: NoSuchDestination) -> Response:
        return _response(problem(404, "No such destination", str(error)))

    @app.errorhandler(Impossible)
    async def _impossible(error: Impossible) -> Response:
        return _response(problem(422, "Not possible", str(error)))

    @app.post("/api/deliveries/retry")
    async def _retry() -> dict[str, Any]:
        retried = await operations.retry((await _asked(Deliveries)).deliveries)
        log.info("deliveries are tried again, as asked", count=len(retried))
        return {"retried": retried}

    @app.post("/api/deliveries/discard")
    async def _discard() -> dict[str, Any]:
        discarded = await operations.discard((await _asked(Deliveries)).deliveries)
        log.info("deliveries were discarded, as asked", count=len(discarded))
        return {"discarded": discarded}

    @app.post("/api/replays")
    async def _begin_replay() -> dict[str, Any]:
        await _asked(Nothing)
        return {"replay": await operations.begin_replay()}

    @app.post(f"/api/replays/<int(max={LARGEST}):number>")
    async def _replay(number: int) -> dict[str, Any]:
        asked = await _asked(Stretch)
        planned = await operations.replay(number, asked.events, asked.to, after=asked.after, every=asked.every)
        log.info("deliveries are replayed, as asked", replay=number, count=planned)
        return {"planned": planned}

    @app.post("/api/destinations/<name>")
    async def _halt(name: str) -> dict[str, Any]:
        asked = await _asked(Standstill)
        await operations.halt(name, Halt(asked.halt) if asked.halt else None)
        log.info(f"a destination is {asked.halt or 'resumed'}, as asked", destination=name)
        return {"halt": asked.halt}

    @app.post("/api/destinations/<name>/forget")
    async def _forget(name: str) -> dict[str, Any]:
        forgotten = await operations.forget(name, (await _asked(Keys)).keys)
        log.info("a destination has forgotten what it kept, as asked", destination=name, count=len(forgotten))
        return {"forgotten": forgotten}

    @app.post("/api/silences")
    async def _silence() -> dict[str, Any]:
        added = await operations.silence(await _asked(NewSilence))
        return {"id": added.id, "starts": added.starts.isoformat(), "ends": added.ends.isoformat()}

    @app.post("/api/silences/<silence>/end")
    async def _end_silence(silence: str) -> dict[str, Any]:
        await _asked(Nothing)
        return {"ended": await operations.end_silence(silence)}

    @app.post("/api/quarantine/retry")
    async def _readmit() -> dict[str, Any]:
        found = await operations.readmit((await _asked(Bodies)).ids)
        log.info("quarantined bodies were tried again, as asked", events=len(found.events), left=len(found.left))
        return {"events": found.events, "left": found.left}

    @app.post("/api/quarantine/discard")
    async def _dismiss() -> dict[str, Any]:
        discarded = await operations.dismiss((await _asked(Bodies)).ids)
        log.info("quarantined bodies were discarded, as asked", count=len(discarded))
        return {"discarded": discarded}

    @app.post("/api/reload")
    async def _reload() -> dict[str, Any]:
        await _asked(Nothing)
        loaded = await reload()
        return {"config": loaded.config, "faults": list(loaded.faults)}


async def _asked(model: type[AskedT]) -> AskedT:
    """The document of the request. One that is not as it must be ends the request with a problem document."""
    if request.mimetype != "application/json":
        # a page of another site can make a browser post to loopback, but not with this content type
        _refuse(problem(415, "Not JSON", "send a JSON object, with Content-Type: application/json"))
    try:
        document = from_json(await request.get_data(as_text=False), allow_inf_nan=False)
    except ValueError as error:
        _refuse(problem(400, "Unreadable JSON", str(error)))
    if not isinstance(document, dict):
        _refuse(problem(422, "Not understood", "send a JSON object"))
    try:
        return model.model_validate(document)
    except ValidationError as error:
        found = list(faults(error, model, document))
        _refuse(problem(422, "Not understood", "; ".join(map(str, found)), faults=found))


def _refuse(answer: Answer) -> NoReturn:
    abort(_response(answer))


def _response(answer: Answer) -> Response:
    return Response(
        answer.body, answer.status, {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
    )
