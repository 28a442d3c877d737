"""What a source and the rules refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from paretune.core.description import identity
from paretune.data.sources import DataSource, RowRules
from paretune.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"path": ""}, "path: found an empty text"),
        ({"path": "x", "format": "pair"}, "'pair' .did you mean 'pairs'"),
        ({"path": "x", "turns": "turns"}, "turns: unknown value"),
        ({"path": "x", "limit": 0}, "limit: found 0"),
        ({"path": "x", "format": "hh_rlhf"}, "objective: found none"),
        ({"path": "x", "objective": "a", "labels": {"a": "b"}}, "one of the two"),
    ],
)
def test_sources_are_checked(values, message):
    with pytest.raises(ConfigError, match=message):
        DataSource(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"empty": "keep"},
        {"identical": "drop"},
        {"ties": ""},
        {"repeated": None},
        {"too_long": "keep"},
        {"prompt_chars": 0},
        {"response_chars": -1},
    ],
)
def test_rules_are_checked(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        RowRules(**values)


def test_a_source_has_an_identity():
    one = DataSource(Path("a.jsonl"), labels={"x": "1", "y": "2"})
    same = DataSource("a.jsonl", labels={"y": "2", "x": "1"})
    assert identity(one) == identity(same)
    assert identity(one) != identity(DataSource("a.jsonl", labels={"x": "1"}))
