"""Whatever is in a file: records, or one DataError; and the memory does not grow with the file."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paretune.core.objective import Objectives
from paretune.core.record import PreferenceData
from paretune.data.files import read_rows
from paretune.data.jsonl import write_records
from paretune.data.reader import read_records
from paretune.data.sources import DataSource, RowRules
from paretune.errors import DataError

OBJECTIVES = Objectives.of("helpful", "harmless")

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["x", "y", "\ud800", "\x00", "10" * 200])
    | st.integers(min_value=10**400, max_value=10**401),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["text", "scores", "first", "second", "labels", "helpful", "role", "content",
                 "response", "annotations", "Rating"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)  # fmt: skip
fields = st.sampled_from(
    ["prompt", "responses", "comparisons", "response", "response_a", "response_b", "labels",
     "scores", "scores_a", "chosen", "rejected", "instruction", "completions", "response_0",
     "response_1", "better_response_id", "safer_response_id", "helpful", "extra"]
)  # fmt: skip
rows = st.dictionaries(fields, values, max_size=7)
good = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(["p", "q"]),
        "response_a": st.sampled_from(["x", "y", "", "z"]),
        "response_b": st.sampled_from(["x", "y"]),
        "labels": st.dictionaries(
            st.sampled_from(["helpful", "harmless", "other"]), st.none() | st.floats(-1, 1)
        ),
    }
)
lines = st.one_of(
    rows.map(lambda row: json.dumps(row).encode()),
    good.map(lambda row: json.dumps(row).encode()),
    st.binary(max_size=20),
)
FORMATS = ["auto", "records", "pairs", "responses", "ultrafeedback", "helpsteer2", "pku_saferlhf"]


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(lines, max_size=6), st.sampled_from(FORMATS), st.sampled_from(["error", "skip"]))
def test_any_file_gives_records_or_a_data_error(tmp_path: Path, content, form, on_bad):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(content))
    n_rows = len([line for line in path.read_bytes().split(b"\n") if line.strip()])
    try:
        result = read_records(DataSource(path, format=form), OBJECTIVES, on_bad=on_bad)
    except DataError as error:
        assert all(problem.startswith(str(path)) for problem in error.problems)
        return
    assert result.counts.read == n_rows
    assert n_rows == result.counts.used + result.counts.n_skipped + result.counts.n_cut
    data = PreferenceData.from_records(result.records, OBJECTIVES.names)
    assert data.n_prompts == len(result.records)
    write_records(tmp_path / "again.jsonl", result.records)
    again = read_records(DataSource(tmp_path / "again.jsonl"), OBJECTIVES)
    assert again.records == result.records


def _big_file(path: Path, n_rows: int) -> int:
    """Pairs of 2 kB of which nine in ten are identical, hence skipped."""
    with path.open("w") as file:
        for i in range(n_rows):
            text = f"{i} " + "word " * 200
            other = text if i % 10 else "another reply"
            row = {"prompt": str(i), "response_a": text, "response_b": other, "labels": {}}
            file.write(json.dumps(row) + "\n")
    return path.stat().st_size


def _peak(work) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_rows_are_streamed(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    size = _big_file(path, 4000)
    assert size > 7_000_000

    def look_at_every_row() -> None:
        assert sum(1 for _ in read_rows(DataSource(path))) == 4000

    assert _peak(look_at_every_row) < 500_000


def test_memory_is_that_of_the_records(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    size = _big_file(path, 4000)
    kept = []

    def read() -> None:
        kept.append(read_records(DataSource(path), OBJECTIVES))

    peak = _peak(read)
    assert kept[0].counts.skipped == {"identical responses": 3600}
    # A tenth of the bytes is kept; the rest is never held.
    assert peak < 0.3 * size


@pytest.mark.slow
def test_a_large_file_in_bounded_memory(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    size = _big_file(path, 200_000)
    assert size > 390_000_000
    rules = RowRules(response_chars=100)
    counts = []

    def read() -> None:
        result = read_records(DataSource(path), OBJECTIVES, rules=rules, on_bad="skip")
        counts.append(result.counts)

    with path.open("a") as file:
        file.write('{"prompt": "p", "response_a": "x", "response_b": "y"}\n')
    assert _peak(read) < 5_000_000
    assert counts[0].used == 1
    assert counts[0].read == 200_001
