"""The trainer: transformers' Trainer through its public hooks.

Ours are the loss (``compute_loss``), the data loader (``get_train_dataloader``) and callbacks;
optimizer, schedule, accumulation, clipping, devices and checkpoints are the library's.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from paretune.engines.lm.checkpoints import (
    STAGING,
    Checkpoints,
    SealCallback,
    checkpoint_step,
)
from paretune.engines.lm.finite import check_finite, check_parameters
from paretune.engines.lm.forward import autocast, fast_dtype
from paretune.engines.lm.processes import n_processes
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.training_state import PlainState
from paretune.engines.lm.validation import BestCallback, Validation
from paretune.errors import ConfigError
from paretune.safety.stopping import orderly

Batch = dict[str, Any]
BatchLoss = Callable[[Any, Batch], tuple[Tensor, Mapping[str, Tensor]]]
"""(model, batch) to the mean loss of the batch and numbers worth logging (NaN = nothing to say)."""

Progress = Callable[[int, int, Mapping[str, float]], None]
"""(step, all steps, numbers since the last call)."""

SCHEDULES = {"constant": "constant_with_warmup"}
"""Names of schedules where the library's differ from ours."""


@final
class StepDataset(Dataset[Batch]):
    """Item t is batch t of the schedule, with its number: all that is random was decided there.

    Args:
        schedule: rows of each batch.
        build: rows to a batch.
        shares: ``(T,)`` factor of each batch's mean loss; see :func:`batch_shares`.
    """

    def __init__(
        self,
        schedule: list[npt.NDArray[np.int64]],
        build: Callable[[npt.NDArray[np.int64]], Batch],
        shares: npt.NDArray[np.float64],
    ) -> None:
        self._schedule = schedule
        self._build = build
        self._shares = shares

    def __len__(self) -> int:
        return len(self._schedule)

    def __getitem__(self, step: int) -> Batch:
        facts = {"share": float(self._shares[step]), "number": step}
        return self._build(self._schedule[step]) | facts


@final
class JobTrainer(PlainState, Trainer):  # type: ignore[misc]
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
        super().__init__(*args, **kwargs)

    def get_train_dataloader(self) -> DataLoader[Batch]:
        """One item is one batch, in the order of the schedule; processes take turns."""
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
        batch = {k: v.to(device) if hasattr(v, "to") else v for k, v in inputs.items()}
        with autocast(device, self._dtype):
            loss, metrics = self._batch_loss(model, batch)
        for name, value in metrics.items():
            self.window.setdefault(name, []).append(value.detach())
        # Free on a CPU. On a GPU it would wait for the device at every step: there the log line,
        # a mean that one NaN makes NaN, tells.
        if device.type == "cpu" and not self.may_skip:
            check_finite(
                {"loss": float(loss.detach())}, self.state.global_step + 1, self.state.max_steps
            )
        loss = loss if batch["share"] == 1 else loss * batch["share"]
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
        numbers = {k: float(v) for k, v in logs.items() if k in ("grad_norm", "learning_rate")}
        if self._trainer.is_skipped:
            numbers.pop("grad_norm", None)
        loss = self._trainer.mean_loss()
        if loss is not None:
            numbers["loss"] = loss
        for name, values in self._trainer.window.items():
            # NaN = the batch had nothing to say, for example no labelled pair.
            mean = float(torch.stack(values).nanmean())
            if not math.isnan(mean):
                numbers[name] = mean
        self._trainer.window.clear()
        if self._trainer.skipped_steps:
            numbers["skipped_steps"] = self._trainer.skipped_steps
        check_finite(numbers, state.global_step, state.max_steps)
        if self._progress is not None and numbers and state.is_world_process_zero:
            self._progress(state.global_step, state.max_steps, numbers)


def batch_shares(
    schedule: list[npt.NDArray[np.int64]], sizes: npt.NDArray[np.float64], per_step: int
) -> npt.NDArray[np.float64]:
    """Factors that turn the mean of a step's batch means into the mean over the step.

    Args:
        schedule: rows of each batch.
        sizes: ``(Q,)`` how much each row counts in a mean: 1, or its tokens.
        per_step: batches of a step, over all processes.

    Returns:
        ``(T,)`` factors, with mean 1 over each step.

    Example:
        >>> schedule = [np.array([0, 1, 2]), np.array([3])]
        >>> batch_shares(schedule, np.ones(4), per_step=2)
        array([1.5, 0.5])
    """
    size = np.array([sizes[rows].sum() for rows in schedule])
    step = np.arange(len(size)) // per_step
    return size / (np.bincount(step, size) / np.bincount(step))[step]


