"""The errors of the router, named for whose fault each is.

SodarouterError
├── ConfigError      the operator: router.toml, a secret that is not there, an address in use
├── PluginError      a plugin's author: it cannot be loaded, or it breaks its contract
│   └── PluginFailed     it failed while a request was taken in
├── SenderError      the sender of a webhook; each carries the HTTP status it is answered with
│   ├── Malformed        the body cannot be used; it goes to quarantine
│   │   └── Untranslatable   a source type says so
│   └── Forbidden        the sender did not prove who it is
├── Unverified       a verification says that the sender did not prove who it is; it becomes a `Forbidden`
├── SpoolError       the disk under the spool: full, failing, locked, damaged
└── DeliveryError    a destination says so of one delivery
    ├── Retry            later
    └── Reject           never
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


class SodarouterError(Exception):
    """Whatever the router itself raises."""


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that is wrong: where, what, and what to do about it."""

    place: str
    fault: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.fault}" + (f"; {self.hint}" if self.hint else "")


class ConfigError(SodarouterError):
    """The configuration cannot be used. Holds every fault that was found, not only the first."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


class PluginError(SodarouterError):
    """A plugin cannot be loaded or breaks its contract; the message names plugin, distribution and cause.

    Args:
        message: The cause.
        hint: What an operator can do about it, if it is something special.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class PluginFailed(PluginError):
    """A verification or source type of a plugin's failed over a request. The sender is answered 500, and not told why.

    Args:
        plugin: Its name.
        fault: What it did, in one line, without secrets.
    """

    def __init__(self, plugin: str, fault: str) -> None:
        super().__init__(f"the plugin {plugin} failed: {fault}")
        self.plugin = plugin
        self.fault = fault


class SenderError(SodarouterError):
    """A request that is refused. ``status`` is the HTTP status, ``title`` and ``detail`` go to the sender as they are."""

    def __init__(self, status: int, title: str, detail: str = "") -> None:
        super().__init__(f"{status} {title}" + (f": {detail}" if detail else ""))
        self.status = status
        self.title = title
        self.detail = detail


class Malformed(SenderError):
    """An authenticated body that cannot be made an event: 400 or 422, with every fault and its path in the body."""

    def __init__(self, status: int, title: str, detail: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(status, title, detail)
        self.faults = tuple(faults)


class Untranslatable(Malformed):
    """What a source type raises for a body that it can make no event of. The sender is answered 422 with ``detail``."""

    def __init__(self, detail: str) -> None:
        super().__init__(422, "Not translatable", detail)


class Unverified(SodarouterError):
    """What a verification raises for a request that does not pass it: the sender is answered 401, and not told why.

    The text says why, and is for the router's own log.
    """


class Forbidden(SenderError):
    """The request does not pass the verifications of its source.

    ``reason`` is for the router's own log: it says more than a stranger should be told.
    """

    def __init__(self, verification: str, reason: str) -> None:
        super().__init__(401, "Not verified", f"the request did not pass this source's {verification} verification")
        self.reason = reason


class SpoolError(SodarouterError):
    """The spool cannot take or give anything right now, or its file cannot be used at all."""


class SpoolFull(SpoolError):
    """The spool has reached its configured size, or the disk under it is full."""


class DeliveryError(SodarouterError):
    """What a destination raises from ``deliver`` to say how the attempt ended."""


@dataclass(init=False)
class Retry(DeliveryError):
    """Try this delivery again later.

    Args:
        reason: One line for people; stored with the attempt.
        after: Seconds to wait at least (a server's ``Retry-After``); ``None`` leaves it to the retry policy.
        response: What the other side answered; stored with the attempt, capped and with secrets taken out.
    """

    reason: str
    after: float | None = None
    response: str = field(default="", repr=False)

    def __init__(self, reason: str, *, after: float | None = None, response: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after
        self.response = response


@dataclass(init=False)
class Reject(DeliveryError):
    """Never try this delivery again: it becomes a dead letter. Arguments as for `Retry`."""

    reason: str
    response: str = field(default="", repr=False)

    def __init__(self, reason: str, *, response: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.response = response
