from __future__ import annotations

import math

import numpy as np
import pytest

from paretune.core.objective import Objectives
from paretune.core.record import (
    Comparison,
    Message,
    PreferenceData,
    Record,
    Response,
    prompt_json,
    prompt_key,
)
from paretune.core.rewards import RewardMatrix
from paretune.errors import ShapeError

CHAT = (Message("user", "hi"), Message("assistant", "hello"), Message("user", "bye"))


@pytest.fixture
def data() -> PreferenceData:
    records = [
        Record(
            "q1",
            (Response("good", {"a": 1.0, "b": 0.25}), Response("bad", {"a": 0.5})),
            (Comparison(0, 1, {"a": 1.0}),),
        ),
        Record(CHAT, (Response("x"),)),
        Record(
            "q1",
            (Response("other", {"b": 2.0}), Response("good", {"a": 0.0, "b": 1.0})),
            (Comparison(1, 0, {"b": -1.0, "a": 0.0}),),
        ),
    ]
    return PreferenceData.from_records(records, ["a", "b"])


def test_equal_prompts_are_joined(data: PreferenceData) -> None:
    assert data.prompts == ("q1", CHAT) and data.n_prompts == 2
    assert data.texts == ("good", "bad", "x", "other", "good")
    np.testing.assert_array_equal(data.prompt_of, [0, 0, 1, 0, 0])


def test_comparisons_point_at_their_own_record(data: PreferenceData) -> None:
    np.testing.assert_array_equal(data.first, [0, 4])
    np.testing.assert_array_equal(data.second, [1, 3])
    np.testing.assert_array_equal(data.labels, [[1.0, math.nan], [0.0, -1.0]])
    assert data.n_comparisons == 2


def test_missing_scores_are_nan(data: PreferenceData) -> None:
    expected = [[1, 0.25], [0.5, math.nan], [math.nan, math.nan], [math.nan, 2], [0, 1]]
    np.testing.assert_array_equal(data.rewards.values, expected)
    np.testing.assert_array_equal(data.margins, [[0.5, math.nan], [math.nan, -1.0]])


def test_other_rewards_keep_the_labels_of_their_objectives(data: PreferenceData) -> None:
    other = data.with_rewards(RewardMatrix(Objectives.of("c", "a"), np.zeros((5, 2))))
    np.testing.assert_array_equal(other.labels, [[math.nan, 1.0], [math.nan, 0.0]])
    assert other.rewards.objectives.names == ("c", "a")
    assert data.rewards.objectives.names == ("a", "b")


def test_no_comparison_is_fine() -> None:
    data = PreferenceData.from_records([Record("q", (Response("r"),))], ["a", "b"])
    assert data.labels.shape == (0, 2) and data.margins.shape == (0, 2)


@pytest.mark.parametrize("column", ["prompt_of", "second", "labels", "multiplicity"])
def test_columns_must_fit(data: PreferenceData, column: str) -> None:
    import dataclasses

    with pytest.raises(ShapeError, match=f"{column}: found shape"):
        dataclasses.replace(data, **{column: np.zeros(7)})


def test_prompt_key_tells_prompts_apart() -> None:
    keys = {prompt_key(p) for p in ("a", "a ", (Message("user", "a"),), (Message("system", "a"),))}
    assert len(keys) == 4
    assert prompt_key("a") == prompt_key("a") and len(prompt_key("a")) == 16
    assert prompt_json(CHAT[:1]) == [{"role": "user", "content": "hi"}]


def test_prompt_key_takes_any_text() -> None:
    assert prompt_key("\ud800") != prompt_key("\ud801")
