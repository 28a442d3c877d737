"""Rows of rewarded jobs: which responses the policies of a group learn from, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from paretune.core.job import ConditionedRows, Pool, TrainingJob
from paretune.core.record import PreferenceData
from paretune.core.rewards import RewardMatrix
from paretune.errors import InputError
from paretune.functional.rewarded_likelihood import Calibration, calibrate


def rewarded_rows(jobs: Sequence[TrainingJob], pool: Pool) -> npt.NDArray[np.int64]:
    """Rows that all jobs of a group learn from, in training order.

    Args:
        jobs: of one group, or one alone.
        pool: what they choose from.

    Raises:
        InputError: if jobs differ in rows or loss, rewrite prompts, or no row is left.
    """
    chosen = [_rows_of(job, pool) for job in jobs]
    for job, rows in zip(jobs, chosen, strict=True):
        if job.step_loss is None or job.step_loss != jobs[0].step_loss:
            raise InputError(
                f"job {job.id!r}: found step loss {job.step_loss!r}, expected one that is the same "
                "for all policies that are trained together"
            )
        if not np.array_equal(rows, chosen[0]):
            raise InputError(
                f"job {job.id!r}: found other rows than those of {jobs[0].id!r}, expected the same"
            )
    if not len(chosen[0]):
        raise InputError(f"job {jobs[0].id!r}: its row rule chose none of {len(pool.text_of)} rows")
    return chosen[0]


def rewarded_calibration(
    jobs: Sequence[TrainingJob], data: PreferenceData, rows: npt.NDArray[np.int64]
) -> Calibration:
    """Weights and range of the likelihoods of these rows.

    Raises:
        NotScoredError: naming the first missing reward.
        InputError: naming an objective that rewards all rows alike.
    """
    told = (
        f"job {jobs[0].id!r}, unlike methods that learn from pairs (dpo, rewarded_soups, mopo with "
        "labels 'pair_hard'),"
    )
    values = RewardMatrix(data.rewards.objectives, data.rewards.values[rows]).require_scored(told)
    for name, column in zip(data.rewards.objectives, values.T, strict=True):
        if np.ptp(column) == 0:
            raise InputError(
                f"job {jobs[0].id!r}: found {column[0]:g} for all {len(rows)} responses on "
                f"{name!r}, expected different rewards: likelihoods are weighed with them"
            )
    return calibrate(values)


def _rows_of(job: TrainingJob, pool: Pool) -> npt.NDArray[np.int64]:
    rule: Any = job.rows
    rows = rule(pool)
    if job.condition is not None or isinstance(rows, ConditionedRows):
        raise InputError(f"job {job.id!r}: found prompts that are rewritten, expected none")
    return np.asarray(rows, dtype=np.int64)
