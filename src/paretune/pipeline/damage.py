"""What became of a run folder: every sealed folder read, every byte compared."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from paretune.errors import RunError
from paretune.pipeline.folder import STAGES, RunFolder
from paretune.safety.manifest import (
    MANIFEST,
    differences,
    differences_in_words,
    find_problems,
    read_manifest,
    strangers,
)

DAMAGED = ".damaged"


@final
@dataclass(frozen=True)
class Examined:
    """A sealed folder of a run.

    Args:
        path: the folder.
        problems: one sentence each; empty = intact.
    """

    path: Path
    problems: tuple[str, ...]


def sealed_folders(run: RunFolder) -> list[Path]:
    """Every folder of a run that is sealed, or was: whole stages, policies, replies.

    Links to folders that hold sealed ones are followed: a stage may lie on another disk.
    """
    found: list[Path] = []
    torn: list[Path] = []
    for name in STAGES:
        for place, folders, files in os.walk(run.path / name, followlinks=True):
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            if MANIFEST in files:
                found.append(Path(place))
                folders.clear()
            elif name != "7-report" and any(not f.startswith(".") for f in files):
                # Files without a manifest: it was removed, for nothing is ever left unsealed.
                torn.append(Path(place))
    # What lies beside sealed folders (a note, a listing) is nobody's result.
    above = {parent for folder in found for parent in folder.parents}
    torn = [t for t in torn if t not in above and not any(p in torn for p in t.parents)]
    return sorted([*found, *torn])


def examine(
    run: RunFolder, progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[Examined]:
    """Read every sealed folder of a run; changes nothing.

    Args:
        run: the run.
        progress: called with (folders read, all).
    """
    folders = sealed_folders(run)
    for n, folder in enumerate(folders):
        progress(n, len(folders))
        yield Examined(folder, tuple(find_problems(folder)))


def set_aside_damage(run: RunFolder, say: Callable[[str], None]) -> list[Path]:
    """Move damaged folders out of the way, so that they are made again.

    They go to ``.damaged/`` and are never used; an earlier one of the same name is replaced.

    Args:
        run: the run, which nobody else is at work in.
        say: hears every damage.

    Returns:
        The folders that are gone from their place.
    """
    moved = []
    for folder in sealed_folders(run):
        if problems := set_aside(folder, run.path, say):
            moved.append(folder)
            run.log("damaged", folder=str(folder.relative_to(run.path)), problems=problems)
    return moved


def set_aside(folder: Path, root: Path, say: Callable[[str], None]) -> list[str]:
    """Move one folder to ``.damaged/`` of its root if any byte of it is wrong.

    Of a folder that is intact, and holds other files too, only these are moved.

    Returns:
        What was wrong; empty = the folder is intact and where it was.
    """
    problems = find_problems(folder)
    for problem in problems:
        say(f"damaged: {problem}")
    with contextlib.suppress(RunError):  # a damaged manifest tells of no file
        manifest = read_manifest(folder)
        others = strangers(folder, manifest["files"]) if manifest else []
        if len(others) == len(problems):
            for file in others:
                _move_aside(file, root)
            return []
    _move_aside(folder, root)
    say(f"damaged: {folder} was set aside in {DAMAGED}/ and is made again")
    return problems


def _move_aside(place: Path, root: Path) -> None:
    target = root / DAMAGED / place.relative_to(root)
    if target.is_dir():
        shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(place, target)  # it may lie on another disk


def tell_restored(run: RunFolder, folders: list[Path], say: Callable[[str], None]) -> None:
    """Say whether what was damaged has been made again as it was.

    Args:
        run: the run.
        folders: from :func:`set_aside_damage`.
        say: hears it.
    """
    for folder in folders:
        try:
            old = read_manifest(run.path / DAMAGED / folder.relative_to(run.path))
            new = read_manifest(folder)
        except RunError:
            old = new = None  # the damage was to the manifest: nothing to compare with
        if old and new:
            changed = sorted(k for k, v in new["files"].items() if old["files"].get(k) != v)
            by = differences_in_words(differences(old.get("versions"), new.get("versions")))
            found = f"other content in {', '.join(changed)}" if changed else "bit for bit as it was"
            found += f" (by other versions: {by})" if by else ""
            say(f"{folder}: made again, {found}")
            run.log("restored", folder=str(folder.relative_to(run.path)), changed=changed)
