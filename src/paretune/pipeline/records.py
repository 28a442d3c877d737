"""Stage 1: records read, checked and split."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from paretune.core.record import Message, PreferenceData, Prompt, Record, prompt_json
from paretune.core.rewards import RewardMatrix
from paretune.data.jsonl import write_records
from paretune.data.reader import ReadResult, read_all
from paretune.data.sources import DataSource
from paretune.data.splits import split_records
from paretune.errors import DataError
from paretune.functional.pairing import comparisons_from_scores, label_from_rewards
from paretune.pipeline.config import RunConfig
from paretune.pipeline.fingerprint import data_identity
from paretune.pipeline.folder import RunFolder, Sealed, read_json, write_json
from paretune.pipeline.worlds import world_of

TRAIN, TEST, PROMPTS = "train.jsonl", "test.jsonl", "prompts.json"


def sources(config: RunConfig) -> list[DataSource]:
    """The files of a run, one or one an objective."""
    data = config.data
    options: dict[str, Any] = {"format": data.format, "limit": data.limit}
    if data.split:
        options["split"] = data.split
    if data.path:
        return [DataSource(data.path, labels=data.labels, **options)]
    one_axis = data.format in ("hh_rlhf",)
    return [
        DataSource(path, objective=name, **options)
        if one_axis
        else DataSource(path, labels={name: data.labels.get(name, name)}, **options)
        for name, path in data.files.items()
    ]


def read_run(config: RunConfig) -> ReadResult:
    """Every row of the run's files, checked."""
    return read_all(sources(config), config.axes, on_bad=config.data.on_bad)


def split_run(config: RunConfig, result: ReadResult) -> tuple[list[Record], list[Record]]:
    """Training and test records; a prompt is in only one of them.

    Raises:
        InputError: if one of them would be empty.
    """
    share = config.data.test_share
    parts = split_records(result.records, {"train": 1 - share, "test": share})
    return list(parts["train"]), list(parts["test"])


def records_stage(config: RunConfig, run: RunFolder) -> Sealed:
    """Make stage 1: training and test records (a prompt in only one of them), test prompts."""
    data = config.data
    stage = Sealed(
        run.stage(1),
        {
            "objectives": config.objectives,
            "data": data.model_dump(),
            # Files may change under the same name; their content is what counts.
            "content": [data_identity(s.path) for s in sources(config)] if not data.world else [],
            "seed": config.seed,
        },
    )
    if stage.is_done():
        return stage
    with stage.writing() as (folder, facts):
        world = world_of(config)
        if world is not None:
            train, test = world.preferences(data.pairs, config.seed), []
            prompts: list[Prompt] = list(world.test_prompts)
            facts.update(rows_read=len(train), used=len(train))
        else:
            result = read_run(config)
            train, test = split_run(config, result)
            prompts = [record.prompt for record in test]
            counts = result.counts
            facts.update(rows_read=counts.read, used=counts.used)
            facts.update(skipped=dict(counts.skipped), cut=dict(counts.cut))
        if not train or not prompts:
            raise DataError(
                f"data: found {len(train)} training and {len(prompts)} test prompts, expected at "
                "least one of each; give more rows or another test_share"
            )
        write_records(folder / TRAIN, train)
        if test:
            write_records(folder / TEST, test)
        write_json(folder / PROMPTS, [prompt_json(p) for p in prompts])
        facts.update(train_records=len(train), test_prompts=len(prompts))
    return stage


def read_part(config: RunConfig, run: RunFolder, part: str) -> PreferenceData:
    """``train.jsonl`` or ``test.jsonl`` of a finished stage 1, as columns."""
    result = read_all([DataSource(str(run.stage(1) / part), format="records")], config.axes)
    return PreferenceData.from_records(result.records, config.objectives)


def read_test_prompts(config: RunConfig, run: RunFolder) -> list[Prompt]:
    """The evaluation prompts, in the order that all methods share."""
    rows = read_json(run.stage(1) / PROMPTS)
    prompts = [r if isinstance(r, str) else tuple(Message(**m) for m in r) for r in rows]
    return prompts[: config.evaluate.prompts]


def labelled(config: RunConfig, data: PreferenceData, rewards: RewardMatrix) -> PreferenceData:
    """Comparisons with a label wherever something is known.

    Comparisons that the records hold are kept with their labels; records without any are compared
    by their rewards. A missing label becomes the sign of the reward margin, where both are scored.
    """
    data = data.with_rewards(rewards)
    if not data.n_comparisons:
        first, second = comparisons_from_scores(
            rewards.values, data.prompt_of, config.data.pairs_per_prompt, config.seed
        )
        labels = np.full((len(first), len(rewards.objectives)), np.nan)
        data = replace(data, first=first, second=second, labels=labels)
    holes = np.isnan(data.labels)
    return replace(data, labels=np.where(holes, label_from_rewards(data.margins), data.labels))
