"""The contract of a source type: teaches the router a sender that does not speak as Soda does."""

from typing import ClassVar

import structlog

from sodarouter.http import HttpResponse, WebhookRequest
from sodarouter.plugin import Configured, OptionsT

SODA = "soda"
"""The source type of the router itself."""


class SourceType(Configured[OptionsT]):
    """A kind of sender; each ``[source.NAME]`` table with its ``type`` is an instance.

    A subclass names its type, its options, and how a request becomes an event in Soda's words::

        class Acme(SourceType[AcmeOptions]):
            type = "acme"

            def translate(self, request): ...

    It is made whenever the configuration is read, also by commands, so making it opens nothing.
    """

    type: ClassVar[str]
    methods: ClassVar[tuple[str, ...]] = ("POST",)
    """The HTTP methods that its senders use. Every request has to pass the source's ``verify``."""

    def __init__(self, name: str, options: OptionsT) -> None:
        self.name = name
        self.options = options
        self.log: structlog.stdlib.BoundLogger = structlog.get_logger(source=name)

    def translate(self, request: WebhookRequest) -> bytes | HttpResponse:
        """Makes a request that has been verified an event. An ordinary function, run in a thread for 5 seconds at most.

        Args:
            request: With its body decompressed. Of one that is tried again from the quarantine, the body is all there is.

        Returns:
            The body of the event: a JSON object with an ``event``, as Soda would send it. This is what is stored, matched,
            compared with earlier ones and passed on. Or an answer to the sender, with which nothing is stored.

        Raises:
            Untranslatable: The sender is to mend something: it is answered 422 with the text, and the body as it came
                goes to quarantine, as it does after any other exception, which is this plugin's fault.
        """
        raise NotImplementedError

    def sample(self) -> bytes | None:
        """A body as its senders send it, for ``sodarouter simulate --post``; ``None``: this type has none."""
        return None
