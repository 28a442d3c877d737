"""Pairs for a policy that is conditioned on the trade-off: each batch has one of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from paretune.core.job import TrainingJob
from paretune.engines.lm.pairs import pair_batch, pair_metrics
from paretune.engines.lm.tradeoff_adapter import has_tradeoff_adapter, set_tradeoff
from paretune.engines.lm.trainer import Batch, BatchLoss
from paretune.errors import InputError
from paretune.functional.dirichlet import dirichlet_draws
from paretune.functional.draws import hash_keys
from paretune.functional.scalarized_loss import ScalarizedLoss
from paretune.functional.step_means import mean_losses

_TRADEOFF = 16
"""Names the draws of trade-offs."""


def conditioned_loss(
    job: TrainingJob, objectives: Sequence[tuple[int, str]], model: Any, seed: int
) -> BatchLoss:
    """The loss of a batch at a trade-off drawn for it, which is set on the model.

    The trade-off is a function of the seed and the batch's number, so a training that is
    interrupted goes on exactly, and batches that are accumulated, or that processes share, each
    have another one: a step is then a mean over several trade-offs.

    Args:
        job: pairwise, with an adapter and a ``ScalarizedLoss`` whose weights the pairs bring.
        objectives: column and name of those with a label.
        model: with a trade-off adapter.
        seed: of the draws.

    Raises:
        InputError: if the job's loss or the model is of another kind.
    """
    adapter, loss = job.adapter, conditioned_step_loss(job)
    if adapter is None or not has_tradeoff_adapter(model):
        raise InputError(f"job {job.id}: found a model without a trade-off adapter, expected one")
    empty = loss.scalarizer.start(adapter.n_objectives)

    def batch_loss(scorer: Any, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        key = hash_keys(seed, _TRADEOFF, batch["number"])
        drawn = dirichlet_draws(key, adapter.n_objectives, adapter.concentration)[0]
        set_tradeoff(model, drawn.tolist())
        found = pair_batch(scorer(batch["rows"]), batch)
        given = torch.from_numpy(drawn).to(found.labels).expand_as(found.labels)
        step = loss.step(replace(found, weights=given))
        means = mean_losses(step.losses, step)
        costs = {f"loss/{name}": means[column] for column, name in objectives}
        return loss.scalarizer(step, empty).loss, pair_metrics(found, list(objectives)) | costs

    return batch_loss


def conditioned_step_loss(job: TrainingJob) -> ScalarizedLoss:
    """The loss of a job with an adapter.

    Raises:
        InputError: if it has weights of its own, learns from step to step, or compares gradients.
    """
    loss = job.step_loss
    if not isinstance(loss, ScalarizedLoss) or loss.weights is not None:
        raise InputError(
            f"job {job.id}: found {loss!r}, expected a ScalarizedLoss without weights: each batch "
            "brings the trade-off that it was drawn for"
        )
    scalarizer = loss.scalarizer
    is_plain = not (scalarizer.needs_gradients or scalarizer.is_joint)
    if not is_plain or scalarizer.start(2).numel():
        raise InputError(
            f"job {job.id}: found {type(scalarizer).__name__}, expected a scalarizer that is a "
            "function of the losses of a batch: the trade-off changes from batch to batch"
        )
    return loss
