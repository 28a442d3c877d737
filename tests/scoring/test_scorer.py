from __future__ import annotations

import numpy as np
import pytest

from paretune.errors import InputError, NotScoredError, ScoringError
from paretune.scoring.scorer import CallableScorer, checked_rewards


def test_checked_rewards_gives_float64():
    rewards = checked_rewards("r", np.array([1, 2], dtype=np.int8), n=2)
    assert rewards.dtype == np.float64
    assert rewards.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_named(bad):
    with pytest.raises(ScoringError, match=r"^r, row 2: found -?(nan|inf), expected a finite"):
        checked_rewards("r", [0.0, 1.0, bad], n=3)


@pytest.mark.parametrize(
    "values", [[1.0], [[1.0], [2.0]], 3.0, ["1", "2"], "12", [1.0, [2.0]], [1.0, "x"], {"a": 1}]
)
def test_what_is_not_n_numbers_is_refused(values):
    with pytest.raises(ScoringError, match="expected"):
        checked_rewards("r", values, n=2)


def test_a_missing_value_is_not_scored_as_anything():
    with pytest.raises(ScoringError, match="row 1: found nan"):
        checked_rewards("r", [1.0, None], n=2)


def test_callable_scorer_passes_prompts_as_they_are():
    seen = []
    scorer = CallableScorer("len", "v1", lambda ps, rs: seen.append(ps) or [len(r) for r in rs])
    assert scorer.score(["p", "q"], ["abc", ""]).tolist() == [3.0, 0.0]
    assert seen == [["p", "q"]]
    assert scorer.identity == "v1"
    assert scorer.notes(["p"], ["r"]) == ()


def test_callable_scorer_keeps_the_cause_and_passes_our_errors():
    with pytest.raises(InputError, match=r"^boom: ZeroDivisionError") as caught:
        CallableScorer("boom", "v", lambda ps, rs: 1 / 0).score(["p"], ["r"])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)

    def unscored(prompts, responses):
        raise NotScoredError("no")

    with pytest.raises(NotScoredError):
        CallableScorer("ours", "v", unscored).score(["p"], ["r"])
