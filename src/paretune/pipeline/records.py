"""Stage 1: records read, checked and split, and labelled where the run has a judge."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from tempfile import TemporaryFile
from typing import IO, Any, final

import numpy as np

from paretune.core.record import Message, PreferenceData, Prompt, Record, prompt_json
from paretune.core.rewards import RewardMatrix
from paretune.data.jsonl import write_records
from paretune.data.reader import ReadResult, read_all
from paretune.data.sources import DataSource
from paretune.data.splits import split_records
from paretune.errors import DataError
from paretune.functional.pair_scores import pair_scales, pair_scores
from paretune.functional.pairing import comparisons_from_scores, label_from_rewards
from paretune.pipeline.config import RunConfig
from paretune.pipeline.fingerprint import data_identity
from paretune.pipeline.folder import RunFolder, Sealed
from paretune.pipeline.worlds import World, world_of
from paretune.safety.files import read_json, write_json

VALIDATION_SHARE = 0.1
"""Of the training prompts, for ``evaluate.part: validation``; nothing learns from them then."""

_LEAST_SHARE = 0.05
"""Of the range of a reward: a margin that small is never a full preference."""

TRAIN, TEST, PROMPTS = "train.jsonl", "test.jsonl", "prompts.json"
QUARANTINE = "quarantine.jsonl"
"""Every row that is not used, as it stood, and why."""

Content = list[dict[str, Any]]

Say = Callable[[str], None]
Step = Callable[[str, int, int], None]


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


def read_run(
    config: RunConfig, *, budget: int | None = None, quarantine: IO[bytes] | None = None
) -> ReadResult:
    """Every row of the run's files, checked; see :func:`~paretune.data.reader.read_all`."""
    data = config.data
    return read_all(
        sources(config), config.axes, on_bad=data.on_bad, rules=data.rules, budget=budget,
        quarantine=quarantine,
    )  # fmt: skip


def split_run(config: RunConfig, result: ReadResult) -> tuple[list[Record], list[Record]]:
    """Training and evaluation records; a prompt is in only one of them.

    Raises:
        InputError: if one of them would be empty.
    """
    share = config.data.test_share
    shares = {"train": 1 - share, "test": share}
    if config.evaluate.part == "validation":
        # The test prompts keep their place: what is chosen here never saw them.
        held_out = VALIDATION_SHARE * (1 - share)
        shares = {"train": 1 - share - held_out, "validation": held_out, "test": share}
    parts = split_records(result.records, shares)
    return list(parts["train"]), list(parts[config.evaluate.part])


def records_stage(
    config: RunConfig, run: RunFolder, say: Say | None = None, step: Step | None = None
) -> Sealed:
    """Make stage 1: training and test records (a prompt in only one of them), test prompts.

    Where the run has a judge, both hold its labels. Rows that are not used are kept beside them,
    in ``quarantine.jsonl``.

    Raises:
        DataError: if rows are bad, or a file is not the same after reading as before.
        RunError: if the judge does not answer; what it answered is kept.
    """
    content = _content(config)
    stage = Sealed(run.stage(1), _inputs(config, content, _judged_before(run)))
    if stage.is_done():
        return stage
    run.path.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=run.path) as left_out:  # it has no name: a kill leaves nothing behind
        return _make_records(config, run, content, left_out, say or _silent, step or _silent)


def _make_records(
    config: RunConfig, run: RunFolder, content: Content, left_out: IO[bytes], say: Say, step: Step
) -> Sealed:
    """Read, judge and write what stage 1 holds."""
    if config.data.judge:
        from paretune.pipeline.judging import judge_endpoint, judge_records

        judge_endpoint(config.data.judge)  # a missing key is told before anything is read
    parts = read_parts(config, left_out)
    if _content(config) != content:
        raise DataError(
            "data: found files that changed while they were read, expected files at rest; type "
            "the same command again"
        )
    train, test, facts = parts.train, parts.test, dict(parts.facts)
    digest = None
    if config.data.judge:
        done = judge_records(config, run, [*train, *test], say, step)
        train, test = done.records[: len(train)], done.records[len(train) :]
        facts["judge"], digest = done.facts, done.digest
    stage = Sealed(run.stage(1), _inputs(config, content, digest))
    with stage.writing(**facts) as (folder, facts):
        write_records(folder / TRAIN, train)
        if test:
            write_records(folder / TEST, test)
        if left_out.tell():
            left_out.seek(0)
            with (folder / QUARANTINE).open("wb") as file:
                shutil.copyfileobj(left_out, file)
        write_json(folder / PROMPTS, [prompt_json(p) for p in parts.prompts])
        facts.update(train_records=len(train), test_prompts=len(parts.prompts))
    return stage


