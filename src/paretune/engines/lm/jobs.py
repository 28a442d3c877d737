"""Jobs of a plan on a language model: rows chosen, batches built, the job's loss minimized."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.core.adapter import TradeOffEmbedding, told_numbers
from paretune.core.job import ConditionedRows, Pool, TrainingJob
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.batches import batch_schedule, row_lengths, sort_window
from paretune.engines.lm.checkpoints import Checkpoints
from paretune.engines.lm.conditioned_pairs import conditioned_loss
from paretune.engines.lm.constrained import train_constrained
from paretune.engines.lm.forward import scorer_for
from paretune.engines.lm.job_data import JobCost, JobData
from paretune.engines.lm.models import save_policy
from paretune.engines.lm.online import train_online
from paretune.engines.lm.pairs import pair_batch, pair_metrics, pair_rows
from paretune.engines.lm.processes import n_processes
from paretune.engines.lm.resumable import Resumable
from paretune.engines.lm.rewarded import train_rewarded
from paretune.engines.lm.scalarized import train_scalarized
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.tradeoff_adapter import has_tradeoff_adapter, set_tradeoff
from paretune.engines.lm.tradeoff_embedding import has_tradeoff_embedding, tell
from paretune.engines.lm.trainer import Batch, BatchLoss, Progress, run_training
from paretune.engines.lm.trunk_jobs import train_on_trunk
from paretune.errors import InputError

Save = Callable[[Any, Sequence[Path]], None]
"""Writes the trained policies with a tokenizer, one folder a job."""


def train_jobs(
    jobs: Sequence[TrainingJob],
    inputs: JobData,
    model: Any,
    pad_id: int,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[Save, JobCost]:
    """Train one job, or the jobs of a group together, in place.

    Args:
        jobs: one, or all of a group; the first one's own settings win over ``settings``.
        inputs: the rows they may use.
        model: their start; only parameters that require a gradient move.
        pad_id: fills short rows.
        settings: of the run.
        folder: for the library's own files and the log of multipliers.
        progress: receives every log line.
        checkpoints: made on the way, and gone on from where there are any.

    Raises:
        InputError: if a rule leaves no row, a floor cannot be met, or jobs of this kind do not
            train together.
        RunError: if training diverges.
    """
    if any(job.head is not None and job.head.kind == "state" for job in jobs):
        return train_on_trunk(jobs, inputs, model, pad_id, settings, folder, progress, checkpoints)
    if jobs[0].kind == "online":
        cost = train_online(jobs[0], inputs, model, settings, folder, progress, checkpoints)
        return partial(_save_alone, model), cost
    if jobs[0].kind == "constrained":
        settings = settings.with_job(jobs[0].settings)
        policies, cost = train_constrained(
            jobs, inputs, model, pad_id, settings, folder, progress, checkpoints
        )
        return policies.save, cost
    if jobs[0].kind == "rewarded":
        settings = settings.with_job(jobs[0].settings)
        policies, cost = train_rewarded(
            jobs, inputs, model, pad_id, settings, folder, progress, checkpoints
        )
        return policies.save, cost
    if any(job.step_loss is not None and job.adapter is None for job in jobs):
        settings = settings.with_job(jobs[0].settings)
        policies, cost = train_scalarized(
            jobs, inputs, model, pad_id, settings, folder, progress, checkpoints
        )
        return policies.save, cost
    if len(jobs) > 1:
        raise InputError(
            f"group {jobs[0].group!r}: found {len(jobs)} jobs of kind {jobs[0].kind!r}, expected "
            "constrained jobs or jobs with a step loss: only these share a backbone here"
        )
    cost = train_job(jobs[0], inputs, model, pad_id, settings, folder, progress, checkpoints)
    return partial(_save_alone, model), cost


def _save_alone(model: Any, tokenizer: Any, folders: Sequence[Path]) -> None:
    save_policy(model, tokenizer, folders[0])


def train_job(
    job: TrainingJob,
    inputs: JobData,
    model: Any,
    pad_id: int,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
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
        checkpoints: made on the way, and gone on from where there are any.

    Raises:
        InputError: if the job's rule leaves no row.
        RunError: if training diverges.
    """
    settings = settings.with_job(job.settings)
    started = time.process_time()
    if job.kind == "sft":
        work = _sft(job, inputs, model)
    else:
        work = _pairwise(job, inputs, settings.seed, model)
    if not len(work.rows):
        raise InputError(
            f"job {job.id}: its rule left no row of {len(inputs.data.texts)} responses"
        )
    lengths = row_lengths(inputs.encoded, work.rows)
    per_step = settings.accumulate * n_processes()
    steps = settings.n_steps(len(work.rows), n_processes())
    schedule = batch_schedule(
        lengths, settings.batch_size, steps * per_step, settings.seed,
        window=sort_window(work.rows), is_ordered=work.is_ordered,
    )  # fmt: skip
    scorer = scorer_for(
        model, inputs.encoded, work.rows, pad_id, settings.compile, may_fill=job.kind == "sft"
    )
    dtype = torch.promote_types(next(model.parameters()).dtype, torch.float32)

    def build(step: npt.NDArray[np.int64]) -> Batch:
        columns = {k: torch.from_numpy(v[step]).to(dtype) for k, v in work.columns.items()}
        return {"rows": scorer.pack(inputs.encoded, work.rows[step], pad_id), **columns}

    run_training(
        Resumable(scorer), schedule, build, work.loss, settings,
        folder=folder, sizes=work.sizes, progress=progress, checkpoints=checkpoints,
    )  # fmt: skip
    _forget_last_batch(model)
    tokens = int(sum(lengths[step].sum() for step in schedule))
    used = len(np.unique(np.concatenate(schedule)))
    return JobCost(time.process_time() - started, tokens, steps, used)


