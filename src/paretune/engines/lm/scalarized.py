"""Pairwise jobs whose loss combines all pairs of a step: exact over batches and processes.

Every such loss depends on the policy through the margins of its pairs only. So a step first
collects the margins of all its batches, from every process; what the loss says about them, one
number a pair, is then what each batch is weighed with. The gradient is that of one big batch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from paretune.core.job import TrainingJob
from paretune.engines.lm.batches import batch_schedule, row_lengths
from paretune.engines.lm.checkpoints import Checkpoints
from paretune.engines.lm.heads import HeadedScorer
from paretune.engines.lm.job_data import JobCost, JobData
from paretune.engines.lm.pair_accuracy import PairAccuracy
from paretune.engines.lm.pairs import PairRows, pair_batch, pair_metrics, pair_rows
from paretune.engines.lm.processes import n_processes
from paretune.engines.lm.resumable import Resumable
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.trainer import (
    Batch,
    Progress,
    run_training,
)
from paretune.engines.lm.validation import Validation
from paretune.engines.lm.whole_step import gather, randomness, restore_randomness
from paretune.errors import InputError
from paretune.functional.losses import PairBatch
from paretune.functional.scalarized_loss import ScalarizedLoss
from paretune.functional.scalarizer import Scalarized, StepLosses
from paretune.functional.step_means import mean_losses, mean_weights


@final
class StepState(nn.Module):
    """What a scalarizer learned so far, as a buffer: it is saved with the parameters.

    Args:
        start: ``(S,)`` float64.
    """

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.value: Tensor
        self.register_buffer("value", start.clone())


def train_scalarized(
    jobs: Sequence[TrainingJob],
    inputs: JobData,
    model: Any,
    pad_id: int,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[HeadedScorer, JobCost]:
    """Train jobs with a step loss in place; see :func:`paretune.engines.lm.jobs.train_jobs`.

    Raises:
        InputError: if jobs of a group take different pairs, or a loss cannot be trained over
            several processes.
    """
    started = time.process_time()
    work = [pair_rows(job, inputs, settings.seed) for job in jobs]
    pairs = work[0]
    for job, other in zip(jobs, work, strict=True):
        if not np.array_equal(other.rows, pairs.rows):
            raise InputError(
                f"job {job.id}: found other pairs than those of {jobs[0].id}, expected the same: "
                "they share a backbone and its batches"
            )
    policies = HeadedScorer(
        model, [job.head for job in jobs], inputs.encoded, pairs.rows, pad_id, settings.seed,
        settings.compile,
    )  # fmt: skip
    losses = [_step_loss(job, len(jobs)) for job in jobs]
    n_objectives = len(inputs.data.rewards.objectives)
    states = [StepState(loss.scalarizer.start(n_objectives)) for loss in losses]
    module = Resumable(policies, states)
    if inputs.described is not None and len(jobs) > 1:
        raise InputError(
            f"group {jobs[0].group!r}: found descriptions for {len(jobs)} policies, expected one"
        )
    lengths = row_lengths(inputs.encoded, pairs.rows)
    per_step = settings.accumulate * n_processes()
    steps = settings.n_steps(len(pairs.rows), n_processes())
    schedule = batch_schedule(lengths, settings.batch_size, steps * per_step, settings.seed)
    dtype = torch.promote_types(next(model.parameters()).dtype, torch.float32)

    def build(rows: npt.NDArray[np.int64]) -> Batch:
        columns = {k: torch.from_numpy(v[rows]).to(dtype) for k, v in pairs.columns.items()}
        batch = {"rows": policies.pack(inputs.encoded, pairs.rows[rows], pad_id), **columns}
        if inputs.described is not None:
            prompts = inputs.encoded.prompt_of[pairs.rows[rows, :1]]
            batch["descriptions"] = policies.pack(inputs.described, prompts, pad_id)
        return batch

    step = _Step(
        losses, states, pairs, schedule, build, settings.accumulate, inputs.description_weight
    )
    validation = None
    if inputs.validation is not None:
        best = (checkpoints.folder if checkpoints else folder) / "best"
        every = max(1, round(steps / max(1.0, inputs.visits or settings.epochs)))
        measure = PairAccuracy(jobs[0], inputs.validation, module, pad_id, settings)
        validation = Validation(every, measure, best)
    run_training(
        module, schedule, build, step.loss, settings,
        folder=folder, progress=progress, checkpoints=checkpoints, validation=validation,
    )  # fmt: skip
    tokens = int(sum(lengths[rows].sum() for rows in schedule))
    used = len(np.unique(np.concatenate(schedule)))
    return policies, JobCost(time.process_time() - started, tokens, steps, used)


def _step_loss(job: TrainingJob, n_jobs: int) -> ScalarizedLoss:
    loss = job.step_loss
    if not isinstance(loss, ScalarizedLoss):
        raise InputError(f"job {job.id}: found {loss!r}, expected a ScalarizedLoss")
    if loss.scalarizer.needs_gradients and n_processes() * n_jobs > 1:
        raise InputError(
            f"job {job.id}: found {n_processes()} processes and {n_jobs} policies, expected one "
            f"each: {type(loss.scalarizer).__name__} compares whole gradients of one policy"
        )
    if loss.scalarizer.is_joint and n_jobs == 1:
        raise InputError(
            f"job {job.id}: found one policy, expected several that share a backbone: "
            f"{type(loss.scalarizer).__name__} spreads them"
        )
    return loss


@final
class _Step:
    """The loss of a batch as its part in the loss of the whole step."""

    def __init__(
        self,
        losses: Sequence[ScalarizedLoss],
        states: Sequence[StepState],
        pairs: PairRows,
        schedule: list[npt.NDArray[np.int64]],
        build: Any,
        accumulate: int,
        description_weight: float = 0.0,
    ) -> None:
        self._losses, self._states, self._pairs = losses, states, pairs
        self._schedule, self._build, self._accumulate = schedule, build, accumulate
        self._parts = n_processes() * accumulate
        self._description_weight = description_weight
        self._is_separable = all(loss.scalarizer.is_separable for loss in losses)
        self._seen = -1
        self._value = 0.0
        self._parts_of: dict[int, Tensor] = {}
        self._facts: dict[str, Tensor] = {}

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """A number whose mean over the step's batches has the step's value and gradient."""
        number = batch["number"]
        each = self._batches(model, batch)
        margins = self._margins(each)
        if self._is_separable:
            self._take_alone(number, margins)
        elif number // self._parts != self._seen:
            self._seen = number // self._parts
            self._begin(model, number, each, margins)
        part = self._parts_of[number].to(margins)
        surrogate = (part * margins).sum() * self._parts
        loss = (self._value - surrogate).detach() + surrogate
        # The trainer scales the mean of a batch by its share of the step; this is no mean.
        metrics = pair_metrics(each[0], self._pairs.objectives) | self._facts
        loss = loss / batch["share"]
        if "descriptions" in batch:
            described, before = batch["descriptions"], randomness(margins.device)
            a_token = -(model(described) / described.tokens).mean()
            # The batches that follow must draw the dropout that the first pass drew.
            restore_randomness(margins.device, before)
            metrics["description"] = a_token
            loss = loss + self._description_weight * a_token
        return loss, metrics

    def _batches(self, model: Any, batch: Batch) -> list[PairBatch]:
        """Of each policy, its view of the batch."""
        return [pair_batch(own, batch) for own in model(batch["rows"])]

    def _margins(self, each: list[PairBatch]) -> Tensor:
        """``(K, B)``."""
        return torch.stack([s.margins(b) for s, b in zip(self._losses, each, strict=True)])

    def _begin(self, model: Any, number: int, each: list[PairBatch], margins: Tensor) -> None:
        """What the loss says about every pair of the step that begins with this batch."""
        own = [(number, _Pairs.of(each[0], margins))]
        device = margins.device
        # The batches that follow will draw the dropout that they draw here.
        before = randomness(device)
        for later in range(1, self._accumulate):
            following = number + later * n_processes()
            batch = self._build(self._schedule[following])
            batch = {k: v.to(device) for k, v in batch.items()}
            with torch.no_grad():
                theirs = self._batches(model, batch)
                own.append((following, _Pairs.of(theirs[0], self._margins(theirs))))
        restore_randomness(device, before)
        everyone = sorted(gather(own), key=lambda item: item[0])
        pairs = _Pairs.cat([p for _, p in everyone])
        if any(loss.scalarizer.needs_gradients for loss in self._losses):
            self._weigh_gradients(model, pairs, [n for n, _ in everyone], each)
            restore_randomness(device, before)
        self._spread(pairs)
        self._value, parts = 0.0, self._cotangents(pairs)
        for k, (loss, state) in enumerate(zip(self._losses, self._states, strict=True)):
            at = loss.step_at(pairs.margins[k], pairs.labels, pairs.weights)
            self._value += self._note(k, loss.scalarizer(at, state.value), at)
            state.value.copy_(loss.scalarizer.advance(at, state.value))
        sizes = [p.margins.shape[1] for _, p in everyone]
        split = parts.split(sizes, dim=1)
        self._parts_of = {n: part for (n, _), part in zip(everyone, split, strict=True)}

    def _spread(self, pairs: _Pairs) -> None:
        """Weights by which policies that train together part, as their states."""
        first = self._losses[0].scalarizer
        if not first.is_joint:
            return
        steps = [
            loss.step_at(margins, pairs.labels, pairs.weights)
            for loss, margins in zip(self._losses, pairs.margins, strict=True)
        ]
        means = torch.stack([mean_losses(at.losses, at) for at in steps])
        planned = torch.stack([mean_weights(at) for at in steps])
        for state, row in zip(self._states, first.spread(means, planned), strict=True):
            state.value.copy_(row)

    def _take_alone(self, number: int, margins: Tensor) -> None:
        """The same for a mean over pairs: of the other batches only the labels matter.

        Nothing is asked of the policy a second time. The value told is this batch's own.
        """
        first = number - number % self._parts
        batches = [self._schedule[n] for n in range(first, first + self._parts)]
        own = slice(*np.cumsum([0, *map(len, batches)])[number - first :][:2])
        rows, columns = np.concatenate(batches), self._pairs.columns
        weights = columns.get("weights")
        pairs = _Pairs(
            torch.zeros(len(margins), len(rows), dtype=torch.float64),
            torch.from_numpy(columns["labels"][rows]),
            None if weights is None else torch.from_numpy(weights[rows]),
        )
        pairs.margins[:, own] = _far(margins)
        self._parts_of = {number: self._cotangents(pairs)[:, own]}
        self._value = 0.0
        for k, (loss, state) in enumerate(zip(self._losses, self._states, strict=True)):
            users = None if pairs.weights is None else pairs.weights[own]
            at = loss.step_at(pairs.margins[k, own], pairs.labels[own], users)
            self._value += self._note(k, loss.scalarizer(at, state.value), at)

    def _cotangents(self, pairs: _Pairs) -> Tensor:
        """``(K, B)`` derivative of the loss of each policy with respect to its margins."""
        found = zip(self._losses, self._states, pairs.margins, strict=True)
        return torch.stack([
            loss.cotangents(margins, pairs.labels, pairs.weights, state.value)
            for loss, state, margins in found
        ])  # fmt: skip

    def _weigh_gradients(
        self, model: Any, pairs: _Pairs, numbers: list[int], each: list[PairBatch]
    ) -> None:
        """Weights from the inner products of the gradients of the objectives, as the state."""
        (loss,), (state,) = self._losses, self._states
        parameters = [p for p in model.parameters() if p.requires_grad]
        rows = loss.objective_cotangents(pairs.margins[0], pairs.labels, pairs.weights)
        gradients: Tensor | None = None
        start = 0
        for place, number in enumerate(numbers):
            if place:
                device = each[0].chosen.device
                batch = self._build(self._schedule[number])
                each = self._batches(model, {k: v.to(device) for k, v in batch.items()})
            margins = self._margins(each)[0]
            mine = rows[:, start : start + len(margins)].to(margins)
            start += len(margins)
            found = [
                torch.autograd.grad(
                    (row * margins).sum(), parameters, retain_graph=True, materialize_grads=True
                )
                for row in mine
            ]
            flat = torch.stack([torch.cat([g.flatten() for g in one]) for one in found])
            gradients = flat if gradients is None else gradients + flat
        assert gradients is not None
        gramian = (gradients @ gradients.T).double().cpu()
        at = loss.step_at(pairs.margins[0], pairs.labels, pairs.weights)
        state.value.copy_(loss.scalarizer.combine(gramian, mean_weights(at)))

    def _note(self, policy: int, found: Scalarized, at: StepLosses) -> float:
        """The loss; and for the log what each objective costs, and how much it drives the step."""
        # Of an objective without weight nothing is measured: 0 would be told as a loss.
        means = torch.where(mean_weights(at) > 0, mean_losses(at.losses, at), torch.nan)
        prefix = "" if len(self._losses) == 1 else f"{policy}/"
        for column, name in self._pairs.objectives:
            self._facts[f"{prefix}loss/{name}"] = means[column]
            self._facts[f"{prefix}weight/{name}"] = found.objective_weights[column]
        return float(found.loss)


@final
@dataclass(frozen=True)
class _Pairs:
    """What a step knows of the pairs of a batch, on the CPU, in float64.

    Args:
        margins: ``(K, B)`` of each policy.
        labels: ``(B, M)``.
        weights: ``(B, M)``, or ``None`` where pairs have no users.
    """

    margins: Tensor
    labels: Tensor
    weights: Tensor | None

    @classmethod
    def of(cls, batch: PairBatch, margins: Tensor) -> _Pairs:
        """Of a batch and the margins of every policy on it."""
        weights = None if batch.weights is None else _far(batch.weights)
        return cls(_far(margins), _far(batch.labels), weights)

    @classmethod
    def cat(cls, parts: Sequence[_Pairs]) -> _Pairs:
        """Several batches as one."""
        weights = [p.weights for p in parts if p.weights is not None]
        return cls(
            torch.cat([p.margins for p in parts], dim=1),
            torch.cat([p.labels for p in parts]),
            torch.cat(weights) if weights else None,
        )


def _far(tensor: Tensor) -> Tensor:
    return tensor.detach().double().cpu()