@final
@dataclass(frozen=True)
class Parts:
    """What a run reads.

    Args:
        train: records to learn from.
        test: records whose prompts are kept for evaluation; a world has none.
        prompts: for evaluation.
        facts: counts of rows.
    """

    train: list[Record]
    test: list[Record]
    prompts: list[Prompt]
    facts: dict[str, Any]


def read_parts(config: RunConfig, quarantine: IO[bytes] | None = None) -> Parts:
    """The records of a run, checked and split; rows that are not used go to the quarantine.

    Raises:
        DataError: if there is nothing to train on, or nothing to evaluate with.
    """
    world = world_of(config)
    if world is not None:
        held_out, test = held_out_prompts(config, world), []
        drawn = world.preferences(config.data.pairs, config.seed)
        train = [record for record in drawn if record.prompt not in held_out]
        prompts: list[Prompt] = list(evaluation_prompts(config, world))
        facts: dict[str, Any] = {"rows_read": len(drawn), "used": len(train)}
    else:
        result = read_run(config, quarantine=quarantine)
        train, test = split_run(config, result)
        prompts = [record.prompt for record in test]
        counts = result.counts
        facts = {"rows_read": counts.read, "used": counts.used}
        facts |= {"skipped": dict(counts.skipped), "cut": dict(counts.cut)}
        facts["quarantined"] = counts.n_skipped + counts.n_cut
    if not train or not prompts:
        raise DataError(
            f"data: found {len(train)} training and {len(prompts)} test prompts, expected at "
            "least one of each; give more rows or another test_share"
        )
    return Parts(train, test, prompts, facts)


def evaluation_prompts(config: RunConfig, world: World) -> tuple[str, ...]:
    """The prompts of a world that policies are measured on."""
    is_validation = config.evaluate.part == "validation"
    return world.validation_prompts if is_validation else world.test_prompts


def held_out_prompts(config: RunConfig, world: World) -> frozenset[str]:
    """Prompts of a world that nothing may learn from, the base included."""
    is_validation = config.evaluate.part == "validation"
    return frozenset(world.validation_prompts if is_validation else ())


def _content(config: RunConfig) -> Content:
    """Files may change under the same name; their content is what counts."""
    return [] if config.data.world else [data_identity(s.path) for s in sources(config)]


def _inputs(config: RunConfig, content: Content, judged: str | None) -> dict[str, Any]:
    """What stage 1 follows from; of a judge, what it was asked and the labels it gave."""
    data = config.data
    inputs = {
        "objectives": config.objectives,
        "data": data.model_dump(exclude={"judge"}),
        "content": content,
        "seed": config.seed,
    }
    if config.evaluate.part != "test":
        inputs["part"] = config.evaluate.part
    if data.judge:
        inputs["judge"] = {**data.judge.asked_for, "labels": judged}
    return inputs


def _judged_before(run: RunFolder) -> str | None:
    """Digest of the labels that a finished stage 1 holds: they are not asked for again."""
    manifest = Sealed(run.stage(1), {}).manifest or {"inputs": {}}
    return manifest["inputs"].get("judge", {}).get("labels")


def _silent(*what: object) -> None:
    """Says nothing."""


def read_part(config: RunConfig, run: RunFolder, part: str) -> PreferenceData:
    """``train.jsonl`` or ``test.jsonl`` of a finished stage 1, as columns."""
    source = DataSource(str(run.stage(1) / part), format="records")
    result = read_all([source], config.axes, rules=config.data.rules)
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
    Graded labels are margins in units of a large one wherever both are scored, whatever was given.
    """
    data = data.with_rewards(rewards)
    if not data.n_comparisons:
        first, second = comparisons_from_scores(
            rewards.values, data.prompt_of, config.data.pairs_per_prompt, config.seed
        )
        labels = np.full((len(first), len(rewards.objectives)), np.nan)
        data = replace(data, first=first, second=second, labels=labels)
    if config.data.graded_labels:
        span = np.nanmax(rewards.values, axis=0) - np.nanmin(rewards.values, axis=0)
        least = np.where(span > 0, _LEAST_SHARE * span, 1.0)
        graded = pair_scores(data.margins, pair_scales(data.margins, least))
        return replace(data, labels=np.where(np.isnan(graded), data.labels, graded))
    holes = np.isnan(data.labels)
    return replace(data, labels=np.where(holes, label_from_rewards(data.margins), data.labels))
