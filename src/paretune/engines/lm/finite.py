"""Losses and gradients that are no numbers: a training stops, or skips a few steps if asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor
from transformers import TrainerCallback

from paretune.engines.lm.processes import anyone
from paretune.errors import RunError


def check_finite(numbers: Mapping[str, float], step: int, steps: int) -> None:
    """Stop a training that has diverged.

    Raises:
        RunError: if the loss or the gradient norm is not finite.
    """
    for name in ("loss", "grad_norm"):
        if name in numbers and not math.isfinite(numbers[name]):
            raise RunError(
                f"training diverged: {name} is {numbers[name]} at step {step} of {steps}; "
                "expected a finite number (try a smaller learning_rate)"
            )


def check_parameters(model: Any, steps: int) -> None:
    """Stop a training that has diverged at its last step.

    Raises:
        RunError: if a parameter that trains is not finite.
    """
    if not all(is_finite(p) for p in model.parameters() if p.requires_grad):
        raise RunError(
            f"training diverged: a parameter is not finite after step {steps}; expected finite "
            "numbers (try a smaller learning_rate)"
        )


def is_finite(tensor: Tensor) -> bool:
    """Whether every number of a tensor is one."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


@final
class SkipCallback(TrainerCallback):
    """Leaves out steps whose loss or gradient is not finite, and stops a training with too many.

    A step is left out whole, with every batch that was accumulated for it in every process: their
    gradients are one sum by then. Parameters and Adam's averages stay as they are, the schedule
    goes on, and the log line is without the step. On a GPU this waits for the device at every step.

    Args:
        trainer: with :class:`~paretune.engines.lm.training_state.PlainState` mixed in.
        most: steps that a training may leave out, >= 0; 0 watches nothing.
    """

    def __init__(self, trainer: Any, most: int) -> None:
        self._trainer, self._most = trainer, most
        self._marks: dict[str, int] = {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the batches of a step."""
        self._marks = {name: len(values) for name, values in self._trainer.window.items()}
        self._trainer.is_skipped = False

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the gradients of a step, clipped, and before they move anything.

        Raises:
            RunError: if it is one step too many, or the state of the loss is not finite.
        """
        trainer = self._trainer
        if not self._most:
            return
        gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
        losses = trainer.window.get("loss", [])[self._marks.get("loss", 0) :]
        if not anyone(not all(map(is_finite, (*gradients, *losses))), args.device):
            return
        trainer.skipped_steps += 1
        if trainer.skipped_steps > self._most:
            raise RunError(
                f"training diverged: the loss or the gradient of {trainer.skipped_steps} steps is "
                f"not finite, the last one at step {state.global_step + 1} of {state.max_steps}; "
                f"expected at most {self._most} (train.skip_nonfinite; try a smaller learning_rate)"
            )
        if not all(map(is_finite, trainer.moving().values())):
            raise RunError(
                f"training diverged: step {state.global_step + 1} of {state.max_steps} cannot be "
                "left out: it changed the state of its loss to something that is not finite"
            )
        trainer.is_skipped = True
        for parameter in trainer.model.parameters():
            parameter.grad = None  # zeros would still let momentum and decay move it
        for name, values in list(trainer.window.items()):
            del values[self._marks.get(name, 0) :]
            if not values:
                del trainer.window[name]
