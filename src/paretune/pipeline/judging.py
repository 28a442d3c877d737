"""Comparisons labelled by a language model, between reading the records and writing stage 1.

The answers live in the run folder, beside the stages: a run that is killed asks nothing twice.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from paretune.core.record import Comparison, PreferenceData, Record
from paretune.errors import RunError
from paretune.functional.agreement import Agreement, label_agreement
from paretune.functional.pairing import comparisons_from_scores, label_from_rewards
from paretune.pipeline.config import RunConfig
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.judge_config import JudgeConfig
from paretune.pipeline.rewards import function_scorers, reward_configs, scorers
from paretune.pipeline.worlds import world_of
from paretune.scoring.judge import Judged, Pair, count_questions, judge_comparisons
from paretune.scoring.judge_cache import AnswerCache
from paretune.scoring.judge_client import Endpoint
from paretune.scoring.score import score_responses

Floats = npt.NDArray[np.float64]
Say = Callable[[str], None]
Step = Callable[[str, int, int], None]


@final
@dataclass(frozen=True)
class Labelled:
    """Records with the labels of a judge.

    Args:
        records: those that were given, in their order.
        facts: what asking came to, for the manifest.
        digest: sixteen hex digits of the labels.
    """

    records: list[Record]
    facts: dict[str, Any]
    digest: str


@final
@dataclass(frozen=True)
class _Comparisons:
    """Every comparison of the records, as columns.

    Args:
        records: with comparisons, made where there were none.
        pairs: P texts to compare.
        labels: ``(P, M)`` that the records hold.
        margins: ``(P, M)`` of the rewards that are known, NaN elsewhere.
        wanted: ``(P, M)`` which labels to ask for.
    """

    records: list[Record]
    pairs: list[Pair]
    labels: Floats
    margins: Floats
    wanted: npt.NDArray[np.bool_]


def judge_endpoint(judge: JudgeConfig) -> Endpoint:
    """Where the judge is asked, with its key.

    Raises:
        ConfigError: if the environment does not hold the key.
    """
    return Endpoint.from_environment(judge.base_url, judge.key_env, judge.timeout)


def judge_records(
    config: RunConfig, run: RunFolder, records: Sequence[Record], say: Say, step: Step
) -> Labelled:
    """Ask the judge of a run for every label that is missing.

    Raises:
        ConfigError: if the environment does not hold the key.
        RunError: if nobody answers; what was answered is kept.
    """
    judge = config.data.judge
    assert judge is not None
    endpoint, cache = judge_endpoint(judge), _cache(run)
    compared = _compared(config, records, judge, run.path / ".cache")
    say(f"judge: {_told(_count(config, compared, judge, cache), judge)}")
    judged = judge_comparisons(
        judge.form, config.axes, compared.pairs, endpoint.ask, wanted=compared.wanted, cache=cache,
        limits=judge.limits, progress=lambda done, total: step("judge", done, total),
    )  # fmt: skip
    say(f"judge: {_account(judged)}")
    if judged.account.problem:
        _ended_early(judged, judge, endpoint, cache, run, say)
    agreement = _agreements(config, compared, judged)
    for line in _in_words(agreement):
        say(f"judge: {line}")
    return Labelled(
        _with_labels(compared, config.objectives, judged.labels),
        _facts(judged, agreement),
        hashlib.sha256(judged.labels.tobytes()).hexdigest()[:16],
    )


def foretell(config: RunConfig, run: RunFolder, records: Sequence[Record]) -> str:
    """What the judge of a run would be asked; sends nothing and needs no key."""
    judge = config.data.judge
    assert judge is not None
    compared = _compared(config, records, judge, None)
    return _told(_count(config, compared, judge, _cache(run)), judge)


def _cache(run: RunFolder) -> AnswerCache:
    return AnswerCache(run.path / ".cache" / "judge.jsonl")


def _compared(
    config: RunConfig, records: Sequence[Record], judge: JudgeConfig, cache_dir: Path | None
) -> _Comparisons:
    data = PreferenceData.from_records(records, config.objectives)
    rewards = _known_rewards(config, data, cache_dir)
    if not data.n_comparisons:
        records = _paired(config, records, rewards)
        data = PreferenceData.from_records(records, config.objectives)
    rows = zip(data.first, data.second, strict=True)
    pairs = [(data.prompts[data.prompt_of[a]], data.texts[a], data.texts[b]) for a, b in rows]
    wanted = np.zeros(data.labels.shape, dtype=np.bool_)
    columns = judge.judged(config.axes)
    wanted[:, columns] = judge.overwrite | np.isnan(data.labels[:, columns])
    margins = rewards[data.first] - rewards[data.second]
    return _Comparisons(list(records), pairs, data.labels, margins, wanted)


def _known_rewards(config: RunConfig, data: PreferenceData, cache_dir: Path | None) -> Floats:
    """``(N, M)`` scores of the records, of the world and of functions; models are not run."""
    if world_of(config) is not None:
        # A world's scorers need no folder; its records come without scores.
        made, values = scorers(config, RunFolder(Path()), "rewards"), data.rewards.values.copy()
    else:
        made, rewards = function_scorers(config), reward_configs(config, "rewards")
        values = np.full(data.rewards.values.shape, np.nan)
        for column, reward in enumerate(rewards.values()):
            if reward.column:
                values[:, column] = data.rewards.column(reward.column)
    prompts = [data.prompts[row] for row in data.prompt_of]
    for name, scorer in made.items():
        found = score_responses(prompts, data.texts, {name: scorer}, cache_dir)
        values[:, config.axes.index(name)] = found[:, 0]
    return values


def _paired(config: RunConfig, records: Sequence[Record], rewards: Floats) -> list[Record]:
    """Records without comparisons, compared: by their rewards, or at random where none is known."""
    sizes = [len(record.responses) for record in records]
    record_of, starts = np.repeat(np.arange(len(sizes)), sizes), np.cumsum([0, *sizes])
    per_prompt = config.data.pairs_per_prompt
    if np.isnan(rewards).all():
        # One number a text: any two different responses of a prompt may be compared.
        numbers: dict[str, int] = {}
        texts = (response.text for record in records for response in record.responses)
        codes = [numbers.setdefault(text, len(numbers)) for text in texts]
        rewards = np.array(codes, dtype=np.float64)[:, None]
        per_prompt = per_prompt or 1
    first, second = comparisons_from_scores(rewards, record_of, per_prompt, config.seed)
    made: list[list[Comparison]] = [[] for _ in records]
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        n = int(record_of[a])
        made[n].append(Comparison(a - int(starts[n]), b - int(starts[n]), {}))
    return [replace(r, comparisons=tuple(c)) for r, c in zip(records, made, strict=True)]


def _with_labels(compared: _Comparisons, objectives: Sequence[str], labels: Floats) -> list[Record]:
    """A judged label takes the place of what was there; a missing one takes nothing away."""
    rows = iter(labels.tolist())
    records = []
    for record in compared.records:
        comparisons = []
        for comparison in record.comparisons:
            named = zip(objectives, next(rows), strict=True)
            judged = {name: label for name, label in named if not math.isnan(label)}
            comparisons.append(replace(comparison, labels={**comparison.labels, **judged}))
        records.append(replace(record, comparisons=tuple(comparisons)))
    return records


def _agreements(
    config: RunConfig, compared: _Comparisons, judged: Judged
) -> dict[str, dict[str, Agreement]]:
    """Agreement with rewards and with the labels that were replaced, where they overlap."""
    others = {"rewards": label_from_rewards(compared.margins), "old labels": compared.labels}
    found: dict[str, dict[str, Agreement]] = {}
    for what, labels in others.items():
        rows = zip(config.objectives, label_agreement(judged.labels, labels), strict=True)
        if overlap := {name: agreement for name, agreement in rows if agreement.n}:
            found[what] = overlap
    return found


def _ended_early(
    judged: Judged, judge: JudgeConfig, endpoint: Endpoint, cache: AnswerCache, run: RunFolder,
    say: Say,
) -> None:  # fmt: skip
    account = judged.account
    problem = f"data.judge: {endpoint.url}: {account.problem}"
    if account.ended != "budget" and judge.when_down == "stop":
        raise RunError(
            f"{problem}; {len(cache):,} answers are kept, {account.failed + account.unasked:,} are "
            "missing: type the same command again to go on, or give data.judge.when_down: go_on to "
            "do without them"
        )
    say(
        f"{problem}; {judged.null:,} labels are missing; to ask for them later, remove the "
        f"numbered folders of {run.path}: answers are kept"
    )


def _count(
    config: RunConfig, compared: _Comparisons, judge: JudgeConfig, cache: AnswerCache
) -> tuple[int, int, int]:
    """Labels wanted, questions for them, questions that are answered."""
    counts = count_questions(judge.form, config.axes, compared.pairs, cache, compared.wanted)
    return int(compared.wanted.sum()), *counts


def _told(counts: tuple[int, int, int], judge: JudgeConfig) -> str:
    labels, questions, answered = counts
    if not labels:
        return "every comparison has its labels, nothing to ask"
    known = f", {answered:,} of them answered before" if answered else ""
    cap = f" (at most {judge.max_requests:,} in all)" if judge.max_requests else ""
    return (
        f"{labels:,} labels need {questions:,} questions{known}: {questions - answered:,} requests"
        f"{cap} to {judge.model} at {judge.base_url}"
    )


def _account(judged: Judged) -> str:
    account = judged.account
    why = "".join(f", {times:,} x {reason}" for reason, times in account.reasons.items())
    return (
        f"{account.asked:,} asked, {account.cached:,} from cache, {account.retried:,} retried, "
        f"{account.failed:,} failed, {account.unasked:,} not asked; {judged.null:,} of "
        f"{judged.wanted:,} labels are null{why}"
    )


def _facts(judged: Judged, agreement: dict[str, dict[str, Agreement]]) -> dict[str, Any]:
    account = judged.account
    names = ("questions", "cached", "asked", "retried", "failed", "unasked", "ended", "problem")
    return {
        **{name: getattr(account, name) for name in names},
        "reasons": dict(account.reasons),
        "labels": judged.wanted - judged.null,
        "null": judged.null,
        "agreement": {
            what: {
                name: {
                    "n": a.n, "same": a.same, "opposite": a.opposite,
                    "tau": None if math.isnan(a.tau) else round(a.tau, 6),
                }
                for name, a in rows.items()
            }
            for what, rows in agreement.items()
        },
    }  # fmt: skip


def _in_words(agreement: dict[str, dict[str, Agreement]]) -> list[str]:
    return [
        f"agreement with {what} on {name}: Kendall's tau {a.tau:.2f} over {a.n:,} comparisons "
        f"({a.same:,} alike, {a.opposite:,} opposite)"
        for what, rows in agreement.items()
        for name, a in rows.items()
    ]
