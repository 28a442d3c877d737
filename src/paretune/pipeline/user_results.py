"""Answers for users on disk to what personalization is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from paretune.core.job import Shown
from paretune.core.personalization import CellResult, Opponent, PersonalizationResult
from paretune.core.tradeoff import TradeOff
from paretune.core.user import User
from paretune.evaluation.box import Box
from paretune.evaluation.personalization import (
    PairScores,
    UserReplies,
    four_cells,
    measure_personalization,
)
from paretune.pipeline.config import RunConfig
from paretune.pipeline.personal import (
    PAIRS,
    POLICY,
    USER_REPLIES,
    UserTask,
    read_pairs,
    read_user_replies,
)
from paretune.pipeline.user_questions import CELLS, OTHER, OWN, SHOTS, with_shots
from paretune.reporting.wording import several

_OPPONENTS: tuple[Opponent, ...] = ("reference", "zero-shot", "described")


def user_result(config: RunConfig, box: Box, task: UserTask) -> PersonalizationResult:
    """What personalization is worth to the users of a finished task.

    Args:
        config: of the run.
        box: the run's frame, in which users rate replies.
        task: that is done.

    Raises:
        InputError: if fewer than two users could be asked.
    """
    source, shots = task.job.source, task.shots
    assert isinstance(source, Shown)
    columns = read_pairs(task.sealed.path / PAIRS)
    users = [
        User(f"new-{row}", TradeOff(tuple(weights)), source.utility, "test")
        for row, weights in enumerate(columns["user_weights"].tolist())
    ]
    own = _scores(columns, OWN)
    served = shots.n_shots[1]
    by_shots = {
        n: own if n == served else _scores(columns, with_shots(n))
        for n in (*SHOTS, served)
        if n == served or f"{with_shots(n)}_margins" in columns
    }
    replies = read_user_replies(task.sealed.path / USER_REPLIES, config.objectives)
    rated = {
        by: UserReplies(rows["user_of"], box.unit(rows["rewards"])) for by, rows in replies.items()
    }
    n_replies = len(rated[POLICY].user_of)
    is_a_token = bool(getattr(task.job.step_loss, "is_length_normalized", False))
    return measure_personalization(
        task.method,
        config.objectives,
        users,
        own,
        other=_scores(columns, OTHER),
        by_shots=by_shots,
        cells=_cells(columns, config.seed),
        replies=rated[POLICY],
        opponents={by: rated[by] for by in _OPPONENTS if by in rated},
        notes=_notes(task, columns),
        facts={
            "shots served": str(served),
            "pairs asked": f"{len(own.user_of):,}",
            "margins": "log-ratios a token" if is_a_token else "log-ratios, summed",
            "replies": several(n_replies, "reply", "replies"),
            "utility of users": source.utility,
            "training users": f"{source.users:,}",
        },
        seed=config.seed,
    )


def _scores(columns: dict[str, npt.NDArray[Any]], name: str) -> PairScores:
    """The pairs of a condition in the rows of ``own``; NaN where only ``own`` could be asked."""
    order = {int(row): at for at, row in enumerate(columns[f"{OWN}_example_of"])}
    margins = np.full(len(order), np.nan)
    for row, margin in zip(
        columns[f"{name}_example_of"].tolist(), columns[f"{name}_margins"], strict=True
    ):
        if row in order:
            margins[order[row]] = margin
    return PairScores(columns[f"{OWN}_user_of"], margins)


def _cells(columns: dict[str, npt.NDArray[Any]], seed: int) -> tuple[CellResult, ...]:
    kinds = {OWN: (True, True), **CELLS}
    user_of = np.concatenate([columns[f"{name}_user_of"] for name in kinds])
    margins = np.concatenate([columns[f"{name}_margins"] for name in kinds])
    sizes = [len(columns[f"{name}_margins"]) for name in kinds]
    is_new = np.repeat(np.array(list(kinds.values()), dtype=np.bool_), sizes, axis=0)
    return four_cells(PairScores(user_of, margins), is_new[:, 0], is_new[:, 1], seed)


def _notes(task: UserTask, columns: dict[str, npt.NDArray[Any]]) -> list[str]:
    notes = []
    fewer = []
    for n in sorted({*SHOTS, task.shots.n_shots[1]}):
        name = OWN if n == task.shots.n_shots[1] else with_shots(n)
        mean = float(columns[f"{name}_n_shots"].mean())
        if mean < 0.95 * n:
            fewer.append(f"{mean:.1f} of {n}")
    if fewer:
        notes.append(
            f"{task.method}: prompts hold fewer pairs than asked for, on average "
            f"{', '.join(fewer)}: the rest did not fit (max_prompt_tokens), or a user has no more."
        )
    n_texts, n_told_apart = (task.sealed.manifest or {})["facts"].get("descriptions", (0, 0))
    if task.shots.description != "none" and n_told_apart < n_texts:
        notes.append(
            f"{task.method}: the tokenizer lacks words of the descriptions of users, so that "
            f"{n_texts} of them read as {n_told_apart}."
        )
    if task.shots.description != "given":
        notes.append(
            f"{task.method}: no reply was drawn from a description alone, for the policy was not "
            "trained to read any (description: given)."
        )
    return notes
