"""The daemon as a process: its signals, what it needs of the system, and what systemd is told."""

import os
import resource
import signal
import sys
import threading

import structlog
import trio

from sodarouter import logs
from sodarouter.config import Config
from sodarouter.daemon import Running, run
from sodarouter.options import format_duration
from sodarouter.systemd import Notifier, inherited_sockets

DESCRIPTORS = 65_536
"""File descriptors that the process may have, if the system allows it."""
SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that wants Python's lock gets it."""
LAST_RESORT = 15.0
"""Seconds after the limits of a stop at which the process ends even if a plugin will not."""

log = structlog.get_logger()


async def run_until_signalled(config: Config) -> None:
    """Runs the router until SIGTERM or SIGINT; a second one, or a plugin that will not end, ends the process at once.

    SIGHUP has it read its configuration again.

    Raises:
        As `run`.
    """
    # the spool's thread asks for Python's lock at every statement: a tenth more intake than with the usual 5 ms
    sys.setswitchinterval(SWITCH_INTERVAL)
    # every connection takes a descriptor, and the spool and the destinations must still get theirs
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    notifier = Notifier.from_environment(os.environ)
    inherited = inherited_sockets(os.environ, [*config.file.server.listen, *config.file.admin.listen])
    stopping = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            running: Running | None = None
            asked_early = False

            async def listen() -> None:
                nonlocal asked_early
                async for number in signals:
                    if number == signal.SIGHUP:
                        if running is None:
                            asked_early = True
                        else:
                            nursery.start_soon(running.reload)
                        continue
                    if stopping.is_set():
                        log.error("stopped at once, as asked twice", signal=signal.Signals(number).name)
                        os._exit(1)
                    limit = config.file.server.stop_timeout
                    log.info("stopping", signal=signal.Signals(number).name, limit=limit)
                    stopping.set()
                    # a thread, because what keeps trio from ending may keep it from running anything
                    end = threading.Timer(2 * limit + LAST_RESORT, os._exit, (1,))
                    end.daemon = True
                    end.start()
                    await notifier.stopping(f"stopping: what is under way may take {format_duration(limit)}")

            async def daemon(*, task_status: trio.TaskStatus[Running]) -> None:
                await run(
                    config,
                    stopping,
                    applied=_applied,
                    notifier=notifier,
                    inherited=inherited,
                    task_status=task_status,
                )
                nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            running = await nursery.start(daemon)
            if asked_early:
                # systemd is told that it is ready before it is known here, and waits for a reload that it asks for then
                nursery.start_soon(running.reload)


def _applied(config: Config) -> None:
    logs.set_up(config.file.log.level, config.file.log.format, config.redact)
