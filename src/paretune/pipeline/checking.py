"""What ``paretune check`` finds: every row read, every method's needs compared with the data."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from paretune.core.job import Replies
from paretune.core.method import Method
from paretune.core.record import PreferenceData
from paretune.core.tradeoff import TradeOff
from paretune.data.check import DataSummary, summarize
from paretune.data.counts import RowCounts
from paretune.data.reader import ReadResult
from paretune.errors import ConfigError
from paretune.methods import build, method_names
from paretune.pipeline.base import require_base, require_text
from paretune.pipeline.comparisons import new_encoder, refuse_cuts
from paretune.pipeline.config import RunConfig
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.judging import foretell
from paretune.pipeline.needs import require_scores, without_scores
from paretune.pipeline.records import labelled, read_run, split_run
from paretune.pipeline.rewards import check_scorers, function_scorers, reward_configs
from paretune.pipeline.sweep import check_job
from paretune.pipeline.worlds import world_of
from paretune.scoring.score import score_responses

_BUDGET = 1 << 27
"""Bytes of records that are looked at; of larger data, whole prompts up to that."""
_TEXT = 1 << 22
"""Characters that are encoded to see how much is cut: a second or two."""


def check_run(config: RunConfig, folder: Path | None = None) -> tuple[DataSummary, list[str]]:
    """Read everything, train nothing, ask nobody.

    Args:
        config: of the run.
        folder: of the run, where a judge's answers may be; it need not exist.

    Returns:
        The summary of the data, and sentences about what the run will do.

    Raises:
        DataError: naming every bad row.
        ConfigError: if a method's needs cannot be met, or replies could not be judged.
    """
    world = world_of(config)
    if world is not None:
        records = tuple(world.preferences(config.data.pairs, config.seed))
        counts = RowCounts(len(records), len(records))
        result = ReadResult(records, counts, ((f"world {config.data.world}", counts),))
    else:
        result = read_run(config, budget=_BUDGET)
    preflight(config)
    if world is None:
        if result.share == 1:  # a sample may lack the few prompts of a small split
            split_run(config, result)
        result = _with_functions(config, result)
    data = PreferenceData.from_records(result.records, config.objectives)
    notes = _base_notes(config)
    _check_prompts(config, data)
    notes += [*_sample_note(result), *_cut_notes(config, data)]
    notes += _needs(config, data)
    _check_jobs(config, data)
    if judge := config.data.judge:
        notes.append(f"judge: {foretell(config, RunFolder(folder or Path()), result.records)}")
        # The reader knows only what the files hold; the judge will fill these gaps.
        filled = [f"{config.objectives[i]!r} has no label" for i in judge.judged(config.axes)]
        kept = (w for w in result.warnings if not any(gap in w for gap in filled))
        result = replace(result, warnings=tuple(kept))
    n_policies = sum(
        len(config.build_method(m).plan(len(config.objectives), config.tradeoffs_of(m)))
        for m in config.methods
    )
    n_points = sum(len(config.tradeoffs_of(m)) for m in config.methods)
    notes.append(f"the run trains {n_policies} policies and evaluates {n_points} points")
    return summarize(result, config.axes), notes


def _with_functions(config: RunConfig, result: ReadResult) -> ReadResult:
    """The records with the scores of reward functions, which are cheap; models are not run."""
    made = function_scorers(config)
    if not made:
        return result
    prompts = [record.prompt for record in result.records for _ in record.responses]
    texts = [response.text for record in result.records for response in record.responses]
    rows = iter(score_responses(prompts, texts, made).tolist())
    records = tuple(
        replace(
            record,
            responses=tuple(
                replace(r, scores={**r.scores, **dict(zip(made, next(rows), strict=True))})
                for r in record.responses
            ),
        )
        for record in result.records
    )
    # The reader knows only what the files hold; the functions have filled that gap.
    warnings = tuple(w for w in result.warnings if "has no label or score" not in w)
    return replace(result, records=records, warnings=warnings)


def preflight(config: RunConfig) -> None:
    """Refuse what cannot end well before anything is read, trained or written.

    Raises:
        ConfigError: if replies could not be judged, a method's own replies could not be rewarded,
            there is no base, or a local one is not complete.
    """
    require_base(config)
    check_judges(config)
    _check_own_replies(config)
    _check_online(config)
    _base_notes(config)
    if _is_local(config):
        new_encoder(config, str(config.base.path))
    _check_quantization(config)
    check_scorers(config)


def check_judges(config: RunConfig) -> None:
    """Refuse a run whose replies nothing could reward, before anything is trained.

    Raises:
        ConfigError: naming every objective that is only a column.
    """
    columns = [n for n, r in reward_configs(config, "judges").items() if r.column]
    if columns and world_of(config) is None:
        raise ConfigError(
            f"rewards: {', '.join(columns)} is only a column of the records, which cannot reward "
            "new replies; expected evaluate.rewards with a function, a model, or trained: {}"
        )


def _check_own_replies(config: RunConfig) -> None:
    """Methods that draw replies and choose among them need rewards of new texts."""
    columns = [n for n, r in reward_configs(config, "rewards").items() if r.column]
    if not columns or world_of(config) is not None:
        return
    for method in config.methods:
        if _rewards_replies(config.build_method(method), config.tradeoffs_of(method)):
            n = len(config.objectives)
            learn = [name for name in method_names() if _learns_from_records(name, n)]
            # Records are not read yet: whether each response has a score is not known.
            any_gaps = [o for o in without_scores(has_pairs=True) if o.partition(" (")[0] in learn]
            scored = [name for name in learn if name not in any_gaps]
            raise ConfigError(
                f"methods: {method.name} rewards replies of its own, and {', '.join(columns)} is "
                f"only a column of the records; expected rewards.{columns[0]} with a function, a "
                f"model, or trained: {{}}, or a method content with these: {', '.join(any_gaps)}; "
                f"where every response has a score also: {', '.join(scored)}"
            )


def _check_online(config: RunConfig) -> None:
    from paretune.engines.lm.online import require_trl

    for method in config.methods:
        jobs = config.build_method(method).plan(len(config.objectives), config.tradeoffs_of(method))
        if any(job.online is not None for job in jobs):
            require_trl()


def _rewards_replies(method: Method, tradeoffs: Sequence[TradeOff]) -> bool:
    jobs = method.plan(len(tradeoffs[0]), tradeoffs)
    if any(isinstance(job.source, Replies) or job.online is not None for job in jobs):
        return True
    return any(method.steer(t, tradeoffs).candidates > 1 for t in tradeoffs)


def _learns_from_records(name: str, n_objectives: int) -> bool:
    try:
        return not _rewards_replies(build(name, {}), [TradeOff.even(n_objectives)])
    except ConfigError:  # not for so many objectives
        return False


def _check_quantization(config: RunConfig) -> None:
    import torch

    wanted = [t.lora for t in map(config.train_of, config.methods) if t.lora]
    if any(lora.quantize == "4bit" for lora in wanted) and not torch.cuda.is_available():
        raise ConfigError(
            "train.lora.quantize: found 4bit without a CUDA device, expected none, or a GPU"
        )


def _check_prompts(config: RunConfig, data: PreferenceData) -> None:
    if world_of(config) is not None:
        return
    if config.base.build:
        require_text(data.prompts)
    messages = [prompt for prompt in data.prompts if not isinstance(prompt, str)]
    if messages and _is_local(config):
        new_encoder(config, str(config.base.path)).prompt_text(messages[0])


def _sample_note(result: ReadResult) -> list[str]:
    """Whether everything was looked at."""
    if result.share == 1:
        return []
    return [
        f"every row was checked; what is said about prompts and responses comes from 1 of "
        f"{1 / result.share:.0f} prompts, drawn by their hash, to bound the memory"
    ]


def _cut_notes(config: RunConfig, data: PreferenceData) -> list[str]:
    """How many of the first prompts and responses are longer than the token limits.

    Raises:
        DataError: if some are and ``data.rules.too_long`` is ``error``.
    """
    if world_of(config) is not None or not _is_local(config):
        return []
    encoder = new_encoder(config, str(config.base.path))
    n_texts = bisect_right(list(accumulate(map(len, data.texts))), _TEXT) or 1
    n_prompts = int(data.prompt_of[n_texts - 1]) + 1
    found = encoder.encode(data.prompts[:n_prompts], data.texts[:n_texts], data.prompt_of[:n_texts])
    refuse_cuts(config, found)
    return [
        f"{n} of {'all' if whole else 'the first'} {total} {what}, to fit train.{limit}"
        for n, total, whole, what, limit in (
            (found.cut_prompts, n_prompts, n_prompts == data.n_prompts,
             "prompts lose their beginning", "max_prompt_tokens"),
            (found.cut_responses, n_texts, n_texts == len(data.texts),
             "responses lose their end", "max_response_tokens"),
        ) if n
    ]  # fmt: skip


def _check_jobs(config: RunConfig, data: PreferenceData) -> None:
    """Ask the jobs for their rows where rewards are known without running a scorer."""
    known = all(r.column for r in reward_configs(config, "rewards").values())
    if not (known or world_of(config)):
        return
    data = labelled(config, data, data.rewards)
    for method in config.methods:
        seed = config.train_of(method).seed + config.seed
        built, tradeoffs = config.build_method(method), config.tradeoffs_of(method)
        for job in built.plan(len(config.objectives), tradeoffs):
            check_job(f"{method.name}/{job.id}", job, data, seed, config.seed)


def _is_local(config: RunConfig) -> bool:
    return config.base.path is not None and Path(config.base.path).is_dir()


def _needs(config: RunConfig, data: PreferenceData) -> list[str]:
    rewards = reward_configs(config, "rewards")
    notes = []
    is_world = world_of(config) is not None
    unscored = [
        name
        for column, name in enumerate(config.objectives)
        if rewards[name].column and data.rewards.values.size
        and np.isnan(data.rewards.values[:, column]).any() and not is_world
    ]  # fmt: skip
    empty = [
        name
        for column, name in enumerate(config.objectives)
        if rewards[name].column and np.isnan(data.rewards.values[:, column]).all()
    ]
    if empty and not is_world:
        raise ConfigError(
            f"rewards: {', '.join(empty)} has no score in the records, expected some, or "
            f"rewards.{empty[0]} with a function, a model, or trained: {{}}"
        )
    require_scores(config, unscored, data.n_comparisons > 0)
    for method in config.methods:
        needs = config.build_method(method).needs
        notes.append(f"{method.name} learns from {' and '.join(needs) or 'the responses'}")
    return notes


def _base_notes(config: RunConfig) -> list[str]:
    path = config.base.path
    if path is None:
        return ["the base is built and trained from nothing"]
    folder = Path(path)
    if not folder.is_dir():
        return [
            f"base {path}: not a local folder, taken as a hub id (needs the network or a cache)"
        ]
    missing = [
        what
        for what, names in {
            "config.json": ["config.json"],
            "a tokenizer": ["tokenizer.json", "tokenizer_config.json", "tokenizer.model"],
            "weights in safetensors": ["model.safetensors", "model.safetensors.index.json"],
        }.items()
        if not any((folder / name).exists() for name in names)
    ]
    if missing:
        raise ConfigError(
            f"base.path: {path} lacks {' and '.join(missing)}, expected a model folder "
            "saved by save_pretrained, with its tokenizer"
        )
    size = sum(f.stat().st_size for f in folder.glob("*.safetensors"))
    return [f"base {path}: {size / 2**30:.2f} GiB of weights; a full fine-tune holds about 4x that"]
