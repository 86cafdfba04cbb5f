"""A listener and what it serves, as the daemon starts it and a reload changes it."""

from collections.abc import Sequence
from typing import Literal, Protocol

import structlog
import trio

from sodarouter.admit import Admission
from sodarouter.config import Config
from sodarouter.config.tables import ListenerTable
from sodarouter.config.tables import Server as ServerTable
from sodarouter.delivery import Lag, Workers
from sodarouter.receive import Intake, Receiver, Source
from sodarouter.serve import Limits, Listener, Tls, serve
from sodarouter.serve.asgi import App
from sodarouter.serve.server import Http

log = structlog.get_logger()


class Front:
    """A listener and what it serves.

    Args:
        config: The limits of its ``[server]`` are those of all listeners.
        name: Of the listener's table.
    """

    def __init__(
        self, app: App, listeners: Sequence[Listener], config: Config, name: Literal["server", "admin"]
    ) -> None:
        server = config.file.server
        self._app = app
        self._listeners = listeners
        self._limits = limits_of(server)
        # Quart, behind the other, was made for hypercorn, and nobody is in a hurry there
        self._http: Http = server.http if name == "server" else "hypercorn"
        self._tls = tls_of(getattr(config.file, name), config.origins.of(f"{name}.tls"))

    async def serve(
        self, stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """As `sodarouter.serve.serve`."""
        await serve(
            self._app,
            self._listeners,
            tls=self._tls,
            limits=self._limits,
            http=self._http,
            stopping=stopping,
            task_status=task_status,
        )

    def prepare(self) -> None:
        """Looks whether `renew` will succeed.

        Raises:
            ConfigError: It will not.
        """
        if self._tls:
            self._tls.check()

    def renew(self) -> None:
        """Takes up the certificate and the key that are there now."""
        if self._tls:
            renew(self._tls)


class IntakeFront(Protocol):
    """What serves the sources: this process alone, or a crew of others."""

    async def serve(self, stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        """Serves until ``stopping`` is set, and then until the requests under way have ended.

        Raises:
            ConfigError: It cannot be started.

        Cancellation: as stopping, with no time for the requests under way.
        """
        ...

    def prepare(self) -> None:
        """Looks whether what `replace` takes up can be used.

        Raises:
            ConfigError: It cannot.
        """
        ...

    def replace(self, config: Config) -> None:
        """Takes up another configuration. It does not wait, and cannot fail."""
        ...

    async def taken_up(self) -> None:
        """Returns when nothing that comes is taken in under an earlier configuration any more."""
        ...

    def lag(self, own: Lag) -> Lag:
        """How late the loops are that take in, with this one, whose lag is ``own``."""
        ...

    @property
    def workers(self) -> Workers | None: ...


class Alone(Front):
    """This process takes in itself."""

    workers = None

    def __init__(self, config: Config, listeners: Sequence[Listener], admission: Admission) -> None:
        self._receiver = Receiver(map(Source.of, config.sources), Intake.of(config.file.server), admission)
        super().__init__(self._receiver, listeners, config, "server")

    def replace(self, config: Config) -> None:
        self._receiver.replace(map(Source.of, config.sources), Intake.of(config.file.server))
        self.renew()

    async def taken_up(self) -> None:
        await trio.lowlevel.checkpoint()

    def lag(self, own: Lag) -> Lag:
        return own


def limits_of(server: ServerTable) -> Limits:
    return Limits(
        max_connections=server.max_connections,
        keep_alive_timeout=server.keep_alive,
        header_timeout=server.header_timeout,
        graceful_timeout=server.stop_timeout,
    )


def tls_of(table: ListenerTable, place: str) -> Tls | None:
    """
    Args:
        place: Of its ``tls``, with the file.
    """
    return Tls(table.tls.cert, table.tls.key, table.tls.client_ca, place) if table.tls else None


def renew(tls: Tls) -> None:
    """Renews what is served; what fails is logged, and changes nothing."""
    try:
        tls.renew()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; the files were fine a moment ago
        log.error(
            "a certificate could not be renewed; the last one is still used", cert=str(tls.cert), error=str(error)
        )
