"""One writer at a time, and its name for whoever comes second."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from paretune.errors import BusyError


@contextlib.contextmanager
def locked(path: Path, *, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold a lock file; the kernel drops it with the process, however that ends.

    Args:
        path: the lock file, made when missing. It says who holds it.
        waiting: wait for the holder instead of refusing; is told once who that is.

    Raises:
        BusyError: if another process holds it; names the process, its machine and its start.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            who = f"{path.parent}: found {_in_words(holder(path))} at work in it"
            if waiting is None:
                raise BusyError(
                    f"{who}, expected one at a time; wait for it, or give this run another name"
                ) from error
            waiting(f"{who}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(),
                               "started": round(time.time(), 3)}))  # fmt: skip
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def holder(path: Path) -> dict[str, Any]:
    """Who wrote into a lock file last: ``pid``, ``host``, ``started``; empty = nobody told."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_held(path: Path) -> bool:
    """Whether a process holds the lock right now."""
    try:
        with path.open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _in_words(found: dict[str, Any]) -> str:
    try:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["started"]))
        return f"process {found['pid']} on {found['host']} (since {started})"
    except (KeyError, TypeError, ValueError, OverflowError):
        return "another process"
