"""The run folder: numbered stages, written once and complete or not at all.

``runs/<name>/``::

    run.yaml run.json status.json ledger.jsonl
    1-records/ 2-rewards/ 3-comparisons/ 4-policies/<method>/<job>/ 5-replies/<method>/
    6-front/ 7-report/

Bases live beside the runs, in ``runs/bases/<identity>/``, because runs share them.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

from paretune.core.description import describe, identity
from paretune.errors import ConfigError, RunError
from paretune.safety.disk import disk_errors
from paretune.safety.files import move, write_json
from paretune.safety.ledger import append_row
from paretune.safety.manifest import (
    differences,
    differences_in_words,
    read_manifest,
    write_manifest,
)

STAGES = (
    "1-records", "2-rewards", "3-comparisons", "4-policies", "5-replies", "6-front", "7-report",
)  # fmt: skip
_LIBRARIES = ("paretune", "torch", "transformers", "peft", "accelerate", "moocore", "numpy")

LEDGER, STATUS = "ledger.jsonl", "status.json"


@final
@dataclass(frozen=True)
class Sealed:
    """A folder that is complete or absent.

    Its manifest is written last, inside a staging folder that is then renamed.

    Args:
        path: the folder.
        inputs: everything its content follows from, describable.
        is_replaced: made again whenever it is asked for; the old one stays until then.
    """

    path: Path
    inputs: Mapping[str, Any]
    is_replaced: bool = False

    @property
    def identity(self) -> str:
        """Hash of the inputs."""
        return identity(dict(self.inputs))

    @property
    def described(self) -> dict[str, Any]:
        """The inputs as JSON values."""
        found: dict[str, Any] = json.loads(json.dumps(describe(dict(self.inputs))))
        return found

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest, or ``None`` while the folder is not complete.

        Raises:
            RunError: if it is damaged.
        """
        return read_manifest(self.path)

    def is_done(self) -> bool:
        """True if the folder was made from these very inputs.

        Sizes are looked at; :func:`paretune.pipeline.damage.set_aside_damage` has read every byte
        before a run goes on.

        Raises:
            ConfigError: if it was made from others: nothing is written over.
            RunError: if a file is missing or has another size than it was written with.
        """
        manifest = self.manifest
        if manifest is None:
            return False
        if manifest["identity"] == self.identity:
            for name, seal in manifest["files"].items():
                file = self.path / name
                found = file.stat().st_size if file.is_file() else "no file"
                if found != seal["bytes"]:
                    raise RunError(
                        f"{file}: found {found}, expected {seal['bytes']} bytes: damaged while the "
                        "run was at work; type the same command again"
                    )
            return True
        changed = differences(manifest["inputs"], self.described)
        raise ConfigError(
            f"{self.path}: found results of other settings "
            f"({differences_in_words(changed) or 'unknown'}), expected the settings they were made "
            f"with; give the run another name, or remove {self.path} to make it again"
        )

    def or_kept(self, allowed: Collection[str]) -> Sealed:
        """This folder, or what lies there already if only allowed settings of it differ.

        Args:
            allowed: names of settings, the last part of their key.
        """
        manifest = self.manifest if allowed else None
        if manifest is None or manifest["identity"] == self.identity:
            return self
        changed = differences(manifest["inputs"], self.described)
        is_kept = all(is_allowed(key, allowed) for key in changed)
        return Sealed(self.path, manifest["inputs"]) if is_kept else self

    @contextlib.contextmanager
    def writing(self, **facts: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
        """A staging folder to fill, and facts to add to; complete when the block ends well.

        Raises:
            RunError: if the disk is full; what was there before stays.
        """
        for stale in self.path.parent.glob(f".{self.path.name}.staging-*"):
            shutil.rmtree(stale, ignore_errors=True)
        # The process in the name: what an earlier, killed run left can never be taken for ours.
        staging = self.path.with_name(f".{self.path.name}.staging-{os.getpid()}")
        started = time.time()
        try:
            with disk_errors(self.path):
                staging.mkdir(parents=True)
                yield staging, facts
                write_manifest(
                    staging,
                    {
                        "identity": self.identity,
                        "inputs": self.described,
                        "seconds": round(time.time() - started, 3),
                        "versions": versions(),
                        "facts": facts,
                    },
                )
                if self.path.exists():
                    if not self.is_replaced and self.manifest is not None:
                        raise RunError(f"{self.path}: found complete results, kept them")
                    # Renamed first: one that is half removed would be taken for a damaged one.
                    old = staging.with_name(f"{staging.name}-old")
                    move(self.path, old)
                    move(staging, self.path)
                    shutil.rmtree(old, ignore_errors=True)
                else:
                    move(staging, self.path)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise


def versions() -> dict[str, str]:
    """Of everything whose arithmetic is in the results."""
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}


def is_allowed(key: str, allowed: Collection[str]) -> bool:
    """Whether a difference between settings was allowed: by its last part, or its first."""
    parts = key.split(".")
    return parts[-1] in allowed or (parts[0] == "versions" and "versions" in allowed)


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

    def log(self, event: str, **facts: Any) -> None:
        """Append one line to ``ledger.jsonl``: what happened to which task, and when.

        A disk that is full or broken keeps it from nobody's work: whoever writes results there
        will say so.
        """
        row = {"time": round(time.time(), 3), "event": event, **facts}
        with contextlib.suppress(OSError, RunError):
            append_row(self.path / LEDGER, row)

    def status(self, state: str, **facts: Any) -> None:
        """Write ``status.json``: running, interrupted, failed or done."""
        now = round(time.time(), 3)
        write_json(
            self.path / STATUS,
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
