"""Resampled prompts."""

import numpy as np
import pytest

from paretune.errors import InputError
from paretune.evaluation.resample import interval, means_over_replies
from paretune.functional.statistics import resample_prompts


def test_replies_of_a_prompt_stay_together() -> None:
    """Prompt 0 has replies 0 and 2, prompt 1 has reply 10: only these means are possible."""
    draws = resample_prompts(2, 200, np.random.default_rng(0))
    means = means_over_replies(np.array([[0.0], [2.0], [10.0]]), np.array([0, 0, 1]), draws)
    # both twice prompt 0: (0+2+0+2)/4; one of each: (0+2+10)/3; twice prompt 1: 10
    assert sorted({round(float(m), 9) for m in means[:, 0]}) == [1.0, 4.0, 10.0]


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(size=(900, 1))
    draws = resample_prompts(900, 4000, np.random.default_rng(2))
    found = interval(values.mean(), means_over_replies(values, np.arange(900), draws)[:, 0])
    half = 1.96 * values.std() / 30
    assert found.high - found.low == pytest.approx(2 * half, rel=0.08)
    assert (found.high + found.low) / 2 == pytest.approx(values.mean(), abs=0.1 * half)


def test_copying_every_reply_does_not_shrink_the_interval() -> None:
    rng = np.random.default_rng(3)
    values, prompt_of = rng.normal(size=(50, 1)), np.arange(50)
    draws = resample_prompts(50, 300, rng)
    once = means_over_replies(values, prompt_of, draws)
    thrice = means_over_replies(np.repeat(values, 3, axis=0), np.repeat(prompt_of, 3), draws)
    np.testing.assert_allclose(once, thrice)


def test_the_interval_holds_the_estimate() -> None:
    assert interval(5.0, np.zeros(10)).high == 5.0
    assert interval(-5.0, np.zeros(10)).low == -5.0


def test_a_prompt_without_a_reply_is_an_error() -> None:
    draws = resample_prompts(3, 5, np.random.default_rng(0))
    with pytest.raises(InputError, match="prompt 1 has no reply"):
        means_over_replies(np.zeros((2, 1)), np.array([0, 2]), draws)
    with pytest.raises(InputError, match="expected 0 to 2"):
        means_over_replies(np.zeros((2, 1)), np.array([0, 3]), draws)
