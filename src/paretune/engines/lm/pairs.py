"""Preference pairs of a job: which responses meet, what is known of them, what is reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.core.job import PairOrder, TrainingJob
from paretune.core.record import PreferenceData
from paretune.engines.lm.job_data import JobData
from paretune.engines.margins import pair_margins
from paretune.errors import InputError, RunError
from paretune.functional.losses import PairBatch
from paretune.functional.pairing import comparison_keys


@final
@dataclass(frozen=True)
class PairRows:
    """The preference pairs of a job.

    Args:
        rows: ``(Q, 2)`` response numbers, chosen and rejected.
        columns: ``(Q, ...)`` numbers that travel with the rows: ``reference`` log-probabilities,
            ``labels``, ``weights`` where pairs have users, ``margins`` where the job has some.
        objectives: column and name of those with a label.
    """

    rows: npt.NDArray[np.int64]
    columns: Mapping[str, npt.NDArray[np.float64]]
    objectives: list[tuple[int, str]]


def pair_rows(job: TrainingJob, inputs: JobData, seed: int) -> PairRows:
    """The comparisons of a data set in the order that a job's rule gives them.

    Raises:
        RunError: if a response has no reference log-probability.
        InputError: if the loss wants users' weights or margins and a comparison has none.
    """
    data = inputs.data
    keys = comparison_keys(data.n_comparisons, seed)
    order: PairOrder = job.rows(data.labels, keys)  # type: ignore[call-arg, assignment, misc]
    first, second = data.first[order.index], data.second[order.index]
    flipped = order.flipped
    rows = np.stack([np.where(flipped, second, first), np.where(flipped, first, second)], axis=1)
    labels = data.labels[order.index] * np.where(flipped, -1.0, 1.0)[:, None]
    columns = {"reference": inputs.ref_logps[rows], "labels": labels}
    if np.isnan(columns["reference"]).any():
        raise RunError(f"job {job.id}: a response has no reference log-probability")
    if job.step_loss is not None and job.step_loss.weights is None and job.adapter is None:
        columns["weights"] = users_weights(job, data, order.index)
    if job.margins is not None:
        log_ratios = {e: logps - inputs.ref_logps for e, logps in inputs.experts.items()}
        columns["margins"] = pair_margins(job.margins, data, order, log_ratios)
    is_used = ~np.isnan(labels).all(axis=0)
    objectives = [(i, n) for i, n in enumerate(data.rewards.objectives) if is_used[i]]
    return PairRows(rows, columns, objectives)


def users_weights(
    job: TrainingJob, data: PreferenceData, index: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """``(Q, M)`` trade-offs of the users behind the pairs of a loss that has none of its own.

    Raises:
        InputError: if a comparison has none.
    """
    found = np.full((len(index), data.labels.shape[1]), np.nan)
    if data.weights is not None:
        found = data.weights[index]
    missing = int(np.isnan(found).any(axis=1).sum())
    if missing:
        raise InputError(
            f"job {job.id}: found {missing} of {len(index)} comparisons without weights, expected "
            "the trade-off of the user who compared in each (field 'weights')"
        )
    return found


def pair_batch(logps: Tensor, batch: Mapping[str, Any]) -> PairBatch:
    """A batch as losses read it.

    Args:
        logps: ``(2 B,)`` log-probabilities of the responses, chosen and rejected in turns.
        batch: packed ``rows`` with the columns of :class:`PairRows`.
    """
    own, tokens = logps.view(-1, 2), batch["rows"].tokens.view(-1, 2)
    reference = batch["reference"]
    return PairBatch(
        own[:, 0], own[:, 1], reference[:, 0], reference[:, 1],
        tokens[:, 0], tokens[:, 1], batch["labels"], batch.get("weights"), batch.get("margins"),
    )  # fmt: skip


def pair_metrics(pairs: PairBatch, objectives: list[tuple[int, str]]) -> dict[str, Tensor]:
    """What a batch tells of the policy, for the log.

    Args:
        pairs: B of them.
        objectives: column and name of those with a label.

    Returns:
        ``margin`` of the pairs in nats; and per objective, of its labelled pairs, ``accuracy/``:
        the share that the policy orders as the label does, and ``margin/``: how far it leans to
        the response that the label prefers, in nats. NaN where a batch has nothing to say.
    """
    margin = pairs.log_ratio_margin.detach()
    sign = torch.sign(pairs.labels)
    is_labelled = ~torch.isnan(sign) & (sign != 0)
    count = is_labelled.sum(0)
    # 0 / 0 = NaN where the batch has no labelled pair.
    shares = ((torch.sign(margin)[:, None] == sign) & is_labelled).sum(0) / count
    toward = torch.where(is_labelled, sign * margin[:, None], 0).sum(0) / count
    found = {"margin": margin.mean()}
    found |= {f"accuracy/{name}": shares[i] for i, name in objectives}
    return found | {f"margin/{name}": toward[i] for i, name in objectives}