def _forget_last_batch(model: Any) -> None:
    """A conditioned model as it is when it is loaded: at no trade-off of the training."""
    if has_tradeoff_embedding(model):
        tell(model, None)
    if has_tradeoff_adapter(model):
        set_tradeoff(model, TradeOff.even(model.tradeoff_adapter.n_objectives).weights)


@final
@dataclass(frozen=True)
class _Work:
    """Rows of a job and the loss of a batch of them.

    Args:
        rows: ``(Q, K)`` response numbers.
        sizes: ``(Q,)`` how much each row counts in the mean loss.
        columns: ``(Q, ...)`` numbers that travel with the rows.
        loss: of a batch, its mean.
        is_ordered: whether steps take the rows as they come.
    """

    rows: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.float64]
    columns: Mapping[str, npt.NDArray[np.float64]]
    loss: BatchLoss
    is_ordered: bool = False


def _sft(job: TrainingJob, inputs: JobData, model: Any) -> _Work:
    rule: Any = job.rows
    found = rule(Pool.of(inputs.data))
    columns: dict[str, npt.NDArray[Any]] = {}
    is_ordered = False
    is_told = isinstance(found, ConditionedRows)
    if is_told != isinstance(job.adapter, TradeOffEmbedding):
        raise InputError(
            f"job {job.id}: found rows that are told {'something' if is_told else 'nothing'} and "
            f"adapter {job.adapter!r}, expected rows that are told their trade-off with a "
            "TradeOffEmbedding, and only with one"
        )
    if is_told:
        if not has_tradeoff_embedding(model):
            raise InputError(f"job {job.id}: found a model without vectors of trade-offs")
        columns["told"] = told_numbers(job.adapter, found.given)
        is_ordered, found = found.is_ordered, found.index
    rows = np.asarray(found, dtype=np.int64)

    def loss(scorer: Any, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        packed = batch["rows"]
        if "told" in batch:
            told = batch["told"].long()
            tell(model, told if packed.owner is None else told[packed.owner])
        # Mean over the response tokens, end token included: long responses count more.
        return -scorer(packed).sum() / packed.tokens.sum(), {}

    sizes = inputs.encoded.responses.lengths[rows].astype(np.float64)
    return _Work(rows[:, None], sizes, columns, loss, is_ordered)


def _pairwise(job: TrainingJob, inputs: JobData, seed: int, model: Any) -> _Work:
    if job.adapter is not None:
        pairs = pair_rows(job, inputs, seed)
        conditioned = conditioned_loss(job, pairs.objectives, model, seed)
        return _Work(pairs.rows, np.ones(len(pairs.rows)), pairs.columns, conditioned)
    if job.loss is None:
        raise InputError(f"job {job.id}: a pairwise job needs a loss")
    pairs, job_loss = pair_rows(job, inputs, seed), job.loss

    def loss(scorer: Any, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        found = pair_batch(scorer(batch["rows"]), batch)
        return job_loss(found).mean(), pair_metrics(found, pairs.objectives)

    return _Work(pairs.rows, np.ones(len(pairs.rows)), pairs.columns, loss)
