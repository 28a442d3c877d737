"""What a run folder holds: what is intact, what is damaged, and what the same command would do."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

from paretune.errors import ParetuneError, RunError
from paretune.pipeline.base import base_folder
from paretune.pipeline.config import parse_config
from paretune.pipeline.damage import DAMAGED, examine, sealed_folders
from paretune.pipeline.folder import LEDGER, STATUS, RunFolder, open_run, versions
from paretune.pipeline.job_checkpoints import CHECKPOINTS
from paretune.safety.files import read_json
from paretune.safety.ledger import read_rows
from paretune.safety.lock import holder, is_held
from paretune.safety.manifest import (
    MANIFEST,
    differences,
    differences_in_words,
    find_problems,
    read_manifest,
)

Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True)
class Stopped:
    """A training that was stopped or killed.

    Args:
        path: folder of its checkpoints.
        step: of the newest intact one; 0 = none is, it would start again.
        damaged: what is wrong with others.
    """

    path: str
    step: int
    damaged: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Diagnosis:
    """What became of a run.

    Args:
        run: its folder.
        state: as it was left: running, interrupted, failed, done, or unknown.
        worker: the process at work in it right now; empty = none.
        intact: sealed folders without any damage.
        damaged: folder to what is wrong with it.
        stopped: trainings that would go on.
        failed: task to what went wrong, by the ledger, where nothing has succeeded since.
        leftovers: what a kill left half-written; removed when the run goes on.
        set_aside: damaged folders that an earlier run moved out of the way.
        changed: versions that are others now than when the run began, in words.
    """

    run: str
    state: str
    worker: str
    intact: tuple[str, ...]
    damaged: dict[str, tuple[str, ...]]
    stopped: tuple[Stopped, ...]
    failed: dict[str, str] = field(default_factory=dict)
    leftovers: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()
    changed: str = ""

    @property
    def is_healthy(self) -> bool:
        """Whether no byte of a result is damaged."""
        return not self.damaged and not any(s.damaged for s in self.stopped)

    @property
    def actions(self) -> list[str]:
        """What the same command would do, in order."""
        if self.worker:
            return [f"nothing yet: {self.worker} is at work in it"]
        actions = [f"refuse, for versions are others now ({self.changed})"] if self.changed else []
        actions += [f"set aside {path} and make it again" for path in self.damaged]
        actions += [
            f"go on with {s.path} from step {s.step}" if s.step else f"start {s.path} again"
            for s in self.stopped
        ]
        actions += [f"try {task} again" for task in self.failed]
        if self.state == "done" and not actions:
            return ["measure and report again; nothing is trained"]
        return [*actions, f"keep {len(self.intact)} finished folders and make what is missing"]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"is_healthy": self.is_healthy, "actions": self.actions}


def runs_in(path: Path) -> list[RunFolder]:
    """The run in a folder, or those of a comparison.

    Raises:
        ConfigError: if it holds none.
    """
    inner = [p.parent for p in sorted(path.glob("*/run.json"))] if path.is_dir() else []
    return [RunFolder(p) for p in inner] or [open_run(path)]


def diagnose(run: RunFolder, progress: Progress = lambda done, total: None) -> Diagnosis:
    """Read all of a run folder, and the base that it built; changes nothing.

    Args:
        run: the run.
        progress: called with (folders read, all).
    """
    intact, damaged = [], {}
    for found in examine(run, progress):
        name = _inside(run, found.path)
        if found.problems:
            damaged[name] = tuple(p.removeprefix(f"{run.path}/") for p in found.problems)
        else:
            intact.append(name)
    base = _base(run)
    if base is not None and base.exists() and (problems := find_problems(base)):
        damaged[_inside(run, base)] = tuple(problems)
    hidden = [p for p in run.path.rglob(".*") if p.is_dir() and DAMAGED not in p.parts]
    aside = sealed_folders(RunFolder(run.path / DAMAGED))
    return Diagnosis(
        str(run.path), _state(run), _worker(run), tuple(intact), damaged,
        tuple(_stopped(run, p) for p in (*_of_base(base), *sorted(hidden))
              if p.name.endswith(CHECKPOINTS)),
        _failed(run), tuple(sorted(_inside(run, p) for p in hidden if ".staging-" in p.name)),
        tuple(_inside(run, p) for p in aside), _changed(run),
    )  # fmt: skip


def _inside(run: RunFolder, path: Path) -> str:
    return os.path.relpath(path, run.path)


def _base(run: RunFolder) -> Path | None:
    """The base that the run builds, as far as what is left of it tells."""
    try:
        return base_folder(parse_config(read_json(run.path / "run.json")["config"]), run)
    except (ParetuneError, KeyError, TypeError):
        return None


def _of_base(base: Path | None) -> list[Path]:
    """Its checkpoints, while it is being trained."""
    return [] if base is None else list(base.parent.glob(f".{base.name}{CHECKPOINTS}"))


def _state(run: RunFolder) -> str:
    try:
        return str(read_json(run.path / STATUS)["state"])
    except (RunError, KeyError, TypeError):
        return "unknown"


def _worker(run: RunFolder) -> str:
    lock = run.path / ".lock"
    if not is_held(lock):
        return ""
    found = holder(lock)
    return f"process {found.get('pid', '?')} on {found.get('host', '?')}"


def _stopped(run: RunFolder, folder: Path) -> Stopped:
    step, damaged = 0, []
    for checkpoint in folder.glob("checkpoint-*"):
        number = checkpoint.name.rpartition("-")[2]
        if not number.isdigit():
            continue  # of somebody else
        problems = find_problems(checkpoint)
        damaged += [p.removeprefix(f"{run.path}/") for p in problems]
        if not problems:
            step = max(step, int(number))
    name = folder.name.removeprefix(".").removesuffix(CHECKPOINTS)
    return Stopped(_inside(run, folder.with_name(name)), step, tuple(damaged))


def _failed(run: RunFolder) -> dict[str, str]:
    failed: dict[str, str] = {}
    for row in read_rows(run.path / LEDGER):
        task = str(row.get("task", ""))
        if row.get("event") == "failed":
            failed[task] = str(row.get("problem"))
        elif row.get("event") == "done":
            failed.pop(task, None)
    return failed


def _changed(run: RunFolder) -> str:
    try:
        then = dict(read_json(run.path / "run.json"))["versions"]
    except (RunError, KeyError, TypeError, ValueError):
        return ""
    return differences_in_words(differences(then, versions()))


def sealed_summary(run: RunFolder) -> dict[str, tuple[int, int, int]]:
    """Of each stage: sealed folders, files and bytes, by their manifests."""
    counts: Counter[str] = Counter()
    files: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for folder in sealed_folders(run):
        stage = folder.relative_to(run.path).parts[0]
        counts[stage] += 1
        if (folder / MANIFEST).exists():
            try:
                seals = (read_manifest(folder) or {}).get("files", {})
            except RunError:
                continue
            files[stage] += len(seals)
            sizes[stage] += sum(int(seal["bytes"]) for seal in seals.values())
    return {stage: (counts[stage], files[stage], sizes[stage]) for stage in sorted(counts)}
