"""Jobs of a plan on a language model: rows chosen, batches built, the job's loss minimized."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.core.job import PairOrder, Pool, TrainingJob
from paretune.core.record import PreferenceData
from paretune.engines.lm.batches import batch_schedule, hash_keys, pack_rows, row_lengths
from paretune.engines.lm.encode import Encoded
from paretune.engines.lm.forward import is_exact, response_logps
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.trainer import Batch, Progress, run_training
from paretune.errors import InputError, RunError
from paretune.functional.losses import PairBatch


@final
@dataclass(frozen=True)
class JobData:
    """What a job trains on, encoded.

    Args:
        data: prompts, texts, rewards and comparisons.
        encoded: their token ids, row for row.
        ref_logps: ``(N,)`` log-probability of each response under the reference policy, nats;
            NaN where it was not needed.
    """

    data: PreferenceData
    encoded: Encoded
    ref_logps: npt.NDArray[np.float64]


@final
@dataclass(frozen=True)
class JobCost:
    """What a job cost.

    Args:
        seconds: CPU seconds of the training process.
        tokens: tokens that went through training steps, padding left out.
        steps: optimizer steps.
        rows: distinct rows trained on.
    """

    seconds: float
    tokens: int
    steps: int
    rows: int


def train_job(
    job: TrainingJob,
    inputs: JobData,
    model: Any,
    pad_id: int,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
) -> JobCost:
    """Train one job in place.

    Args:
        job: what to train; its own settings win over ``settings``.
        inputs: the rows it may use.
        model: the job's start; only parameters that require a gradient move.
        pad_id: fills short rows.
        settings: of the run.
        folder: for the library's own files.
        progress: receives every log line.

    Raises:
        InputError: if the job's rule leaves no row.
        RunError: if training diverges.
    """
    settings = settings.with_job(job.settings)
    started = time.process_time()
    if job.kind == "sft":
        rows, build, batch_loss = _sft(job, inputs, pad_id)
    else:
        rows, build, batch_loss = _pairwise(job, inputs, pad_id, settings.seed)
    if not len(rows):
        raise InputError(
            f"job {job.id}: its rule left no row of {len(inputs.data.texts)} responses"
        )
    lengths = row_lengths(inputs.encoded, rows)
    steps = settings.n_steps(len(rows))
    schedule = batch_schedule(
        lengths, settings.batch_size, steps * settings.accumulate, settings.seed
    )
    _check_exact(model, inputs.encoded, rows, pad_id)
    run_training(model, schedule, build, batch_loss, settings, folder=folder, progress=progress)
    tokens = int(sum(lengths[step].sum() for step in schedule))
    used = len(np.unique(np.concatenate(schedule)))
    return JobCost(time.process_time() - started, tokens, steps, used)


_Prepared = tuple[
    npt.NDArray[np.int64],
    Callable[[npt.NDArray[np.int64]], Batch],
    Callable[[Any, Batch], tuple[Tensor, Mapping[str, float]]],
]


def _sft(job: TrainingJob, inputs: JobData, pad_id: int) -> _Prepared:
    data = inputs.data
    chosen = np.asarray(job.rows(pool_of(data)), dtype=np.int64)  # type: ignore[call-arg]
    rows = chosen[:, None]

    def build(step: npt.NDArray[np.int64]) -> Batch:
        return {"rows": pack_rows(inputs.encoded, rows[step], pad_id)}

    def loss(model: Any, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        packed = batch["rows"]
        # Mean over the batch's response tokens, end token included (paretohqd.md section 5).
        return -response_logps(model, packed).sum() / packed.tokens.sum(), {}

    return rows, build, loss


def _pairwise(job: TrainingJob, inputs: JobData, pad_id: int, seed: int) -> _Prepared:
    data = inputs.data
    if job.loss is None:
        raise InputError(f"job {job.id}: a pairwise job needs a loss")
    keys = hash_keys(seed, 3, np.arange(data.n_comparisons))
    order: PairOrder = job.rows(data.labels, keys)  # type: ignore[call-arg, assignment]
    first, second = data.first[order.index], data.second[order.index]
    flipped = order.flipped
    rows = np.stack([np.where(flipped, second, first), np.where(flipped, first, second)], axis=1)
    labels = data.labels[order.index] * np.where(flipped, -1.0, 1.0)[:, None]
    if np.isnan(inputs.ref_logps[rows]).any():
        raise RunError(f"job {job.id}: a response has no reference log-probability")
    is_used = ~np.isnan(labels).all(axis=0)
    objectives = [(i, n) for i, n in enumerate(data.rewards.objectives) if is_used[i]]
    job_loss = job.loss

    def build(step: npt.NDArray[np.int64]) -> Batch:
        reference = inputs.ref_logps[rows[step]]
        return {
            "rows": pack_rows(inputs.encoded, rows[step], pad_id),
            "reference": torch.from_numpy(reference).float(),
            "labels": torch.from_numpy(labels[step]).float(),
        }

    def loss(model: Any, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        packed = batch["rows"]
        logps = response_logps(model, packed).view(-1, 2)
        tokens = packed.tokens.view(-1, 2)
        reference = batch["reference"]
        pairs = PairBatch(
            logps[:, 0], logps[:, 1], reference[:, 0], reference[:, 1],
            tokens[:, 0], tokens[:, 1], batch["labels"],
        )  # fmt: skip
        return job_loss(pairs).mean(), _pair_metrics(pairs, objectives)

    return rows, build, loss


def _pair_metrics(pairs: PairBatch, objectives: list[tuple[int, str]]) -> dict[str, float]:
    """Per objective: share of labelled pairs that the policy orders as the label does."""
    margin = pairs.log_ratio_margin.detach()
    metrics = {"margin": float(margin.mean())}
    agrees = torch.sign(margin)[:, None] == torch.sign(pairs.labels)
    is_labelled = ~torch.isnan(pairs.labels) & (pairs.labels != 0)
    shares = (agrees & is_labelled).sum(0) / is_labelled.sum(0)
    for column, name in objectives:
        share = float(shares[column])
        if share == share:  # no labelled pair in this batch: nothing to say
            metrics[f"accuracy/{name}"] = share
    return metrics


def pool_of(data: PreferenceData) -> Pool:
    """What a row rule may look at."""
    numbers: dict[str, int] = {}
    text_of = np.asarray([numbers.setdefault(t, len(numbers)) for t in data.texts], dtype=np.int64)
    return Pool(data.rewards.values, data.prompt_of, text_of)


def _check_exact(model: Any, encoded: Encoded, rows: npt.NDArray[np.int64], pad_id: int) -> None:
    # The packed pass assumes things of an architecture; two rows tell whether they hold.
    probe = pack_rows(encoded, rows[: min(2, len(rows))], pad_id)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        if not is_exact(model, probe.to(device)):
            raise RunError(
                f"{type(model).__name__}: packed rows do not give this model's own "
                "log-probabilities; expected an attention that takes a 4-D mask and logits that "
                "are the head applied to the last hidden state"
            )
    finally:
        model.train(was_training)
