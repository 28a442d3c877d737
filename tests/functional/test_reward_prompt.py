from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.description import describe
from paretune.core.rewards import Normalizer
from paretune.errors import InputError, NotScoredError
from paretune.functional.desired_rewards import gauss_range
from paretune.functional.draws import hash_keys
from paretune.functional.reward_prompt import (
    ask_goal,
    ask_tradeoff,
    read_rewards,
    tell_rewards,
    write_rewards,
)

MARKERS = ("", "\n\nAssistant:", "### Response:", " ")
NORMALIZER = Normalizer((1.0, 0.0), (2.0, 0.5), (-9.0, -9.0), (9.0, 9.0), 5, (-3.0, -1.0), (5.0, 1))
"""Ranges of z-scores: -2 to 2 for both objectives."""


class TestWriting:
    def test_by_hand(self) -> None:
        text = write_rewards("\n\nHuman: Why?\n\nAssistant:", (0.7, -1.24), "\n\nAssistant:")
        assert text == "\n\nHuman: Why? <rm1_score> 0.7 <rm2_score> -1.2\n\nAssistant:"

    def test_no_negative_zero(self) -> None:
        assert write_rewards("x", (-0.04, -0.0)) == "x <rm1_score> 0.0 <rm2_score> 0.0"

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_a_missing_reward_is_refused(self, bad: float) -> None:
        with pytest.raises(NotScoredError, match="prompt 'Why': found rewards"):
            write_rewards("Why", (1.0, bad))


class TestRoundTrip:
    @given(
        st.text(max_size=20),
        st.text(alphabet="### Response:\n Assistant", max_size=12),
        st.lists(st.integers(-99, 99), min_size=1, max_size=4),
        st.sampled_from(MARKERS),
        st.booleans(),
    )
    def test_prompt_and_rewards_come_back(
        self, start: str, end: str, tenths: list[int], marker: str, is_marked: bool
    ) -> None:
        """Whatever characters of a response marker the prompt ends in."""
        prompt = start + end + (marker if is_marked else "")
        scores = tuple(n / 10 for n in tenths)
        assert read_rewards(write_rewards(prompt, scores, marker), marker) == (prompt, scores)

    @pytest.mark.parametrize("prompt", ["what to do here", ", no one", "Response", "### Response:"])
    def test_letters_of_the_marker_stay(self, prompt: str) -> None:
        text = write_rewards(prompt + "\n### Response:", (1.0,), "\n### Response:")
        assert text == f"{prompt} <rm1_score> 1.0\n### Response:"
        assert read_rewards(text, "\n### Response:")[0] == prompt + "\n### Response:"

    def test_a_prompt_about_tags(self) -> None:
        prompt = "what is <rm1_score> 0.5 <rm2_score> 0.1"
        assert read_rewards(write_rewards(prompt, (0.3,))) == (prompt, (0.3,))

    @pytest.mark.parametrize(
        "text",
        [
            "no tag",
            "x <rm1_score> high",
            "x <rm1_score> 0.5 y",
            "x <rm1_score> 0.5 <rm3_score> 0.1",
        ],
    )
    def test_unreadable(self, text: str) -> None:
        with pytest.raises(InputError, match=r"prompt: found .* expected <rm1_score>"):
            read_rewards(text)


class TestConditions:
    def test_tell(self) -> None:
        # (3 - 1) / 2 and (-4 - 0) / 0.5.
        told = partial(tell_rewards, "x", np.array([3.0, -4.0]), NORMALIZER)
        assert told() == "x <rm1_score> 1.0 <rm2_score> -8.0"
        assert told(limit=4.4) == "x <rm1_score> 1.0 <rm2_score> -4.4"
        with pytest.raises(NotScoredError):
            tell_rewards("x", np.array([3.0, np.nan]), NORMALIZER)

    def test_ask_for_a_tradeoff(self) -> None:
        # Shares .394 and .919 of -2 to 2.
        asked = ask_tradeoff("x", NORMALIZER, weights=(0.3, 0.7))
        assert asked == "x <rm1_score> -0.4 <rm2_score> 1.7"
        asked = ask_tradeoff("x", NORMALIZER, weights=(0.3, 0.7), rule="linf")
        assert asked == "x <rm1_score> 0.4 <rm2_score> 2.0"
        asked = ask_tradeoff("x", NORMALIZER, weights=(1, 0), range_from="gauss")
        low, high = gauss_range()
        assert asked == f"x <rm1_score> {high:.1f} <rm2_score> {low:.1f}"

    def test_ask_for_a_goal(self) -> None:
        keys = hash_keys(0, 1, np.arange(200))
        goals = np.array([read_rewards(ask_goal("x", k, NORMALIZER))[1] for k in keys])
        assert goals.min() < -1 and (goals.max(axis=1) == 2).all()
        assert len({tuple(goal) for goal in goals}) > 50
        assert ask_goal("x", keys[0], NORMALIZER, limit=1.0).count("1.0") >= 1

    def test_can_be_described(self) -> None:
        condition = partial(ask_tradeoff, weights=(0.3, 0.7), limit=4.4)
        assert describe(condition)["call"].endswith("reward_prompt.ask_tradeoff")
