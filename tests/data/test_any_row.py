"""Whatever is in a file: records, or one DataError; and the memory does not grow with the file."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paretune.core.objective import Objectives
from paretune.core.record import PreferenceData
from paretune.data.files import read_rows
from paretune.data.jsonl import write_records
from paretune.data.reader import read_all, read_records
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


def _distinct(path: Path, n_rows: int) -> int:
    """Pairs of 4 kB, every one of them used."""
    with path.open("w") as file:
        for i in range(n_rows):
            text = f"{i} " + "word " * 400
            row = {"prompt": f"{i}?", "response_a": text, "response_b": text + ".", "labels": {}}
            file.write(json.dumps(row) + "\n")
    return path.stat().st_size


def test_a_budget_bounds_the_memory_whatever_the_size(tmp_path: Path):
    peaks = []
    for n_rows in (1500, 6000):
        size = _distinct(tmp_path / "rows.jsonl", n_rows)
        results = []

        def read(results=results) -> None:
            source = DataSource(tmp_path / "rows.jsonl")
            results.append(read_all([source], OBJECTIVES, budget=1_000_000))

        peaks.append(_peak(read))
        assert results[0].counts.used == n_rows
        assert 0 < len(results[0].records) < 300
        assert results[0].share < 1
    assert size > 20_000_000
    # About 120 bytes of each row are remembered, to know its repetitions.
    assert peaks[1] - peaks[0] < 200 * 4500
    assert peaks[1] < 3_000_000


def test_a_run_holds_each_text_once(tmp_path: Path):
    size = _distinct(tmp_path / "rows.jsonl", 3000)
    results = []
    peak = _peak(
        lambda: results.append(read_records(DataSource(tmp_path / "rows.jsonl"), OBJECTIVES))
    )
    assert len(results[0].records) == 3000
    assert peak < 1.5 * size


def test_names_of_any_length_do_not_fill_the_memory(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for i in range(200):
            name = f"{i}" + "n" * 100_000
            row = {"prompt": "p", "response_a": "x", "response_b": "y", name + "x": 1}
            file.write(json.dumps(row | {"labels": {name: 0}}) + "\n")
    # A row is in memory some times over: raw, as text, as values.
    assert _peak(lambda: read_records(DataSource(path), OBJECTIVES)) < 4_000_000


CHECK = """
import resource, sys
from pathlib import Path
from paretune.pipeline.checking import check_run
from paretune.pipeline.config import load_config
summary, notes = check_run(load_config(Path(sys.argv[1]), []))
assert any("every row was checked" in note for note in notes), notes
print(summary.counts.used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
RUN = """
name: large
objectives: [helpful, harmless]
data: {path: rows.jsonl}
base: {build: {hidden: 8, layers: 1, heads: 2, feed_forward: 8, vocabulary: 260}, train: {steps: 1}}
tradeoffs: {grid: 1}
methods: [{method: dpo}]
rewards: {helpful: {function: "mine.py:f"}, harmless: {function: "mine.py:f"}}
"""


@pytest.mark.slow
def test_check_needs_no_more_memory_for_a_larger_file(tmp_path: Path):
    (tmp_path / "mine.py").write_text("def f(prompt, response):\n    return len(response) % 7\n")
    (tmp_path / "run.yaml").write_text(RUN)
    peaks = []
    for n_rows in (40_000, 75_000):
        size = _distinct(tmp_path / "rows.jsonl", n_rows)
        command = [sys.executable, "-c", CHECK, "run.yaml"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        used, peak = map(int, done.stdout.split()[-2:])
        assert used == n_rows
        peaks.append(peak)
    assert size > 300_000_000
    assert peaks[1] - peaks[0] < 60, f"MiB at 160 and 300 MB: {peaks}"


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
