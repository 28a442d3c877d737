"""Floors on held-out prompts, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from paretune.core.results import ConstraintResult, Interval
from paretune.evaluation.constraints import measure_constraints, preferred_to
from paretune.evaluation.replies import Constraint, ReplyTable
from paretune.functional.statistics import resample_prompts


def table(rewards: list[list[float]], prompt_of: list[int]) -> ReplyTable:
    texts = [f"reply {i}" for i in range(len(rewards))]
    return ReplyTable(np.asarray(prompt_of), texts, np.asarray(rewards, dtype=np.float64))


MINE = table([[1.0, 5.0], [3.0, 5.0], [2.0, 0.0]], [0, 1, 1])
THEIRS = table([[2.0, 5.0], [0.0, 4.0], [2.0, 1.0]], [1, 0, 1])


def test_preference_is_over_replies_to_the_same_prompt() -> None:
    # Prompt 0: 1 beats 0. Prompt 1, against 2 and 2: 3 beats both, 2 ties with both.
    assert preferred_to(MINE, THEIRS, 0).tolist() == [1.0, 1.0, 0.5]
    # Second objective, prompt 1 against 5 and 1: 5 ties and wins, 0 loses twice.
    assert preferred_to(MINE, THEIRS, 1).tolist() == [1.0, 0.75, 0.0]


def test_soft_labels_are_logistic() -> None:
    assert preferred_to(MINE, THEIRS, 0, slope=2.0)[0] == pytest.approx(1 / (1 + np.exp(-2.0)))


def test_constraints_with_intervals() -> None:
    draws = resample_prompts(2, 100, np.random.default_rng(0))
    asked = (
        Constraint(0, "preference", None), Constraint(1, "preference", 0.6),
        Constraint(1, "reward", 3.0),
    )  # fmt: skip
    best, kept, reward = measure_constraints(asked, MINE, THEIRS, ("a", "b"), draws)
    assert (best.objective, best.floor, best.found.value) == ("a", None, pytest.approx(2.5 / 3))
    assert kept.found.value == pytest.approx(1.75 / 3)
    assert reward.found.value == pytest.approx(10 / 3)
    # Resampled prompts: only prompt 0 (1.0), only prompt 1 (.375), or both.
    assert (kept.found.low, kept.found.high) == (pytest.approx(0.375), pytest.approx(1.0))
    assert [c.verdict for c in (best, kept, reward)] == [
        "maximized", "met within the interval", "met"
    ]  # fmt: skip


def test_a_floor_above_the_interval_is_missed() -> None:
    found = ConstraintResult("a", "reward", 0.9, Interval(0.5, 0.4, 0.6))
    assert found.verdict == "missed"
