"""The examples of the reference page are read as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from paretune.data.formats import SHAPES, detect
from paretune.data.reader import read_records
from paretune.data.sources import DataSource

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "data.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_every_json_example_is_read(page, write, objectives):
    examples = []
    for block in re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL):
        rest = block.strip()
        while rest:
            row, end = json.JSONDecoder().raw_decode(rest)
            examples.append(row)
            rest = rest[end:].strip()
    assert [detect(row).name for row in examples] == ["records", "pairs", "responses", "responses"]
    for i, row in enumerate(examples):
        result = read_records(DataSource(write(f"{i}.jsonl", row)), objectives)
        assert result.counts.used == 1
        assert not [warning for warning in result.warnings if "unknown" in warning]


def test_every_format_is_on_the_page(page):
    for shape in SHAPES:
        for mark in shape.marks:
            assert mark in page, (shape.name, mark)
