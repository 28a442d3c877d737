"""The trainer: transformers' Trainer through its public hooks.

Ours are the loss (``compute_loss``), the data loader (``get_train_dataloader``) and callbacks;
optimizer, schedule, accumulation, clipping, devices and checkpoints are the library's.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from paretune.engines.lm.batches import PackedRows
from paretune.engines.lm.forward import autocast, fast_dtype
from paretune.engines.lm.settings import TrainSettings
from paretune.errors import RunError

Batch = dict[str, Any]
BatchLoss = Callable[[Any, Batch], tuple[Tensor, Mapping[str, float]]]
"""(model, batch) to the mean loss of the batch and numbers worth logging."""

Progress = Callable[[int, int, Mapping[str, float]], None]
"""(step, all steps, numbers since the last call)."""


@final
class StepDataset(Dataset[Batch]):
    """Item t is the batch of step t: everything random was decided in the schedule."""

    def __init__(
        self, schedule: list[npt.NDArray[np.int64]], build: Callable[[npt.NDArray[np.int64]], Batch]
    ) -> None:
        self._schedule = schedule
        self._build = build

    def __len__(self) -> int:
        return len(self._schedule)

    def __getitem__(self, step: int) -> Batch:
        return self._build(self._schedule[step])


@final
class JobTrainer(Trainer):
    """Trains one job on a schedule of batches.

    Args:
        batch_loss: loss and metrics of a batch.
        dtype: arithmetic of the forward pass; parameters stay float32.
    """

    # compute_loss returns the mean over a batch, so accumulated batches must be averaged.
    loss_is_scaled_for_ga = False

    def __init__(self, *args: Any, batch_loss: BatchLoss, dtype: torch.dtype, **kwargs: Any):
        self._batch_loss = batch_loss
        self._dtype = dtype
        self.window: dict[str, list[float]] = {}
        super().__init__(*args, **kwargs)

    def get_train_dataloader(self) -> DataLoader[Batch]:
        """One item is one batch, in the order of the schedule."""
        assert self.train_dataset is not None
        loader: DataLoader[Batch] = DataLoader(
            self.train_dataset, batch_size=1, shuffle=False, collate_fn=_only
        )
        return self.accelerator.prepare_data_loader(loader)

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Mean loss of the batch in mixed precision; metrics go to the next log line."""
        device = self.args.device
        rows: PackedRows = inputs["rows"].to(device)
        batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in inputs.items()}
        batch["rows"] = rows
        with autocast(device, self._dtype):
            loss, metrics = self._batch_loss(model, batch)
        for name, value in metrics.items():
            self.window.setdefault(name, []).append(float(value))
        return (loss, None) if return_outputs else loss

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the benchmarks count exactly, and per-step counting costs time."""
        return 0


@final
class WatchCallback(TrainerCallback):
    """Reports progress and stops a run at its first non-finite loss or gradient."""

    def __init__(self, trainer: JobTrainer, progress: Progress | None) -> None:
        self._trainer = trainer
        self._progress = progress

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """A log line: means of the metrics since the last one."""
        logs = logs or {}
        numbers = {
            k: float(v) for k, v in logs.items() if k in ("loss", "grad_norm", "learning_rate")
        }
        for name, values in self._trainer.window.items():
            numbers[name] = float(np.mean(values))
        self._trainer.window.clear()
        for name in ("loss", "grad_norm"):
            if name in numbers and not math.isfinite(numbers[name]):
                raise RunError(
                    f"training diverged: {name} is {numbers[name]} at step {state.global_step} of "
                    f"{state.max_steps}; expected a finite number (try a smaller learning_rate)"
                )
        if self._progress is not None and numbers:
            self._progress(state.global_step, state.max_steps, numbers)


def run_training(
    model: Any,
    schedule: list[npt.NDArray[np.int64]],
    build: Callable[[npt.NDArray[np.int64]], Batch],
    batch_loss: BatchLoss,
    settings: TrainSettings,
    *,
    folder: Path,
    log_steps: int = 0,
    progress: Progress | None = None,
) -> None:
    """Train ``model`` in place, one optimizer step for every ``accumulate`` batches.

    Args:
        model: a causal language model, with or without adapters; only parameters that require a
            gradient move.
        schedule: rows of each batch; ``accumulate`` batches make a step.
        build: rows to a batch, called in order.
        batch_loss: loss and metrics of a batch.
        settings: of the optimization.
        folder: for the library's own files; nothing is saved there by default.
        log_steps: steps between log lines; 0 = about twenty lines in all.
        progress: receives every log line.

    Raises:
        RunError: at the first non-finite loss or gradient norm.
    """
    steps = -(-len(schedule) // settings.accumulate)
    args = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        adam_beta2=settings.adam_beta2,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused",
        gradient_checkpointing=settings.activation_checkpointing,
        seed=settings.seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        # A filter would print the mean of earlier losses in place of NaN.
        logging_nan_inf_filter=False,
        logging_steps=log_steps or max(1, steps // 20),
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
    trainer = JobTrainer(
        model=model,
        args=args,
        train_dataset=StepDataset(schedule, build),
        batch_loss=batch_loss,
        dtype=_dtype(settings, args.device),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(WatchCallback(trainer, progress))
    trainer.train()


def _dtype(settings: TrainSettings, device: torch.device) -> torch.dtype:
    if settings.precision == "auto":
        return fast_dtype(device)
    return torch.bfloat16 if settings.precision == "bfloat16" else torch.float32


def _only(items: list[Batch]) -> Batch:
    return items[0]
