"""The run folder: numbered stages, written once and complete or not at all.

``runs/<name>/``::

    run.yaml run.json status.json metrics.jsonl
    1-records/ 2-rewards/ 3-comparisons/ 4-policies/<method>/<job>/ 5-replies/<method>/
    6-front/ 7-report/

Bases live beside the runs, in ``runs/bases/<identity>/``, because runs share them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from paretune.core.description import describe, identity
from paretune.errors import ConfigError, RunError

STAGES = (
    "1-records", "2-rewards", "3-comparisons", "4-policies", "5-replies", "6-front", "7-report",
)  # fmt: skip
MANIFEST = "manifest.json"


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader finds the old file or the new one, never half of one."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text so that a reader finds the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    with staged.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(staged, path)


def read_json(path: Path) -> Any:
    """The JSON values of a file.

    Raises:
        RunError: if the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from error


@final
@dataclass(frozen=True)
class Sealed:
    """A folder that is complete or absent.

    Its manifest is written last, inside a staging folder that is then renamed.

    Args:
        path: the folder.
        inputs: everything its content follows from, describable.
    """

    path: Path
    inputs: Mapping[str, Any]

    @property
    def identity(self) -> str:
        """Hash of the inputs."""
        return identity(dict(self.inputs))

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest, or ``None`` while the folder is not complete.

        Raises:
            RunError: if it is damaged.
        """
        path = self.path / MANIFEST
        if not path.exists():
            return None
        try:
            manifest = read_json(path)
            complete = {"identity", "inputs", "facts"} <= set(manifest)
        except (RunError, TypeError):
            complete = False
        if not complete:
            raise RunError(f"{path}: found a damaged manifest, {self._again}")
        return dict(manifest)

    @property
    def _again(self) -> str:
        return f"expected what paretune wrote; remove {self.path} to make it again"

    def is_done(self) -> bool:
        """True if the folder was made from these very inputs.

        Raises:
            ConfigError: if it was made from others: nothing is written over.
            RunError: if a file is missing or has another size than it was written with.
        """
        manifest = self.manifest
        if manifest is None:
            return False
        if manifest["identity"] == self.identity:
            for name, size in manifest.get("files", {}).items():
                file = self.path / name
                found = file.stat().st_size if file.is_file() else "no file"
                if found != size:
                    raise RunError(f"{file}: found {found}, expected {size} bytes; {self._again}")
            return True
        old, new = manifest["inputs"], json.loads(json.dumps(describe(dict(self.inputs))))
        changed = sorted(_differences(old, new))
        raise ConfigError(
            f"{self.path}: found results of other settings ({', '.join(changed) or 'unknown'} "
            "changed), expected the settings they were made with; give the run another name, or "
            f"remove {self.path} to make it again"
        )

    @contextlib.contextmanager
    def writing(self, **facts: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
        """A staging folder to fill, and facts to add to; complete when the block ends well."""
        for stale in self.path.parent.glob(f".{self.path.name}.staging-*"):
            shutil.rmtree(stale, ignore_errors=True)
        # The process in the name: what an earlier, killed run left can never be taken for ours.
        staging = self.path.with_name(f".{self.path.name}.staging-{os.getpid()}")
        staging.mkdir(parents=True)
        started = time.time()
        try:
            yield staging, facts
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        manifest = {
            "identity": self.identity,
            "inputs": describe(dict(self.inputs)),
            "seconds": round(time.time() - started, 3),
            "facts": facts,
            "files": _sizes(staging),
        }
        write_json(staging / MANIFEST, manifest)
        if self.path.exists():
            if self.manifest is not None:
                raise RunError(f"{self.path}: found complete results, expected none: kept them")
            shutil.rmtree(self.path)
        os.replace(staging, self.path)


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file, each forced to the disk: the rename must not arrive before them."""
    sizes: dict[str, int] = {}
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        with file.open("rb") as content:
            os.fsync(content)
        sizes[file.relative_to(folder).as_posix()] = file.stat().st_size
    return sizes


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock file; the kernel drops it with the process, however that ends.

    Args:
        path: the lock file, made when missing.
        wait: wait for the holder instead of refusing.

    Raises:
        RunError: if another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise RunError(
                f"{path.parent}: found another process at work in it, expected one at a time; "
                "wait for it, or give this run another name"
            ) from error
        yield


def _differences(old: Any, new: Any, key: str = "") -> list[str]:
    """Keys whose values differ, the outermost ones that say enough."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            difference
            for name in {*old, *new}
            for difference in _differences(
                old.get(name), new.get(name), f"{key}.{name}" if key else str(name)
            )
        ]
    return [] if old == new else [key or "all"]


@final
@dataclass(frozen=True)
class RunFolder:
    """Paths of one run.

    Args:
        path: ``runs/<name>``.
    """

    path: Path

    @property
    def bases(self) -> Path:
        """Bases that the runs of this place share."""
        return self.path.parent / "bases"

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.name

    def stage(self, number: int) -> Path:
        """Folder of a stage, from 1."""
        return self.path / STAGES[number - 1]

    def policy(self, method: str, job: str) -> Path:
        """Folder of a trained policy."""
        return self.stage(4) / method / job

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 3), **row}) + "\n")

    def status(self, state: str, **facts: Any) -> None:
        """Write ``status.json``: running, interrupted, failed or done."""
        now = round(time.time(), 3)
        write_json(
            self.path / "status.json",
            {"state": state, "pid": os.getpid(), "updated": now, **facts},
        )


def open_run(path: Path) -> RunFolder:
    """An existing run.

    Raises:
        ConfigError: if the folder holds none.
    """
    if not (path / "run.json").is_file():
        raise ConfigError(f"{path}: found no run.json, expected the folder of a run")
    return RunFolder(path)
