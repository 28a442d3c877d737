"""Weights of the user behind a comparison: read, refused, written, and trained with."""

from __future__ import annotations

import numpy as np
import pytest

from paretune.core.record import PreferenceData
from paretune.data.jsonl import write_records
from paretune.data.reader import read_records
from paretune.data.sources import DataSource
from paretune.errors import DataError


def test_weights_are_scaled_to_a_tradeoff(write, pair, objectives):
    path = write("a.jsonl", pair(weights={"helpful": 3, "harmless": 1}), pair(prompt="again"))
    records = read_records(DataSource(path), objectives).records
    assert records[0].comparisons[0].weights == {"helpful": 0.75, "harmless": 0.25}
    data = PreferenceData.from_records(records, objectives.names)
    assert data.weights is not None
    np.testing.assert_array_equal(data.weights, [[0.75, 0.25], [np.nan, np.nan]])


def test_an_objective_that_is_not_named_weighs_nothing(write, pair, objectives):
    path = write("a.jsonl", pair(weights={"harmless": 0.5}))
    data = PreferenceData.from_records(
        read_records(DataSource(path), objectives).records, objectives.names
    )
    np.testing.assert_array_equal(data.weights, [[0.0, 1.0]])


def test_without_any_nobody_is_behind_the_data(write, pair, objectives):
    records = read_records(DataSource(write("a.jsonl", pair())), objectives).records
    assert PreferenceData.from_records(records, objectives.names).weights is None


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"helpful": -1, "harmless": 2}, r"weights\.helpful: .*found -1, expected a number >= 0"),
        ({"helpful": 0, "harmless": 0}, "weights: .*found a sum of 0, expected a weight above 0"),
        ({"helpful": float("nan")}, r"weights\.helpful: not finite"),
        ([1, 2], "weights: not an object, found a list, expected an object"),
    ],
)
def test_bad_weights_are_reported_with_their_line(write, pair, objectives, weights, message):
    path = write("a.jsonl", pair(), pair(weights=weights))
    with pytest.raises(DataError, match=rf"a\.jsonl:2: {message}"):
        read_records(DataSource(path), objectives)


def test_they_survive_a_round_trip(write, pair, objectives, tmp_path):
    path = write("a.jsonl", pair(weights={"helpful": 1, "harmless": 3}))
    records = read_records(DataSource(path), objectives).records
    write_records(tmp_path / "b.jsonl", records)
    again = read_records(DataSource(str(tmp_path / "b.jsonl")), objectives).records
    assert again == records
