"""The destination type ``apprise``: a message for each delivery, to any of the services that Apprise knows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import trio

from sodarouter import Delivery, Destination, Event, Preview, hookimpl
from sodarouter_apprise.message import BODY, TITLE, built_in, compose
from sodarouter_apprise.options import AppriseOptions
from sodarouter_apprise.service import REDACTED, load, scheme, secrets, send

if TYPE_CHECKING:
    from apprise import Apprise


class AppriseDestination(Destination[AppriseOptions]):
    """Sends a message to one service.

    One and not several: what one of them did not take would be sent again to all, and would count as one dead letter.
    """

    type = "apprise"
    default_concurrency = 1
    """Many services want seconds between two messages, and Apprise waits for them."""
    example: ClassVar[Mapping[str, Any]] = {"url": "json://{address}"}

    async def open(self) -> None:
        self._secrets = secrets(self.options.url.get_secret_value())
        self._idle: list[Apprise] = []
        for name in (TITLE, BODY):
            built_in(name)  # not at the first message

    def deliver(self, event: Event, delivery: Delivery) -> None:
        message = compose(event, delivery, self.options)
        service = self._lease()
        try:
            send(service, message, self._secrets)
        finally:
            self._idle.append(service)

    def _lease(self) -> "Apprise":
        """Each thread has its own: services keep sessions, and are not made for several at once."""
        try:
            return self._idle.pop()
        except IndexError:
            return load(self.options.url.get_secret_value())

    def preview(self, event: Event, delivery: Delivery) -> Preview:
        message = compose(event, delivery, self.options)
        about = {"title": message.title, "type": message.notify_type, "format": message.body_format}
        return Preview(f"{scheme(self.options.url.get_secret_value())}://{REDACTED}", message.body.encode(), about)

    async def close(self) -> None:
        # some services log out when they are thrown away
        await trio.to_thread.run_sync(self._idle.clear, abandon_on_cancel=True)


@hookimpl
def destination_types() -> list[type[Destination[Any]]]:
    return [AppriseDestination]
