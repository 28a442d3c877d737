"""Validation while a job trains: a fixed metric, and the best parameters kept."""

from __future__ import annotations

import json
import math
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

_PARAMETERS, _FACTS = "best.safetensors", "best.json"


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
        self.best, self.step = _read_facts(validation.folder)

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
        file = self._validation.folder / _PARAMETERS
        kept = load(file.read_bytes())
        with torch.no_grad():
            for name, parameter in self._moving().items():
                parameter.copy_(kept[name])

    def _keep(self) -> None:
        self._validation.folder.mkdir(parents=True, exist_ok=True)
        tensors = {n: p.detach().cpu().contiguous() for n, p in self._moving().items()}
        write_bytes(self._validation.folder / _PARAMETERS, save(tensors))
        # After the parameters: facts without them would be believed.
        facts = {"validation": self.best, "step": self.step}
        write_bytes(self._validation.folder / _FACTS, json.dumps(facts).encode())

    def _moving(self) -> dict[str, torch.Tensor]:
        return {n: p for n, p in self._model.named_parameters() if p.requires_grad}


def _read_facts(folder: Path) -> tuple[float, int]:
    """Metric and step of the best parameters so far."""
    try:
        facts = json.loads((folder / _FACTS).read_bytes())
        return float(facts["validation"]), int(facts["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return -math.inf, 0
