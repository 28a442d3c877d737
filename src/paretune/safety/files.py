"""Files that a reader finds whole or not at all, and that outlive a power cut."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from paretune.errors import RunError
from paretune.safety.disk import disk_errors


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file: its readers find the old content or the new one, never half of one.

    Raises:
        RunError: if the disk is full, or files may not be that large.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with disk_errors(path, len(content)), staged.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8; see :func:`write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON, which knows no NaN; see :func:`write_bytes`."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON values of a file.

    Raises:
        RunError: if the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from error


def move(source: Path, target: Path) -> None:
    """Rename a file or folder, for good: a power cut does not undo it."""
    os.replace(source, target)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk: a file whose name is lost is lost."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
