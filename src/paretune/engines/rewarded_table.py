"""Rewarded jobs on tables: all policies of a group minimized as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.core.job import Pool, TrainingJob
from paretune.core.record import PreferenceData
from paretune.engines.minimize import minimize
from paretune.engines.rewarded_rows import rewarded_calibration, rewarded_rows
from paretune.engines.table_policy import Table, TanhNetwork
from paretune.errors import InputError
from paretune.functional.rewarded_likelihood import LikelihoodBatch


def rewarded_policies(
    jobs: Sequence[TrainingJob],
    model: Table | TanhNetwork,
    data: PreferenceData,
    action_of: npt.NDArray[np.int64],
    start: Tensor,
    tolerance: float,
) -> list[Tensor]:
    """Parameters of the policies of a group that minimize their common loss.

    On a table each policy has all its parameters to itself; on a network they share the hidden
    units. The loss is minimized as at the start of a training and then, from there, as at its end.

    Args:
        jobs: of one group, or one alone.
        model: turns parameters into policies; its start is the reference.
        data: rows that the jobs choose from.
        action_of: ``(N,)`` action of each row.
        start: ``(D,)`` parameters that each starts from.
        tolerance: largest entry of the gradient at the end, > 0.

    Returns:
        K parameters ``(D,)``.

    Raises:
        InputError: if jobs differ in rows or loss, no row is left, or the loss samples directions,
            whose volume has its peaks on kinks.
        RunError: if the loss does not become flat.
    """
    rows = rewarded_rows(jobs, Pool.of(data))
    step_loss: Any = jobs[0].step_loss
    if step_loss.estimator != "exact":
        raise InputError(
            f"job {jobs[0].id!r}: found estimator {step_loss.estimator!r}, expected 'exact' on a "
            "table: a sampled volume has its peaks on kinks, where no gradient is flat"
        )
    found = rewarded_calibration(jobs, data, rows)
    cells = torch.as_tensor(data.prompt_of[rows]), torch.as_tensor(action_of[rows])
    weights, low, high = (torch.from_numpy(x) for x in (found.weights, found.low, found.high))
    # From the data to the reference, from where gains are counted.
    data_logps = _data_logps(cells, model.ref_logps.shape)
    offset = (data_logps - model.ref_logps[cells]) @ weights / len(rows)
    n_shared = 0 if isinstance(model, Table) else model.n_shared

    def split(joint: Tensor) -> list[Tensor]:
        own = joint[n_shared:].view(len(jobs), -1)
        return [torch.cat([joint[:n_shared], one]) for one in own]

    def batch(joint: Tensor) -> LikelihoodBatch:
        logps = [model.logps(one)[cells] for one in split(joint)]
        return LikelihoodBatch(
            torch.stack(logps), model.ref_logps[cells], weights, low + offset, high + offset
        )

    def at(progress: float) -> Callable[[Tensor], Tensor]:
        def loss(joint: Tensor) -> Tensor:
            value: Tensor = step_loss(replace(batch(joint), progress=progress))
            return value

        return loss

    joint = torch.cat([start[:n_shared], start[n_shared:].repeat(len(jobs))])
    name = " and ".join(job.id for job in jobs)
    for progress in step_loss.stages:
        # A sum over the policies, whose own losses are to be as flat as any other.
        joint = minimize(at(progress), joint, tolerance * len(jobs), name)
    return split(joint)


def _data_logps(cells: tuple[Tensor, Tensor], shape: torch.Size) -> Tensor:
    """``(Q,)`` log-probability of each row's action in its context, as often as it is there."""
    counts = torch.zeros(shape, dtype=torch.float64)
    counts.index_put_(cells, torch.ones(len(cells[0]), dtype=torch.float64), accumulate=True)
    shares = counts / counts.sum(-1, keepdim=True).clamp(min=1)
    return shares[cells].log()