def run_training(
    model: Any,
    schedule: list[npt.NDArray[np.int64]],
    build: Callable[[npt.NDArray[np.int64]], Batch],
    batch_loss: BatchLoss,
    settings: TrainSettings,
    *,
    folder: Path,
    sizes: npt.NDArray[np.float64] | None = None,
    log_steps: int = 0,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
    validation: Validation | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Train ``model`` in place, one optimizer step for every ``accumulate`` batches a process.

    Args:
        model: any module; only parameters that require a gradient move.
        schedule: rows of each batch; a step takes ``accumulate`` batches for every process.
        build: rows to a batch, called in order.
        batch_loss: loss and metrics of a batch.
        settings: of the optimization.
        folder: for the library's own files.
        sizes: ``(Q,)`` how much each row counts in the mean loss; default 1.
        log_steps: steps between log lines; 0 = about twenty lines in all.
        progress: receives every log line.
        checkpoints: made on the way: parameters, buffers, optimizer, schedule, randomness. The
            newest whole one is gone on from, bit for bit as if nothing had happened.
        validation: measured on the way; the best parameters are the result.
        callbacks: of the library, besides those that watch and save.

    Raises:
        RunError: at the first non-finite loss or gradient norm that ``settings`` let no step skip.
    """
    per_step = settings.accumulate * n_processes()
    steps = -(-len(schedule) // per_step)
    if sizes is None:
        sizes = np.ones(1 + max(int(rows.max()) for rows in schedule))
    args = TrainingArguments(
        output_dir=str(checkpoints.folder / STAGING if checkpoints else folder),
        # Train where the model is; the library would move it to an Apple GPU unasked.
        use_cpu=next(model.parameters()).device.type == "cpu",
        max_steps=steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        # The library's "constant" leaves the warm-up out.
        lr_scheduler_type=SCHEDULES.get(settings.schedule, settings.schedule),
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        adam_beta2=settings.adam_beta2,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused",
        seed=settings.seed,
        # Ours asks for them, seals them and removes old ones.
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        # A filter would print the mean of earlier losses in place of NaN.
        logging_nan_inf_filter=False,
        logging_steps=log_steps or max(1, steps // 20),
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    if settings.activation_checkpointing:
        # On the model itself, by the name it has: the library renamed it within version 5.
        inner = next(m for m in model.modules() if isinstance(m, PreTrainedModel))
        old, new = "gradient_checkpointing_enable", "activation_checkpointing_enable"
        getattr(inner, new if hasattr(inner, new) else old)()
        inner.enable_input_require_grads()
    logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
    trainer = JobTrainer(
        model=model,
        args=args,
        train_dataset=StepDataset(schedule, build, batch_shares(schedule, sizes, per_step)),
        batch_loss=batch_loss,
        dtype=arithmetic(settings, args.device),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    for callback in (WatchCallback(trainer, progress), *callbacks):
        trainer.add_callback(callback)
    trainer.skip_nonfinite(settings.skip_nonfinite)
    best = None if validation is None else BestCallback(validation, model, progress)
    if best is not None:
        trainer.add_callback(best)
    with flush_denormals():
        train_to_end(trainer, checkpoints)
    if best is not None:
        best.restore()
    check_parameters(model, steps)


def train_to_end(trainer: Any, checkpoints: Checkpoints | None) -> None:
    """Train, going on from the newest checkpoint; a stop that was asked for saves one more.

    Args:
        trainer: of the library, with :class:`PlainState` mixed in, and all other callbacks.
        checkpoints: where, and how often; ``None`` = none, and a stop loses the job.

    Raises:
        ConfigError: if it was stopped after more steps than it is to have now.
        RunError: if the training diverges, or the disk is full.
        Stop: if it was asked to stop; what it did is kept.
    """
    if checkpoints is None:
        trainer.train()
        return
    resume = checkpoints.newest()
    if resume is not None and checkpoint_step(resume) >= trainer.args.max_steps:
        raise ConfigError(
            f"{resume}: found a job stopped after more steps than the {trainer.args.max_steps} it "
            "is to have now, expected fewer; ask for more steps or epochs, or remove the folder to "
            "start the job again"
        )
    seal = SealCallback(checkpoints, n_processes(), trainer)
    trainer.add_callback(seal)
    with orderly():
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    seal.finish()


@contextlib.contextmanager
def flush_denormals() -> Iterator[None]:
    """Take numbers below 1e-38 for zero while training, as before afterwards.

    Products with them are four times slower on a CPU, and both the gradients of pairs that are
    settled and Adam's averages of tokens that are not met again go there. The setting belongs to
    the process: left on, what runs next would depend on whether a training ran before.
    """
    was_on = float(torch.tensor(torch.finfo(torch.float32).tiny) / 2) == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_on)


def arithmetic(settings: TrainSettings, device: torch.device) -> torch.dtype:
    """What a forward pass of a training computes in."""
    if settings.precision == "auto":
        return fast_dtype(device)
    return torch.bfloat16 if settings.precision == "bfloat16" else torch.float32


def _only(items: list[Batch]) -> Batch:
    return items[0]
