"""The injector from Python: built once, loaded with LD_PRELOAD, armed in a child by ctypes."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, final

How = Literal["count", "fail", "fail_from", "before", "after", "tear"]
_NUMBERS: dict[How, int] = {
    "count": 1, "fail": 2, "fail_from": 3, "before": 4, "after": 5, "tear": 6
}  # fmt: skip
_SOURCE = Path(__file__).with_name("injector.c")


@final
@dataclass(frozen=True)
class Injection:
    """One thing that goes wrong in a child, at one call that changes a file.

    Args:
        below: folder whose calls count.
        how: ``count`` only; ``fail`` this call, or ``fail_from`` this one on; the process stops
            ``before`` it, ``after`` it, or in the middle of what it writes (``tear``).
        call: which one, from 1.
        number: error number of a failure, signal of a stop.
        log: file that receives one line a call: when, its kind, and its path below the folder.
    """

    below: str
    how: How = "count"
    call: int = 0
    number: int = signal.SIGKILL
    log: str | None = None

    def arm(self) -> None:
        """From here on, in this process."""
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if self.log else -1
        library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        library.faults_arm(
            os.fsencode(self.below), _NUMBERS[self.how], ctypes.c_long(self.call),
            int(self.number), log,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """What the fork server is told."""
        return asdict(self) | {"number": int(self.number)}


@final
@dataclass(frozen=True)
class Call:
    """One call that changed a file: when, its kind, and the path below the folder."""

    index: int
    time: float
    kind: str
    path: str


def read_calls(log: Path) -> list[Call]:
    """Calls in their order, from the log of a counted run."""
    rows = (line.split(" ", 2) for line in log.read_text("utf-8", "replace").splitlines())
    return [Call(n, float(time), kind, path) for n, (time, kind, path) in enumerate(rows, 1)]


def find_compiler() -> str | None:
    """A C compiler, or ``None``: then what needs the injector is skipped and says so."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(folder: Path) -> Path:
    """The shared library, compiled from its source.

    Raises:
        RuntimeError: where there is no compiler.
    """
    compiler = find_compiler()
    if compiler is None:
        raise RuntimeError("found no C compiler (cc, gcc, clang), expected one: the injector is C")
    library = folder / "injector.so"
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"],
        check=True,
    )
    return library


NAMES = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
