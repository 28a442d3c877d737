"""Rows of a conditioned policy: each response answers a prompt that tells what it is like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from paretune.core.job import ConditionedRows, Pool, TrainingJob
from paretune.core.record import PreferenceData, Prompt, prompt_text, with_prompt_text
from paretune.core.rewards import Normalizer, RewardMatrix
from paretune.engines.lm.encode import Encoder
from paretune.engines.lm.job_data import JobData
from paretune.errors import InputError
from paretune.functional.select import select_all


def conditioned(
    job: TrainingJob, inputs: JobData, encoder: Encoder, normalizer: Normalizer
) -> tuple[TrainingJob, JobData]:
    """A conditioned job as a plain one, on the rows of its rule with rewritten prompts.

    Args:
        job: an SFT job with a condition.
        inputs: the rows that its rule chooses from.
        encoder: of the run.
        normalizer: statistics of the training rewards.

    Returns:
        The job that takes every row, and these rows.

    Raises:
        InputError: if the rule leaves no row.
    """
    assert job.condition is not None
    data = inputs.data
    rule: Any = job.rows
    found = rule(Pool.of(data))
    is_told = isinstance(found, ConditionedRows)
    index = np.asarray(found.index if is_told else found, dtype=np.int64)
    if not len(index):
        raise InputError(f"job {job.id}: its rule left no row of {len(data.texts)} responses")
    given = found.given if is_told else data.rewards.values[index]
    numbers: dict[Prompt, int] = {}
    prompt_of = np.empty(len(index), dtype=np.int64)
    for place, (row, told) in enumerate(zip(index, given, strict=True)):
        prompt = data.prompts[int(data.prompt_of[row])]
        text = job.condition(prompt_text(prompt), told, normalizer)
        prompt_of[place] = numbers.setdefault(with_prompt_text(prompt, text), len(numbers))
    none = np.empty(0, dtype=np.int64)
    rows = PreferenceData(
        prompts=tuple(numbers),
        texts=tuple(data.texts[int(row)] for row in index),
        prompt_of=prompt_of,
        rewards=RewardMatrix(data.rewards.objectives, data.rewards.values[index]),
        first=none,
        second=none,
        labels=np.empty((0, data.rewards.values.shape[1])),
    )
    encoded = encoder.encode(rows.prompts, rows.texts, rows.prompt_of)
    ref_logps = np.full(len(index), np.nan)
    return replace(job, rows=select_all, condition=None), JobData(rows, encoded, ref_logps)
