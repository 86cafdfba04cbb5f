"""Rehearses a decision: what each of its deliveries would hand over, without handing anything over.

The event is cut and given its teams by the code that the deliveries go through, and what would be sent is what the
destination's own `preview` says, which its `deliver` uses.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sodarouter.config import Config, ConfiguredDestination
from sodarouter.decide import Teams
from sodarouter.delivery import Delivery, Planned
from sodarouter.errors import Reject
from sodarouter.event import Event
from sodarouter.failures import describe
from sodarouter.plugins import AnyDestination
from sodarouter.preview import Preview
from sodarouter.redact import Redactor
from sodarouter.spool import delivery_id


@dataclass(frozen=True)
class Rehearsed:
    """One planned delivery."""

    delivery: Delivery
    event: Event
    """As the destination is handed it."""
    preview: Preview | None
    """What would be sent; ``None`` if the destination's type does not say, or fails."""
    fault: str = ""
    """Why nothing would be sent, or that the plugin fails."""

    def body(self) -> str:
        """What would be sent, or why nothing is; what is handed over, if the destination's type does not say."""
        if self.fault:
            return self.fault
        return (self.preview.body if self.preview else self.event.raw_redacted).decode(errors="replace")

    def text(self) -> str:
        """The body, and before it where it would go and with which headers."""
        if self.preview is None:
            return self.body()
        head = [self.preview.target, *(f"{name}: {value}" for name, value in self.preview.headers.items())]
        return "\n".join([*head, self.body()])


def rehearse(config: Config, event: Event, planned: Iterable[Planned]) -> Iterator[Rehearsed]:
    """What each delivery would hand over, in their order. Secrets are taken out."""
    configured = {destination.name: destination for destination in config.destinations}
    for plan in planned:
        handed, delivery = handed_over(event, plan, config.rules.teams)
        try:
            preview = _made(configured[plan.destination]).preview(handed, delivery)
        except Reject as error:
            yield Rehearsed(delivery, handed, None, config.redact(f"it would be a dead letter: {error.reason}"))
        except Exception as error:  # the plugin's own code runs here
            fault = f"the plugin's preview fails: {describe(error)}"
            yield Rehearsed(delivery, handed, None, config.redact(fault))
        else:
            yield Rehearsed(delivery, handed, preview and _shown(preview, config.redact))


def handed_over(event: Event, plan: Planned, teams: Teams) -> tuple[Event, Delivery]:
    """The event as a destination is handed it, and the delivery at its first attempt."""
    delivery = Delivery(
        id=delivery_id(event.id, plan.destination, part=plan.part),
        destination=plan.destination,
        attempt=1,
        planned=event.received,
        results=plan.results,
        part=plan.part,
        group=plan.group,
    )
    return event.handed_over(plan.results, teams.enrich if teams else None), delivery


def _shown(preview: Preview, redact: Redactor) -> Preview:
    """What people may see of it: a plugin may have missed a secret, and Soda's callback URL is one that is sent."""
    body = redact(preview.body.decode(errors="surrogateescape")).encode(errors="surrogateescape")
    return Preview(redact(preview.target), body, {name: redact(value) for name, value in preview.headers.items()})


def _made(configured: ConfiguredDestination) -> AnyDestination:
    made: Any = configured.kind(configured.name, configured.options)
    return made  # type: ignore[no-any-return]  # a destination of any options
