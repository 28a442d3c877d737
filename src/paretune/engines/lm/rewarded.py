"""Rewarded jobs on a language model: all policies of a group, one loss of their likelihoods.

The loss depends on the policies through the log-probabilities of the step's responses only. A step
first collects those of all its batches, from every process; the derivative of the loss, one number
a policy and response, is then what each batch is weighed with. The gradient is that of one big
batch, whatever the loss does with the means.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.core.job import Pool, TrainingJob
from paretune.engines.lm.batches import batch_schedule, row_lengths
from paretune.engines.lm.checkpoints import Checkpoints
from paretune.engines.lm.heads import HeadedScorer
from paretune.engines.lm.job_data import JobCost, JobData
from paretune.engines.lm.processes import n_processes
from paretune.engines.lm.reference import reference_logps
from paretune.engines.lm.resumable import Resumable
from paretune.engines.lm.scalarized import StepState
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.trainer import Batch, Progress, run_training
from paretune.engines.lm.whole_step import gather, randomness, restore_randomness
from paretune.engines.rewarded_rows import rewarded_calibration, rewarded_rows
from paretune.functional.rewarded_likelihood import (
    LikelihoodBatch,
    PolicyHypervolume,
)


def train_rewarded(
    jobs: Sequence[TrainingJob],
    inputs: JobData,
    model: Any,
    pad_id: int,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[HeadedScorer, JobCost]:
    """Train rewarded jobs in place; see :func:`paretune.engines.lm.jobs.train_jobs`.

    A checkpoint holds the running means of the likelihoods, so that a resumed run repeats an
    uninterrupted one bit for bit.

    Raises:
        InputError: if jobs differ in rows or loss, or an objective rewards all rows alike.
        NotScoredError: if a reward is missing.
    """
    started = time.process_time()
    rows = rewarded_rows(jobs, Pool.of(inputs.data))[:, None]
    found = rewarded_calibration(jobs, inputs.data, rows[:, 0])
    columns = {"weights": found.weights, "ref": _references(inputs, model, rows[:, 0], pad_id)}
    policies = HeadedScorer(
        model, [job.head for job in jobs], inputs.encoded, rows, pad_id, settings.seed,
        settings.compile,
    )  # fmt: skip
    state = StepState(torch.zeros(len(jobs), len(found.low), dtype=torch.float64))
    lengths = row_lengths(inputs.encoded, rows)
    per_step = settings.accumulate * n_processes()
    steps = settings.n_steps(len(rows), n_processes())
    schedule = batch_schedule(lengths, settings.batch_size, steps * per_step, settings.seed)

    def build(some: npt.NDArray[np.int64]) -> Batch:
        # Arrays stay on the CPU, where the loss is computed: no wait for a GPU.
        numbers = {name: column[some] for name, column in columns.items()}
        return {"rows": policies.pack(inputs.encoded, rows[some], pad_id), **numbers}

    names = [f"{job.id}/gain/{objective}" for job in jobs
             for objective in inputs.data.rewards.objectives]  # fmt: skip
    loss = jobs[0].step_loss
    low, high, center = (
        torch.from_numpy(x) for x in (found.low, found.high, found.center(loss.anchors))
    )
    frame = _Frame(low, high, center, steps, names)
    step = _Step(loss, state, frame, schedule, build, settings.accumulate)
    run_training(
        Resumable(policies, [state]), schedule, build, step.loss, settings,
        folder=folder, progress=progress, checkpoints=checkpoints,
    )  # fmt: skip
    tokens = int(sum(lengths[some].sum() for some in schedule))
    used = len(np.unique(np.concatenate(schedule)))
    return policies, JobCost(time.process_time() - started, tokens, steps, used)


def _references(
    inputs: JobData, model: Any, rows: npt.NDArray[np.int64], pad_id: int
) -> npt.NDArray[np.float64]:
    """``(Q,)`` log-probabilities under the reference; under the start where nobody needed them."""
    known = inputs.ref_logps[rows]
    if not np.isnan(known).any():
        return known
    return reference_logps(model, inputs.encoded, np.unique(rows), pad_id)[rows]


@final
@dataclass(frozen=True)
class _Frame:
    """What does not change while a group trains.

    Args:
        low: ``(M,)`` gain that maps to 0.
        high: ``(M,)`` gain that maps to 1.
        center: ``(M,)`` gain that the policies have in the mean.
        steps: of the training.
        names: K * M, what the gains are called in the log.
    """

    low: Tensor
    high: Tensor
    center: Tensor
    steps: int
    names: Sequence[str]


@final
@dataclass(frozen=True)
class _Part:
    """What a step knows of the responses of a batch, on the CPU, in float64.

    Args:
        logps: ``(K, B)``.
        ref_logps: ``(B,)``.
        weights: ``(B, M)``.
    """

    logps: Tensor
    ref_logps: Tensor
    weights: Tensor

    @classmethod
    def of(cls, batch: Batch, logps: Tensor) -> _Part:
        """Of a batch, and the log-probabilities of every policy on it."""
        facts = (torch.from_numpy(batch[name]) for name in ("ref", "weights"))
        return cls(logps.detach().double().cpu(), *facts)


@final
class _Step:
    """The loss of a batch as its part in the loss of the whole step."""

    def __init__(
        self,
        loss: PolicyHypervolume,
        state: StepState,
        frame: _Frame,
        schedule: list[npt.NDArray[np.int64]],
        build: Any,
        accumulate: int,
    ) -> None:
        self._loss, self._state, self._frame = loss, state, frame
        self._schedule, self._build, self._accumulate = schedule, build, accumulate
        self._parts = n_processes() * accumulate
        self._seen = -1
        self._value = 0.0
        self._slopes: dict[int, Tensor] = {}
        self._facts: dict[str, Tensor] = {}

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """A number whose mean over the step's batches has the step's value and gradient."""
        number = batch["number"]
        logps = model(batch["rows"])
        if number // self._parts != self._seen:
            self._seen = number // self._parts
            self._begin(model, number, batch, logps)
        surrogate = (self._slopes[number].to(logps) * logps).sum() * self._parts
        loss = (self._value - surrogate).detach() + surrogate
        # The trainer scales the mean of a batch by its share of the step; this is no mean.
        return loss / batch["share"], self._facts

    def _begin(self, model: Any, number: int, batch: Batch, logps: Tensor) -> None:
        """What the loss says about every response of the step that begins with this batch."""
        own = [(number, _Part.of(batch, logps))]
        device = logps.device
        # The batches that follow will draw the dropout that they draw here.
        before = randomness(device)
        for later in range(1, self._accumulate):
            following = number + later * n_processes()
            batch = self._build(self._schedule[following])
            with torch.no_grad():
                own.append((following, _Part.of(batch, model(batch["rows"].to(device)))))
        restore_randomness(device, before)
        everyone = sorted(gather(own), key=lambda item: item[0])
        parts = [part for _, part in everyone]
        whole = self._whole(parts)
        loss = self._loss(whole)
        (slopes,) = torch.autograd.grad(loss, whole.logps)
        self._value = float(loss.detach())
        self._note(replace(whole, logps=whole.logps.detach()))
        split = slopes.split([part.logps.shape[1] for part in parts], dim=1)
        self._slopes = {n: part for (n, _), part in zip(everyone, split, strict=True)}

    def _whole(self, parts: Sequence[_Part]) -> LikelihoodBatch:
        return LikelihoodBatch(
            torch.cat([part.logps for part in parts], dim=1).requires_grad_(),
            torch.cat([part.ref_logps for part in parts]),
            torch.cat([part.weights for part in parts]),
            self._frame.low, self._frame.high, self._seen / self._frame.steps,
            self._state.value.cpu(), self._frame.center,
        )  # fmt: skip

    def _note(self, whole: LikelihoodBatch) -> None:
        """The running means move on; and the log is told where the policies are."""
        volume = self._loss.volume(self._loss.points(whole))
        running = self._loss.remember(self._state.value.cpu(), whole.gains)
        self._facts = {**dict(zip(self._frame.names, running.flatten(), strict=True)),
                       "hypervolume": volume}  # fmt: skip
        self._state.value.copy_(running)
