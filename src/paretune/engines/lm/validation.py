"""Validation while a job trains: a fixed metric, and the best parameters kept."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import load, save
from torch import nn
from transformers import TrainerCallback

from paretune.errors import RunError
from paretune.safety.files import write_bytes

_BETTER = 1e-4
"""A metric that grew by less has not improved."""

_BEST = "best.safetensors"


@final
@dataclass(frozen=True)
class Validation:
    """How a job is validated.

    Args:
        every: steps between two measurements; the last step is always measured.
        measure: the metric of the policies as they are, larger is better. Not the training loss:
            weights that are learned, or a hypervolume, would move the yardstick.
        folder: where the best parameters of this process lie.
    """

    every: int
    measure: Callable[[], float]
    folder: Path


@final
class BestCallback(TrainerCallback):
    """Measures, and keeps the parameters of the best measurement.

    They are part of every checkpoint: a job that goes on knows what was best until there, and
    nothing of the steps that it does again.

    Args:
        validation: what and when.
        model: whose trainable parameters are kept.
        tell: called with (step, all steps, numbers).
    """

    def __init__(
        self,
        validation: Validation,
        model: nn.Module,
        tell: Callable[[int, int, dict[str, float]], None] | None,
    ) -> None:
        self._validation, self._model, self._tell = validation, model, tell
        self._file = validation.folder / _BEST
        self.best, self.step = -math.inf, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Once the trainer knows which checkpoint it goes on from."""
        sealed = Path(args.output_dir).parent / f"checkpoint-{state.global_step}" / _BEST
        if sealed.exists():
            _, self.best, self.step = _read_best(sealed)
        if state.is_world_process_zero:
            self._file.unlink(missing_ok=True)
            if sealed.exists():
                self._file.parent.mkdir(parents=True, exist_ok=True)
                _link(sealed, self._file)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the trainer wrote its files, and before they are sealed."""
        if state.is_world_process_zero and self._file.exists():
            _link(self._file, Path(args.output_dir) / f"checkpoint-{state.global_step}" / _BEST)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After an optimizer step."""
        step, steps = state.global_step, state.max_steps
        if step % self._validation.every and step != steps:
            return
        metric = self._validation.measure()
        if not math.isfinite(metric):
            raise RunError(f"validation: found {metric} at step {step}, expected a finite number")
        if metric > self.best + _BETTER:
            self.best, self.step = metric, step
            if state.is_world_process_zero:
                self._keep()
        if self._tell is not None and state.is_world_process_zero:
            self._tell(step, steps, {"validation": metric, "best_validation": self.best})

    def restore(self) -> None:
        """Give the model the parameters of the best measurement."""
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # the first process may still be writing
        kept, _, _ = _read_best(self._file)
        with torch.no_grad():
            for name, parameter in self._moving().items():
                parameter.copy_(kept[name])

    def _keep(self) -> None:
        tensors = {n: p.detach().cpu().contiguous() for n, p in self._moving().items()}
        _write_best(self._file, tensors, self.best, self.step)

    def _moving(self) -> dict[str, torch.Tensor]:
        return {n: p for n, p in self._model.named_parameters() if p.requires_grad}


def _link(source: Path, target: Path) -> None:
    """A second name for a file that is only ever replaced; a copy where disks know no such."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_best(file: Path, tensors: dict[str, torch.Tensor], metric: float, step: int) -> None:
    """One file for all: a kill between two would leave facts of other parameters."""
    facts = {"validation": repr(metric), "step": str(step), "sha256": _digest(tensors)}
    write_bytes(file, save(tensors, metadata=facts))


def _read_best(file: Path) -> tuple[dict[str, torch.Tensor], float, int]:
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    facts = json.loads(content[8 : 8 + size])["__metadata__"]
    tensors = load(content)
    if _digest(tensors) != facts["sha256"]:
        raise RunError(f"{file}: found other parameters than were written (sha256 differs)")
    return tensors, float(facts["validation"]), int(facts["step"])


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    return hashlib.sha256(save(tensors)).hexdigest()
