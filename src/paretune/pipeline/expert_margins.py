"""Rows of a job whose margins are implicit rewards: what each expert thinks of the responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paretune.core.job import TrainingJob

if TYPE_CHECKING:
    from paretune.engines.lm.job_data import JobData
    from paretune.pipeline.tasks import Context, Place


def with_experts(
    place: Place, here: Context, job: TrainingJob, needed: Mapping[str, Path]
) -> JobData:
    """The run's own records with log-probabilities under the experts of a job's margins.

    An expert reads the compared responses once a worker, whatever the number of jobs that ask.

    Args:
        place: where the run works.
        here: what the worker keeps of it.
        job: with margins of experts.
        needed: folder of every policy that the job needs.

    Raises:
        ConfigError: if the experts come from different bases.
    """
    from paretune.engines.lm.one_base import require_one_base

    assert job.margins is not None
    inputs: JobData = here.job_data
    folders = {expert: needed[expert] for expert in job.margins.experts}
    require_one_base(f"{job.id}: margins", list(folders.values()), place.base)
    for folder in folders.values():
        if folder not in here.expert_logps:
            here.expert_logps[folder] = _logps(place, here, folder)
    return replace(inputs, experts={e: here.expert_logps[f] for e, f in folders.items()})


def _logps(place: Place, here: Context, folder: Path) -> Any:
    """``(N,)`` log-probabilities under the policy of a folder, NaN where nobody compared."""
    from paretune.engines.lm.models import load_policy
    from paretune.engines.lm.reference import reference_logps

    inputs: JobData = here.job_data
    compared = np.unique(np.concatenate([inputs.data.first, inputs.data.second]))
    model = load_policy(folder, place.base, quantize=place.config.quantize)
    return reference_logps(model, inputs.encoded, compared, here.encoder.pad_id)
