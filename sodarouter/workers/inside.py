"""What runs in a process that takes in: it serves the sources, and hands what it has verified and parsed to the router."""

import socket
import sys
from functools import partial

import trio

from sodarouter import child, collector, logs
from sodarouter.config.sources import sources_again
from sodarouter.errors import ConfigError
from sodarouter.front import renew
from sodarouter.lag import LagMonitor, monitored
from sodarouter.plugins import Plugins, made_again
from sodarouter.receive import Receiver, Source
from sodarouter.redact import Redactor
from sodarouter.serve import Listener, serve
from sodarouter.workers import handed, said
from sodarouter.workers.handed import Setup, Start
from sodarouter.workers.there import There
from sodarouter.workers.wire import Wire

LARGEST = (1 << 32) - 1
"""Bytes of a frame of the router's."""
PULSE_EVERY = 1.0
"""Seconds between two signs of life."""


def main(descriptor: int) -> None:
    """Takes in until the router has this process stop, or goes away.

    Args:
        descriptor: The socket to the router.
    """
    trio.run(_Inside(Wire(child.set_up(descriptor), LARGEST)).run)


class _Inside:
    """This process."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._there = There(wire)
        self._redact = Redactor()
        self._stopping = trio.Event()
        self._ready = trio.Event()
        """Set when it is known what is to be served."""
        self._serves = False
        self._start: Start
        self._setup: Setup
        self._plugins: Plugins
        self._receiver: Receiver

    async def run(self) -> None:
        self._wire.open()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._wire.drain)
                nursery.start_soon(self._listen)
                await self._ready.wait()
                # not before: nobody waits for the loop while plugins are loaded
                with monitored() as monitor:
                    nursery.start_soon(self._beat, monitor)
                    await self._serve()
                    await self._wire.clear()
                nursery.cancel_scope.cancel()
        except* ConfigError as errors:
            self._wire.put(said.FAILED, said.failed(errors))
        await trio.lowlevel.checkpoint()  # what was put leaves at the end of this turn

    async def _listen(self) -> None:
        while frames := await self._wire.frames():
            for kind, data in frames:
                match kind:
                    case handed.START:
                        self._begin(handed.start_of(data))
                    case handed.SETUP:
                        self._set_up(handed.setup_of(data))
                    case handed.STOP:
                        self._stopping.set()
                    case _:
                        self._there.hear(kind, data)
        child.end()  # the router has gone, and nobody can be answered any more

    def _begin(self, start: Start) -> None:
        self._start = start
        sys.path[:] = start.path
        self._plugins = made_again(start.plugins, self._redact)
        if faults := self._plugins.faults():
            raise ConfigError(faults)

    def _set_up(self, setup: Setup) -> None:
        self._setup = setup
        logs.set_up(setup.level, setup.format, self._redact)
        sources = sources_again(setup.sources, self._plugins, setup.intake.max_body, self._redact)
        if not self._ready.is_set():
            self._receiver = Receiver(map(Source.of, sources), setup.intake, self._there)
            collector.spare()
            self._ready.set()
            return
        self._receiver.replace(map(Source.of, sources), setup.intake)
        if self._start.tls:
            renew(self._start.tls)
        self._tell_serving()

    async def _serve(self) -> None:
        start = self._start
        listeners = []
        for address, descriptor in start.listeners:
            listening = socket.socket(fileno=descriptor)
            listening.set_inheritable(False)
            # the router has opened it, and removes its file
            listeners.append(Listener(address, listening))
        serving = partial(
            serve,
            self._receiver,
            listeners,
            stopping=self._stopping,
            limits=start.limits,
            tls=start.tls,
            http=start.http,
            refused=self._receiver.refused,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(serving)
            self._serves = True
            self._tell_serving()

    def _tell_serving(self) -> None:
        if self._serves:
            self._wire.put(said.SERVING, said.number(self._setup.number))

    async def _beat(self, monitor: LagMonitor) -> None:
        while True:
            lag = monitor.lag()
            self._wire.put(said.PULSE, said.pulse(lag.longest, lag.blocked))
            await trio.sleep(PULSE_EVERY)
