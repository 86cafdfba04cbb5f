"""What the processes have in common that the router starts: they end with it, and when it says so."""

import fcntl
import os
import resource
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NoReturn


def set_up(descriptor: int) -> socket.socket:
    """To be called first in a process that was started in a session of its own, with a pipe for its standard input.

    Gives the socket to the router, which has this descriptor; what this process starts does not inherit it.
    """
    _end_with_the_router()
    with suppress(OSError):
        # when memory is short, this process is ended and not the router
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    # a core dump would have the secrets in it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # they are meant for the router, which says when to end; ignored, they would be ignored by commands too
        signal.signal(number, lambda *_: None)
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)
    return connection


def _end_with_the_router() -> None:
    """Lets the end of the router end this process and its group at once, whatever its own code does at that moment.

    Standard input is a pipe whose other end only the router has. Nothing is ever written to it.
    """
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if sys.platform == "linux":
        # by the kernel, as a thread would wait for Python's lock; the parent's death signal is that of a thread's death
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        poll = select.poll()
        poll.register(lifeline, 0)
        if poll.poll(0):
            end()
    else:
        threading.Thread(target=lambda: (os.read(lifeline, 1), end()), daemon=True).start()


def end() -> NoReturn:
    """Ends this process at once, and whatever it has started."""
    os.killpg(0, signal.SIGKILL)
    os._exit(1)


def kill(pid: int) -> None:
    """Ends such a process, and whatever it has started in its session."""
    with suppress(ProcessLookupError, PermissionError):  # there is nobody left; what is left has another user
        os.killpg(pid, signal.SIGKILL)


def ended(status: int) -> str:
    """How it has ended, in words."""
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return f"ended with signal {name}"
