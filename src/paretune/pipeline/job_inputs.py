"""What a job trains on: the run's records, replies of earlier jobs, or prompts that show pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paretune.core.job import Replies, Shown, TrainingJob
from paretune.core.record import (
    PreferenceData,
    Prompt,
    Record,
    Response,
    prompt_text,
    with_prompt_text,
)
from paretune.core.rewards import RewardMatrix
from paretune.errors import InputError
from paretune.functional.collapse import collapse_cause
from paretune.functional.draws import told_keys
from paretune.pipeline.expert_margins import with_experts
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.replies import REPLIES, positions_of, read_replies
from paretune.pipeline.rewards import read_normalizer
from paretune.scoring.score import score_responses

if TYPE_CHECKING:
    from paretune.engines.lm.job_data import JobData, OwnReplies
    from paretune.pipeline.tasks import Context, Place


def job_inputs(
    place: Place,
    here: Context,
    method: str,
    job: TrainingJob,
    needed: Mapping[str, Path],
    rounds: Mapping[str, Path],
) -> JobData:
    """The rows of a job.

    Args:
        place: where the run works.
        here: what the worker keeps of it.
        method: name of the method.
        job: one of its jobs.
        needed: folder of every policy that the job needs.
        rounds: folder of the replies it learns from, by the job that gave them.

    Raises:
        InputError: if nothing is left to train on.
    """
    if isinstance(job.source, Replies):
        return _reply_data(place, here, method, job.source, rounds)
    if isinstance(job.source, Shown):
        return _shown_data(place, here, job, job.source, needed.get(job.source.reference))
    if job.margins is not None and job.margins.experts:
        return with_experts(place, here, job, needed)
    inputs: JobData = here.job_data
    if job.online is not None:
        return replace(inputs, own=_own_replies(place, here))
    return inputs


def _own_replies(place: Place, here: Context) -> OwnReplies:
    from paretune.engines.lm.job_data import OwnReplies

    prompts, generate = here.job_data.data.prompts, place.config.generate

    def reward(prompt_of: Any, texts: Sequence[str]) -> Any:
        asked = [prompts[int(number)] for number in prompt_of]
        return score_responses(asked, texts, here.scorers("rewards"))

    normalizer = read_normalizer(place.config, place.run)
    return OwnReplies(here.encoder, reward, normalizer, generate.max_new_tokens, generate.rows)


def _shown_data(
    place: Place, here: Context, job: TrainingJob, source: Shown, reference: Path | None
) -> JobData:
    from paretune.engines.lm.models import load_base, load_policy
    from paretune.engines.lm.reference import reference_logps
    from paretune.pipeline.shown import shot_encoder, shown_data

    config = place.config
    if reference is None:
        model = load_base(place.base, is_frozen=True, quantize=config.quantize)
    else:
        model = load_policy(reference, place.base, quantize=config.quantize)
    names = here.job_data.data.rewards.objectives
    encoder = shot_encoder(here.encoder, source.prompts, positions_of(model.config), names)

    def logps(encoded: Any) -> Any:
        rows = np.arange(len(encoded.responses))
        return reference_logps(model, encoded, rows, encoder.pad_id)

    return shown_data(
        here.job_data.data, encoder, source, config.seed, logps, is_imitation=job.kind == "sft"
    )


def round_folder(run: RunFolder, method: str, job_id: str, source: Replies) -> Path:
    """Where the replies of a round lie: beside the policy that gave them."""
    from paretune.core.description import identity

    return run.stage(4) / method / f"{job_id}.replies-{identity(replace(source, of=()))[:8]}"


def round_prompts(data: PreferenceData, source: Replies, seed: int) -> list[Prompt]:
    """The training prompts that a round asks."""
    rng = np.random.default_rng([seed, 5])
    n = min(source.prompts, data.n_prompts)
    chosen = np.sort(rng.choice(data.n_prompts, size=n, replace=False))
    return [data.prompts[int(i)] for i in chosen]


def conditioned_prompts(
    place: Place, here: Context, prompts: Sequence[Prompt], source: Replies, job_id: str
) -> list[Prompt]:
    """The prompts of a round as a conditioned policy is asked them, once a reply.

    Every job that replies is told something else, the same for all jobs that learn from it.
    """
    assert source.condition is not None
    keys = told_keys(place.config.seed, job_id, len(prompts) * source.per_prompt)
    asked = [prompt for prompt in prompts for _ in range(source.per_prompt)]
    return [
        with_prompt_text(prompt, source.condition(prompt_text(prompt), key, here.normalizer))
        for prompt, key in zip(asked, keys, strict=True)
    ]


def _reply_data(
    place: Place, here: Context, method: str, source: Replies, rounds: Mapping[str, Path]
) -> JobData:
    """Rounds as training rows: broken replies are left out, repeated ones joined and counted."""
    from paretune.engines.lm.job_data import JobData

    data: PreferenceData = here.job_data.data
    objectives = place.config.objectives
    prompts = round_prompts(data, source, place.config.seed)
    found: dict[tuple[int, str], Response] = {}
    first_round: dict[tuple[int, str], int] = {}
    for round_number, job_id in enumerate(source.of, 1):
        rows = read_replies(rounds[job_id] / REPLIES, objectives)
        for number, text, values in zip(
            rows["prompt_of"], rows["texts"], rows["rewards"], strict=True
        ):
            if collapse_cause(text) is not None:
                continue
            key, scores = (
                (int(number), text),
                dict(zip(objectives, map(float, values), strict=True)),
            )
            count = found[key].count + 1 if key in found else 1
            found[key] = Response(text, scores, count)
            first_round.setdefault(key, round_number)
    records = [Record(prompts[number], (reply,)) for (number, _), reply in found.items()]
    if source.with_offline:
        counts = np.ones(len(data.texts), dtype=int) if data.counts is None else data.counts
        offline = zip(data.texts, data.prompt_of, data.rewards.values, counts, strict=True)
        for text, row, values, count in offline:
            scores = dict(zip(objectives, map(float, values), strict=True))
            records.append(Record(data.prompts[int(row)], (Response(text, scores, int(count)),)))
    if not records:
        raise InputError(f"{method}: every reply of {source.of} is empty or collapsed")
    rows_data = PreferenceData.from_records(records, objectives)
    rounds = np.zeros(len(rows_data.texts), dtype=np.int64)
    rounds[: len(found)] = list(first_round.values())
    rows_data = replace(
        rows_data,
        rewards=RewardMatrix(place.config.axes, rows_data.rewards.values),
        rounds=rounds,
    )
    encoded = here.encoder.encode(rows_data.prompts, rows_data.texts, rows_data.prompt_of)
    return JobData(rows_data, encoded, np.full(len(rows_data.texts), np.nan))
