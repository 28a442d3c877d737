"""Orderly stops: a signal ends the work soon, and where nothing is lost.

The first SIGTERM, SIGINT or SIGUSR1 asks. Work that may be cut anywhere ends at once with
:class:`Stop`; a section that is :func:`orderly` (a training, which first finishes its step and
saves) looks at :func:`stop_requested` and ends itself. The second signal ends the process now.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from paretune.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_SAME = 0.5
"""Seconds: a scheduler signals a process and its group at once, which is one request."""


class Stop(BaseException):
    """Work was cut by a signal: no ``except Exception`` of a library or a reward swallows it."""


class _State:
    """Of this process."""

    requested: int = 0
    since: float = 0.0
    orderly: int = 0


_state = _State()


def stop_requested() -> bool:
    """Whether this process was asked to stop."""
    return bool(_state.requested)


def stop_reason() -> str:
    """Name of the signal that asked, for people."""
    return signal.Signals(_state.requested).name if _state.requested else "a request"


def request_stop(number: int = signal.SIGTERM) -> None:
    """Ask this process to stop, as the first signal does.

    Raises:
        Stop: where the work may be cut.
    """
    if not _state.requested:
        _state.requested, _state.since = number, time.monotonic()
    if not _state.orderly:
        raise Stop(stop_reason())


def check_stop() -> None:
    """End here if a stop was requested: for loops in which a library may have swallowed it.

    Raises:
        Stop: then.
    """
    if _state.requested and not _state.orderly:
        raise Stop(stop_reason())


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """A section that looks at :func:`stop_requested` and ends itself; it is never cut."""
    _state.orderly += 1
    try:
        yield
    finally:
        _state.orderly -= 1


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Signals ask for a stop while the block runs; blocks may be nested.

    Raises:
        Interrupted: if it was stopped.
    """
    # Else an outer block has done it, or whoever owns the first thread decides.
    is_first = threading.current_thread() is threading.main_thread()
    is_outer = is_first and signal.getsignal(SIGNALS[0]) is not _on_signal
    old = {number: signal.getsignal(number) for number in SIGNALS} if is_outer else {}
    try:
        for number in old:
            signal.signal(number, _on_signal)
        yield
        check_stop()  # asked at the very end, or swallowed on the way
    except Stop as stop:
        raise Interrupted(
            f"interrupted by {stop}; finished work is kept: type the same command again"
        ) from None
    finally:
        if old:
            _state.requested = 0
        for number, handler in old.items():
            signal.signal(number, handler)


def _on_signal(number: int, frame: FrameType | None) -> None:
    if _state.requested and time.monotonic() - _state.since >= _SAME:
        # Nothing on the disk depends on how this ends: what is there is whole.
        # Not by a file of Python: it may be closed, or in the middle of a line.
        with contextlib.suppress(OSError):
            os.write(2, b"paretune: second signal: ending now\n")
        os._exit(Interrupted.exit_code)
    if not _state.requested:
        request_stop(number)
