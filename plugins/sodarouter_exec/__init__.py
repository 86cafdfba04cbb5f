"""The destination type ``exec``: runs a command for each delivery, with the event on its standard input."""

import shlex
import signal
from collections.abc import Mapping
from typing import Any, ClassVar

import trio

from sodarouter import Delivery, Destination, Event, Preview, Reject, Retry, hookimpl
from sodarouter_exec.handed import about, compose, environment
from sodarouter_exec.options import ExecOptions
from sodarouter_exec.process import Ended, run

THREADS = 64

REDACTED = "**********"


class Exec(Destination[ExecOptions]):
    """Runs a command, and goes by its exit status.

    Cancellation: the command and all that it has started are ended before it goes on.
    """

    type = "exec"
    example: ClassVar[Mapping[str, Any]] = {"command": ["cat"]}

    async def open(self) -> None:
        # of its own: templates that compute for long take no threads from other destinations
        self._threads = trio.CapacityLimiter(THREADS)
        self._environment = environment(self.options)
        program, *arguments = self.options.command
        self._command = [self.options.program or program, *arguments]

    async def deliver(self, event: Event, delivery: Delivery) -> None:
        # the JSON of a large event takes its time as well as a template
        given = await trio.to_thread.run_sync(
            compose, event, delivery, self.options, abandon_on_cancel=True, limiter=self._threads
        )
        try:
            ended = await run(
                self._command,
                given,
                self._environment | about(event, delivery),
                self.options.cwd,
                self.options.max_output,
            )
        except OSError as error:
            raise Retry(f"the command cannot be started: {error.strerror}") from error
        if refusal := judge(ended, self.options):
            raise refusal

    def preview(self, event: Event, delivery: Delivery) -> Preview:
        variables = about(event, delivery) | dict.fromkeys(self.options.env, REDACTED)
        return Preview(shlex.join(self.options.command), compose(event, delivery, self.options), variables)


def judge(ended: Ended, options: ExecOptions) -> Retry | Reject | None:
    """What an end means for the delivery; ``None``: taken."""
    if ended.status in options.taken:
        return None
    if ended.status in options.never:
        return Reject(f"exit status {ended.status}", response=ended.output)
    reason = f"exit status {ended.status}" if ended.status >= 0 else f"ended by {_signal_name(-ended.status)}"
    return Retry(reason, response=ended.output)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most of the real-time signals have no name
        return f"signal {number}"


@hookimpl
def destination_types() -> list[type[Destination[Any]]]:
    return [Exec]
