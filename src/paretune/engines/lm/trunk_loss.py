"""Losses of K heads on one trunk: each job's own, on its own rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.core.job import TrainingJob
from paretune.engines.lm.pairs import pair_batch
from paretune.engines.lm.scalarized import StepState
from paretune.errors import InputError
from paretune.functional.losses import PairBatch
from paretune.functional.scalarized_loss import ScalarizedLoss
from paretune.functional.step_means import mean_losses, mean_weights


@final
@dataclass(frozen=True)
class JobRows:
    """Rows that a job learns from.

    Args:
        rows: ``(Q, C)`` response numbers: chosen and rejected, or one to imitate.
        columns: ``(Q, ...)`` numbers that travel with the rows.
        objectives: column and name of those with a label.
    """

    rows: npt.NDArray[np.int64]
    columns: Mapping[str, npt.NDArray[np.float64]]
    objectives: list[tuple[int, str]]


@final
@dataclass(frozen=True)
class _Counts:
    """What pairs read of packed rows."""

    tokens: Tensor


def step_states(jobs: Sequence[TrainingJob], n_objectives: int) -> list[StepState]:
    """What the scalarizers of jobs with a step loss learn, in the order of those jobs.

    Raises:
        InputError: if a loss cannot be trained so.
    """
    losses = [job.step_loss for job in jobs]
    for job, loss in zip(jobs, losses, strict=True):
        if job.kind == "pairwise" and (job.loss is None) == (loss is None):
            raise InputError(f"job {job.id}: a pairwise job needs a loss or a step loss")
        if loss is None:
            continue
        if not isinstance(loss, ScalarizedLoss):
            raise InputError(f"job {job.id}: found {loss!r}, expected a ScalarizedLoss")
        if loss.scalarizer.needs_gradients:
            raise InputError(
                f"job {job.id}: found {type(loss.scalarizer).__name__} on a frozen trunk, expected "
                "a scalarizer of losses: it compares whole gradients of one policy"
            )
    is_joint = [loss is not None and loss.scalarizer.is_joint for loss in losses]
    if any(is_joint) and (len(jobs) == 1 or not all(is_joint)):
        raise InputError(
            f"job {jobs[0].id}: found one policy or several kinds of loss, expected several "
            "policies that spread together"
        )
    return [StepState(one.scalarizer.start(n_objectives)) for one in losses if one is not None]


@final
class HeadLosses:
    """The loss of a step: its gradient is that of every head's own mean loss.

    Args:
        jobs: K of them.
        work: their rows.
        states: of those with a step loss.
    """

    def __init__(
        self, jobs: Sequence[TrainingJob], work: Sequence[JobRows], states: Sequence[StepState]
    ) -> None:
        self._jobs, self._objectives = jobs, work[0].objectives
        found = iter(states)
        self._states = [None if job.step_loss is None else next(found) for job in jobs]

    def __call__(self, heads: Any, batch: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The mean over the jobs, with the gradient of their sum: each as if it were alone."""
        here = batch["trunk"]
        logps = heads(here)
        own = [logps[k][take] for k, take in enumerate(here.takes)]
        if self._jobs[0].kind == "sft":
            losses = [
                -mine.sum() / columns["tokens"].sum()
                for mine, columns in zip(own, here.columns, strict=True)
            ]
            return _as_mean(torch.stack(losses)), {}
        pairs = [
            pair_batch(
                mine.reshape(-1), {"rows": _Counts(columns["tokens"].reshape(-1)), **columns}
            )
            for mine, columns in zip(own, here.columns, strict=True)
        ]
        self._spread(pairs)
        each = zip(self._jobs, pairs, self._states, strict=True)
        losses = [_loss(job, batch_of, state) for job, batch_of, state in each]
        return _as_mean(torch.stack(losses)), self._metrics(pairs)

    def _spread(self, pairs: Sequence[PairBatch]) -> None:
        """Weights by which policies that spread together part, as their states."""
        first = self._jobs[0].step_loss
        if first is None or not first.scalarizer.is_joint:
            return
        steps = [
            job.step_loss.step_at(*_far(job.step_loss, batch))
            for job, batch in zip(self._jobs, pairs, strict=True)
        ]
        means = torch.stack([mean_losses(at.losses, at) for at in steps])
        planned = torch.stack([mean_weights(at) for at in steps])
        for state, row in zip(self._states, first.scalarizer.spread(means, planned), strict=True):
            assert state is not None
            state.value.copy_(row)

    def _metrics(self, pairs: Sequence[PairBatch]) -> dict[str, Tensor]:
        """As :func:`~paretune.engines.lm.pairs.pair_metrics`, means over the policies."""
        with torch.no_grad():
            margins = torch.cat([p.log_ratio_margin for p in pairs])
            labels = torch.cat([p.labels for p in pairs])
            counts = torch.cat([torch.full_like(p.chosen, 1 / len(p.chosen)) for p in pairs])
            sign = torch.sign(labels)
            is_labelled = ~torch.isnan(sign) & (sign != 0)
            total = counts @ is_labelled.to(counts)
            agrees = (torch.sign(margins)[:, None] == sign) & is_labelled
            shares = (counts @ agrees.to(counts)) / total
            toward = (counts @ torch.where(is_labelled, sign * margins[:, None], 0)) / total
            found = {"margin": (counts @ margins) / len(pairs)}
        found |= {f"accuracy/{name}": shares[i] for i, name in self._objectives}
        return found | {f"margin/{name}": toward[i] for i, name in self._objectives}


def _loss(job: TrainingJob, pairs: PairBatch, state: StepState | None) -> Tensor:
    """Mean loss of one head on its pairs."""
    if state is None:
        assert job.loss is not None
        mean: Tensor = job.loss(pairs).mean()
        return mean
    loss = job.step_loss
    margins = loss.margins(pairs)
    far = _far(loss, pairs)
    part = loss.cotangents(*far, state.value).to(margins)
    at = loss.step_at(*far)
    value = loss.scalarizer(at, state.value).loss
    state.value.copy_(loss.scalarizer.advance(at, state.value))
    surrogate = (part * margins).sum()
    return value.to(margins) + surrogate - surrogate.detach()


def _far(loss: Any, pairs: PairBatch) -> tuple[Tensor, Tensor, Tensor | None]:
    """Margins, labels and weights on the CPU in float64, as scalarizers take them."""
    weights = None if pairs.weights is None else pairs.weights.detach().double().cpu()
    margins = loss.margins(pairs).detach().double().cpu()
    return margins, pairs.labels.detach().double().cpu(), weights


def _as_mean(losses: Tensor) -> Tensor:
    """The mean as a number, the gradient of the sum."""
    total = losses.sum()
    return losses.detach().mean() + total - total.detach()
