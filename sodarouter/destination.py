"""The contract of a destination: the one thing that most plugins implement."""

from typing import Any, ClassVar

import structlog

from sodarouter.delivery import Delivery
from sodarouter.event import Event
from sodarouter.metrics import Metrics
from sodarouter.outgoing import HttpClient
from sodarouter.plugin import Configured, OptionsT, hookimpl
from sodarouter.preview import Preview


class Destination(Configured[OptionsT]):
    """A kind of place that events go to; each ``[destination.NAME]`` table with its ``type`` is an instance.

    A subclass names its type, its options and how it delivers::

        class SlackOptions(Options):
            url: Secret

        class Slack(Destination[SlackOptions]):
            type = "slack"

            async def deliver(self, event, delivery): ...

    ``deliver`` declares those of the hook's arguments that it wants: see `sodarouter.hookspecs.deliver`. Returning
    means that the event was taken, and what it returns may be an `IncidentLink`; raising `Retry` or `Reject` says later or
    never; any other exception is logged as this plugin's fault and means later. A ``deliver`` that is not ``async`` runs in
    a thread.

    A type that does better with many deliveries at once has ``deliver_batch`` in the place of ``deliver``.

    Cancellation: ``deliver`` is cancelled when the destination's ``timeout`` is over and when the router stops; let
    ``trio.Cancelled`` pass. The delivery is then tried again, so what ``deliver`` does should bear repeating;
    ``delivery.id`` stays the same.
    """

    type: ClassVar[str]
    default_concurrency: ClassVar[int] = 4
    """How many deliveries, or batches of them, run at once when the table does not say."""
    batch_size: ClassVar[int] = 100
    """How many deliveries are handed to ``deliver_batch`` at most when the table does not say."""

    def __init__(self, name: str, options: OptionsT) -> None:
        self.name = name
        self.options = options
        self.http = HttpClient(options)
        """For HTTP requests. The router puts one in its place that heeds `[outgoing]`, and closes it."""
        self.metrics = Metrics()
        """For counts and measures of its own. The router puts one in its place that outlives a reload."""
        self.log: structlog.stdlib.BoundLogger = structlog.get_logger(destination=name)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("deliver", "deliver_batch"):
            if callable(method := cls.__dict__.get(name)) and not hasattr(method, "sodarouter_impl"):
                setattr(cls, name, hookimpl(method))

    async def open(self) -> None:
        """Called once before the first delivery. An exception stops the start of the router and names this destination."""

    async def close(self) -> None:
        """Called once after the last delivery, with a few seconds to finish."""

    def health(self) -> str | None:
        """What is wrong with the destination, in one line; ``None`` or nothing: it is well.

        Asked between ``open`` and ``close`` whenever somebody looks at the router, in its own loop: say what is known
        already, and return. It changes nothing about what is delivered.
        """
        return None

    def preview(self, event: Event, delivery: Delivery) -> Preview | None:
        """What ``deliver`` would send. Asked without ``open`` and never awaited, so it opens nothing and sends nothing.

        Make it with the functions that ``deliver`` uses, so that what is shown is what arrives.

        Returns:
            ``None``: this type does not say.

        Raises:
            Reject: What ``deliver`` would raise for this event, before it sends anything.
        """
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"
