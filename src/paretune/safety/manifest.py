"""What a folder held when it was sealed, by name, size and SHA-256, and what became of it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Files = dict[str, dict[str, Any]]
"""Name below the folder to ``{"bytes": size, "sha256": 64 hex digits}``."""


def seal_files(folder: Path) -> Files:
    """Every file of a folder, read once for its hash and forced to the disk, folders too.

    Raises:
        OSError: if a file cannot be read or does not reach the disk.
    """
    files: Files = {}
    for file in walk(folder):
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            os.fsync(content)
            size = os.fstat(content.fileno()).st_size
        files[file.relative_to(folder).as_posix()] = {"bytes": size, "sha256": digest}
    for place, _, _ in os.walk(folder, topdown=False):
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    return files


def walk(folder: Path) -> Iterator[Path]:
    """All that is no folder below a folder, in the order of their names; links are not followed."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in sorted([*names, *links]):
            yield Path(place) / name


def find_damage(folder: Path, files: Mapping[str, Any]) -> list[str]:
    """What is wrong with the files of a sealed folder, one sentence each; empty = nothing.

    Every byte is read. A link counts as damage: what it points to was never sealed.

    Args:
        folder: where they are.
        files: from :func:`seal_files`.

    Example:
        >>> find_damage(Path("/nowhere"), {"a.txt": {"bytes": 1, "sha256": "0"}})
        ['/nowhere/a.txt: found no file, expected 1 bytes']
    """
    return [problem for name, seal in files.items() if (problem := _problem(folder, name, seal))]


def _problem(folder: Path, name: str, seal: Any) -> str | None:
    file = folder / name
    try:
        size, expected = int(seal["bytes"]), str(seal["sha256"])
    except (KeyError, TypeError, ValueError):
        return f"{file}: found {seal!r} in its manifest, expected bytes and sha256"
    if ".." in Path(name).parts or Path(name).is_absolute():
        return f"{file}: found a name that leaves its folder, expected one inside"
    try:
        found = file.lstat()
        if not stat.S_ISREG(found.st_mode) or _has_link(folder, name):
            return f"{file}: found a link or something else that is no file, expected a file"
        if found.st_size != size:
            return f"{file}: found {found.st_size:,} bytes, expected {size:,}"
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except FileNotFoundError:
        return f"{file}: found no file, expected {size:,} bytes"
    except OSError as error:
        return f"{file}: cannot be read: {error.strerror}"
    if digest != expected:
        return f"{file}: found other content (sha256 {digest[:12]}), expected {expected[:12]}"
    return None


def _has_link(folder: Path, name: str) -> bool:
    return any((folder / parent).is_symlink() for parent in Path(name).parents)


def differences(old: Any, new: Any, key: str = "") -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ, the outermost ones that say enough, with both values.

    Example:
        >>> differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
        {'b.c': (2, 3)}
    """
    if isinstance(old, dict) and isinstance(new, dict):
        return {
            name: both
            for part in sorted({*old, *new}, key=str)
            for name, both in differences(
                old.get(part), new.get(part), f"{key}.{part}" if key else str(part)
            ).items()
        }
    return {} if old == new else {key or "all": (old, new)}


def differences_in_words(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """Differences as a person reads them: ``train.learning_rate 0.001 -> 0.0001``."""
    return ", ".join(f"{k} {_short(old)} -> {_short(new)}" for k, (old, new) in changed.items())


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
