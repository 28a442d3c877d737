"""What a folder held when it was sealed, by name, size and SHA-256, and what became of it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paretune.errors import RunError
from paretune.safety.files import read_json, sync_folder, write_json

MANIFEST = "manifest.json"

Files = dict[str, dict[str, Any]]
"""Name below the folder to ``{"bytes": size, "sha256": 64 hex digits}``."""


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    """Seal a folder: ``manifest.json`` with facts and all files, and with a hash of itself.

    It is written last, when everything else has reached the disk: a folder without one is torn.
    """
    content = {**facts, "files": seal_files(folder)}
    write_json(folder / MANIFEST, {**content, "sha256": _digest(content)})


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder; ``None`` = it was never sealed.

    Raises:
        RunError: if the manifest is damaged.
    """
    path = folder / MANIFEST
    if not path.exists() and not path.is_symlink():
        return None
    if path.is_symlink():
        raise RunError(f"{path}: found a link, expected a file")
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
        raise RunError(f"{path}: found no list of files, expected one")
    if "sha256" not in found:
        raise RunError(f"{path}: found no sha256, expected one: an earlier version wrote it")
    if found.pop("sha256") != _digest(found):
        raise RunError(f"{path}: found other content than was sealed (sha256 differs)")
    return found


def find_problems(folder: Path) -> list[str]:
    """Everything that is wrong with a sealed folder, its manifest included.

    A file that was not sealed with the others counts too: a loader would read an adapter or an
    index of weights that somebody put there.
    """
    try:
        manifest = read_manifest(folder)
    except RunError as error:
        return [str(error)]
    if manifest is None:
        return [f"{folder / MANIFEST}: found no file, expected the manifest of a sealed folder"]
    return find_damage(folder, manifest["files"]) + [
        f"{file}: found a file that was not sealed with the others, expected none"
        for file in strangers(folder, manifest["files"])
    ]


def strangers(folder: Path, files: Mapping[str, Any]) -> list[Path]:
    """Files in a sealed folder that its manifest does not list; hidden ones are of systems."""
    found = ((file, file.relative_to(folder)) for file in walk(folder))
    return [
        file
        for file, name in found
        if name.as_posix() not in {*files, MANIFEST} and not name.name.startswith(".")
    ]


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


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
        sync_folder(Path(place))
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
