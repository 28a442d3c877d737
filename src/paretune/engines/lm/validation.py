"""Validation while a job trains: a fixed metric, and the best parameters kept."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
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
        folder: where the best parameters lie; a job that is resumed goes on from them.
    """

    every: int
    measure: Callable[[], float]
    folder: Path


@final
class BestCallback(TrainerCallback):
    """Measures, and keeps the parameters of the best measurement.

    A resumed job repeats the steps after its checkpoint, and what was better than all before it is
    better again: the parameters kept in the end are those of an uninterrupted job.

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
        file = validation.folder / _BEST
        _, self.best, self.step = _read_best(file) if file.exists() else ({}, -math.inf, 0)

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
        kept, _, _ = _read_best(self._validation.folder / _BEST)
        with torch.no_grad():
            for name, parameter in self._moving().items():
                parameter.copy_(kept[name])

    def _keep(self) -> None:
        self._validation.folder.mkdir(parents=True, exist_ok=True)
        tensors = {n: p.detach().cpu().contiguous() for n, p in self._moving().items()}
        _write_best(self._validation.folder / _BEST, tensors, self.best, self.step)

    def _moving(self) -> dict[str, torch.Tensor]:
        return {n: p for n, p in self._model.named_parameters() if p.requires_grad}


def find_damage(folder: Path) -> str | None:
    """What is wrong with the best parameters so far; ``None`` = nothing, or there are none yet."""
    file = folder / _BEST
    if not file.exists():
        return None
    try:
        _read_best(file)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        return f"{file}: found other content than was written ({error})"
    return None


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
        raise ValueError("its sha256 differs")
    return tensors, float(facts["validation"]), int(facts["step"])


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    return hashlib.sha256(save(tensors)).hexdigest()
