"""Room on the disk: asked for before a save, and named when it was missing all the same."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from paretune.errors import ParetuneError, RunError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says when there is no room, for this user, or in one file."""

BROKEN = (errno.EIO, errno.ESTALE, errno.ENXIO, errno.EREMOTEIO, errno.ETIMEDOUT, errno.EROFS)
"""What the system says when the disk itself fails."""

_MARGIN = 1.2
"""A save may be a little larger than the one before."""


def require_room(folder: Path, size: int) -> None:
    """Refuse to begin a save that would not fit.

    Args:
        folder: where it goes; its nearest existing parent is asked.
        size: bytes of the last one like it; 1.2 times as much must be free.

    Raises:
        RunError: naming the folder, the bytes needed and the bytes free.
    """
    needed, free = int(_MARGIN * size), bytes_free(folder)
    if free < needed:
        raise RunError(_no_room(folder, needed, free))


def bytes_free(folder: Path) -> int:
    """What this user may still write there."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextlib.contextmanager
def disk_errors(path: Path, needed: int = 0) -> Iterator[None]:
    """Say which disk is full or broken where a library says something else, or nothing that helps.

    Args:
        path: what is written.
        needed: bytes, where they are known.

    Raises:
        RunError: in place of an error that the disk explains.
    """
    try:
        yield
    except OSError as error:
        if error.errno in BROKEN:
            raise RunError(
                f"{error.filename or path}: found {error.strerror}, expected a disk that works; "
                "what was saved before is kept: type the same command again"
            ) from error
        if error.errno not in FULL and not _is_full(str(error)):
            raise
        raise RunError(_no_room(path, needed, bytes_free(path), error)) from error
    except ParetuneError:
        raise
    except Exception as error:
        # torch and safetensors have errors of their own for a write that fell short.
        if not _is_full(str(error)):
            raise
        raise RunError(_no_room(path, needed, bytes_free(path), error)) from error


_PHRASES = (
    "no space left", "file too large", "disk quota", "unexpected pos", "os error 27", "os error 28",
    "os error 122", "pytorchstreamwriter failed",
)  # fmt: skip


def _is_full(said: str) -> bool:
    return any(phrase in said.lower() for phrase in _PHRASES)


def _no_room(path: Path, needed: int, free: int, cause: Exception | None = None) -> str:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    said_too_large = cause is not None and (
        getattr(cause, "errno", None) == errno.EFBIG or "too large" in str(cause).lower()
        or "os error 27" in str(cause).lower()
    )  # fmt: skip
    if limit != resource.RLIM_INFINITY and (said_too_large or limit < needed <= free):
        found = f"a limit of {limit:,} bytes a file (ulimit -f)"
    else:
        found = f"{free:,} bytes free"
    said = f" ({str(cause).splitlines()[0][:120]})" if cause and str(cause) else ""
    wanted = f"{needed:,} bytes" if needed else "room"
    return (
        f"{path}: disk full: found {found}, expected {wanted}{said}; what was saved before is "
        "kept: free some space and type the same command again"
    )


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += (Path(place) / name).lstat().st_size
    return total
