"""Labels that are made from rewards: which way, or by how much."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from paretune.core.record import Comparison, PreferenceData, Record, Response
from paretune.errors import ConfigError
from paretune.pipeline.config import parse_config
from paretune.pipeline.records import labelled

RECORDS = [
    Record("q", (Response("a", {"good": 6.0, "short": 1.0}), Response("b", {"good": 1.0})),
           (Comparison(0, 1, {"short": -0.25}),)),
    Record("r", (Response("c", {"good": 3.0}), Response("d", {"good": 4.0})),
           (Comparison(0, 1, {"good": 1.0}),)),
]  # fmt: skip


def labels(**options: Any) -> np.ndarray[Any, Any]:
    config = parse_config({
        "name": "run", "objectives": ["good", "short"], "methods": [{"method": "sft"}],
        "data": {"path": "records.jsonl", **options},
    })  # fmt: skip
    data = PreferenceData.from_records(RECORDS, ("good", "short"))
    return labelled(config, data, data.rewards).labels


def test_a_given_label_stays_and_a_missing_one_is_the_sign_of_the_margin() -> None:
    np.testing.assert_array_equal(labels(), [[1.0, -0.25], [1.0, np.nan]])


def test_graded_labels_tell_by_how_much() -> None:
    # Margins 5 and -1: the 90th percentile of their sizes is 4.6. One response has no length.
    found = labels(graded_labels=True)
    np.testing.assert_allclose(found, [[1.0, -0.25], [-1 / 4.6, np.nan]])


def test_a_judge_and_rewards_cannot_both_make_the_labels() -> None:
    judge = {"base_url": "http://localhost:1/v1", "model": "m"}
    with pytest.raises(ConfigError, match="found judge and graded_labels, expected one"):
        labels(graded_labels=True, judge=judge)
