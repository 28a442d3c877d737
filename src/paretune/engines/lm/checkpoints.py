"""Checkpoints inside a job: sealed when they are whole, and only whole ones are gone on from.

The library fills ``.staging/checkpoint-N/``; when all is on the disk with its hashes, the folder is
renamed into place. What lies there is whole, was finite, and says what it follows from.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from transformers import TrainerCallback

from paretune.engines.lm.processes import anyone
from paretune.errors import ConfigError, RunError
from paretune.safety.disk import require_room, size_of
from paretune.safety.files import move
from paretune.safety.manifest import (
    differences,
    differences_in_words,
    find_problems,
    read_manifest,
    write_manifest,
)
from paretune.safety.stopping import Stop, stop_reason, stop_requested

STAGING = ".staging"
_PREFIX = "checkpoint-"
_KEPT = 2
"""The one before stays: a disk may damage the newest at any time."""
_AGREE = 10
"""Steps between two looks at the clock when several processes must agree on a save."""


def _silent(text: str) -> None:
    """Says nothing."""


@final
@dataclass(frozen=True)
class Checkpoints:
    """Where a job's checkpoints lie, and how often one is made.

    Args:
        folder: of this job and no other.
        minutes: between checkpoints; 0 = not by the clock.
        steps: between checkpoints; 0 = not by the count.
        identity: everything the job follows from, as JSON values. A checkpoint of anything else is
            refused.
        is_allowed: whether a key of the identity may differ all the same.
        say: hears what was found damaged, and what that costs.
    """

    folder: Path
    minutes: float = 0.0
    steps: int = 0
    identity: Mapping[str, Any] = field(default_factory=dict)
    is_allowed: Callable[[str], bool] = lambda key: False
    say: Callable[[str], None] = _silent

    def newest(self) -> Path | None:
        """The newest whole checkpoint; damaged ones are told and removed.

        Raises:
            ConfigError: if it was made with other settings; names them all.
        """
        damaged: list[Path] = []
        for checkpoint in self._found():
            problems = _problems(checkpoint)
            if not problems:
                self._require_same(checkpoint)
                self._tell(damaged, checkpoint_step(checkpoint))
                return checkpoint
            for problem in problems:
                self.say(f"damaged: {problem}")
            damaged.append(checkpoint)
        self._tell(damaged, 0)
        return None

    def check(self) -> None:
        """Refuse to go on from a checkpoint of other settings, by its manifest; changes nothing.

        Raises:
            ConfigError: as :meth:`newest`.
        """
        for checkpoint in self._found():
            with contextlib.suppress(RunError):  # a damaged one is not gone on from
                if read_manifest(checkpoint) is not None:
                    self._require_same(checkpoint)
                    return

    def spent(self) -> float:
        """CPU seconds that went into the newest checkpoint, once :meth:`newest` has read it."""
        return next((float((read_manifest(c) or {})["seconds"]) for c in self._found()), 0.0)

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
            if not self._found():
                self.clear()
            raise
        self.clear()

    def _found(self) -> list[Path]:
        found = [p for p in self.folder.glob(f"{_PREFIX}*") if checkpoint_step(p) >= 0]
        return sorted(found, key=checkpoint_step, reverse=True)

    def _tell(self, damaged: list[Path], step: int) -> None:
        if damaged:
            first = checkpoint_step(damaged[0])
            start = f"goes on from step {step}" if step else "starts again"
            self.say(f"{self.folder.name}: {start} instead of step {first}")
        for checkpoint in damaged:
            _remove(checkpoint)

    def _require_same(self, checkpoint: Path) -> None:
        manifest = read_manifest(checkpoint) or {}
        changed = differences(manifest.get("identity"), dict(self.identity))
        if refused := {k: v for k, v in changed.items() if not self.is_allowed(k)}:
            names = ",".join(sorted({_name(key) for key in refused}))
            raise ConfigError(
                f"{self.folder}: found a job stopped at step {checkpoint_step(checkpoint)} of "
                f"other settings ({differences_in_words(refused)}), expected the settings it began "
                f"with; give the run another name, go on with --allow-change {names} where that "
                "is offered, or remove the folder to start the job again"
            )


def checkpoint_step(checkpoint: Path) -> int:
    """Optimizer steps done when it was made; -1 = it has another name, given by somebody else."""
    number = checkpoint.name.removeprefix(_PREFIX)
    return int(number) if number.isdigit() else -1


def _problems(checkpoint: Path) -> list[str]:
    problems = find_problems(checkpoint)
    found = None if problems else (read_manifest(checkpoint) or {}).get("step")
    if found not in (None, checkpoint_step(checkpoint)):
        problems.append(
            f"{checkpoint}: found step {found} in its manifest, expected that of its name"
        )
    return problems


def _name(key: str) -> str:
    return "versions" if key.startswith("versions") else key.rpartition(".")[2]


def _remove(checkpoint: Path) -> None:
    """By renaming first: one that is half removed must not be taken for a damaged one."""
    hidden = checkpoint.with_name(f".old-{checkpoint.name}")
    shutil.rmtree(hidden, ignore_errors=True)
    move(checkpoint, hidden)
    shutil.rmtree(hidden, ignore_errors=True)


@final
class SealCallback(TrainerCallback):
    """Asks for a checkpoint when it is time, seals what was saved, and ends the job on request.

    Args:
        checkpoints: where and how often.
        processes: that train together; they save, and stop, at the same step.
        trainer: fills the checkpoints; see :class:`paretune.engines.lm.training_state.PlainState`.
    """

    def __init__(self, checkpoints: Checkpoints, processes: int, trainer: Any) -> None:
        self._checkpoints, self._processes, self._trainer = checkpoints, processes, trainer
        self._saved, self._started = time.monotonic(), time.process_time()
        self._spent, self._size = checkpoints.spent(), 0
        self._is_stopped = False
        shutil.rmtree(checkpoints.folder / STAGING, ignore_errors=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After an optimizer step."""
        step, steps = state.global_step, state.max_steps
        if step >= steps:
            return
        by_count, minutes = self._checkpoints.steps, self._checkpoints.minutes
        if anyone(stop_requested(), args.device):
            self._is_stopped = control.should_save = control.should_training_stop = True
        elif by_count and step % by_count == 0:
            control.should_save = True
        elif minutes and (self._processes == 1 or step % _AGREE == 0):
            is_due = time.monotonic() - self._saved >= 60 * minutes
            control.should_save |= anyone(is_due, args.device)
        if control.should_save and state.is_world_process_zero:
            require_room(self._checkpoints.folder, self._size)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the trainer wrote its files."""
        self._saved = time.monotonic()
        if self._processes > 1:
            torch.distributed.barrier()  # every process has a file of its own
        if state.is_world_process_zero:
            self._seal(state.global_step)

    def finish(self) -> None:
        """After the training: end the job where it was asked to.

        Raises:
            Stop: then; its last checkpoint is sealed.
        """
        if self._is_stopped:
            raise Stop(stop_reason())

    def _seal(self, step: int) -> None:
        staged = self._checkpoints.folder / STAGING / f"{_PREFIX}{step}"
        if not staged.is_dir():
            raise RunError(f"{staged}: found no checkpoint after it was saved, expected one")
        if not self._trainer.is_finite():
            shutil.rmtree(staged)
            raise RunError(
                f"training diverged: a parameter or an average of the optimizer is not finite at "
                f"step {step}; expected finite numbers (try a smaller learning_rate)"
            )
        seconds = self._spent + time.process_time() - self._started
        write_manifest(
            staged,
            {"step": step, "seconds": seconds, "identity": dict(self._checkpoints.identity)},
        )
        self._size = size_of(staged)
        sealed = self._checkpoints.folder / staged.name
        if sealed.exists():
            _remove(sealed)
        move(staged, sealed)
        for older in self._checkpoints._found()[_KEPT:]:
            _remove(older)
