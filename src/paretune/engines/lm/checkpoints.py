"""Checkpoints inside a job: sealed when they are whole, and only whole ones are gone on from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from transformers import TrainerCallback

from paretune.errors import RunError

_SEAL = "sealed.json"
_PREFIX = "checkpoint-"
_AGREE = 10
"""Steps between two looks at the clock when several processes must agree on a save."""


@final
@dataclass(frozen=True)
class Checkpoints:
    """Where a job's checkpoints lie, and how often one is made.

    Args:
        folder: of this job and no other.
        minutes: between checkpoints; 0 = not by the clock.
        steps: between checkpoints; 0 = not by the count.
    """

    folder: Path
    minutes: float = 0.0
    steps: int = 0

    def newest(self) -> Path | None:
        """The newest whole checkpoint; torn ones, which a kill left, are removed."""
        found = [p for p in self.folder.glob(f"{_PREFIX}*") if p.is_dir()]
        for checkpoint in sorted(found, key=checkpoint_step, reverse=True):
            if is_intact(checkpoint):
                return checkpoint
            shutil.rmtree(checkpoint)
        return None

    def clear(self) -> None:
        """Remove them all: the job is done, or nothing can be gone on from."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep them whatever ends the job early: a signal, a full disk, memory that ran out.

        A job that ends before its first checkpoint has nothing to keep.
        """
        try:
            yield
        except BaseException:
            if self.newest() is None:
                self.clear()
            raise
        self.clear()


def checkpoint_step(checkpoint: Path) -> int:
    """Optimizer steps done when it was made."""
    number = checkpoint.name.removeprefix(_PREFIX)
    return int(number) if number.isdigit() else -1


def seal(checkpoint: Path) -> None:
    """Declare a checkpoint whole: hashes of all its files, forced to the disk before the seal."""
    hashes = {}
    for file in sorted(f for f in checkpoint.rglob("*") if f.is_file() and f.name != _SEAL):
        with file.open("rb") as content:
            hashes[file.relative_to(checkpoint).as_posix()] = _sha256(content)
            os.fsync(content)
    write_whole(checkpoint / _SEAL, json.dumps(hashes, indent=1).encode())


def is_intact(checkpoint: Path) -> bool:
    """Whether a checkpoint is sealed, and every file is what it was when it was sealed."""
    try:
        hashes = json.loads((checkpoint / _SEAL).read_bytes())
        for name, expected in hashes.items():
            with (checkpoint / name).open("rb") as content:
                if _sha256(content) != expected:
                    return False
    except (OSError, ValueError, AttributeError):
        return False
    return bool(hashes)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, whatever happens."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    with staged.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file)
    os.replace(staged, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sha256(content: Any) -> str:
    return hashlib.file_digest(content, "sha256").hexdigest()


@final
class SealCallback(TrainerCallback):
    """Asks for a checkpoint when it is time, and seals what was saved.

    Args:
        checkpoints: where and how often.
        processes: that train together; they save at the same step.
    """

    def __init__(self, checkpoints: Checkpoints, processes: int) -> None:
        self._checkpoints, self._processes = checkpoints, processes
        self._saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After an optimizer step."""
        if not self._checkpoints.minutes or state.global_step >= state.max_steps:
            return
        if self._processes > 1 and state.global_step % _AGREE:
            return
        is_due = time.monotonic() - self._saved >= 60 * self._checkpoints.minutes
        control.should_save |= _anyone(is_due) if self._processes > 1 else is_due

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the library wrote its files."""
        self._saved = time.monotonic()
        if self._processes > 1:
            import torch

            torch.distributed.barrier()  # every process has a file of its own
        if not state.is_world_process_zero:
            return
        checkpoint = Path(args.output_dir) / f"{_PREFIX}{state.global_step}"
        if not checkpoint.is_dir():
            raise RunError(f"{checkpoint}: found no checkpoint after it was saved, expected one")
        seal(checkpoint)


def _anyone(is_due: bool) -> bool:
    """Whether any process says so."""
    import torch

    answers: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(answers, is_due)
    return any(answers)
