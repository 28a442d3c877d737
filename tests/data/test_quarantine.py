"""Rows that are not used come back byte for byte."""

from __future__ import annotations

import gzip
import json
from io import BytesIO
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paretune.core.objective import Objectives
from paretune.data.quarantine import MAX_BYTES, quarantine_line, quarantined_bytes
from paretune.data.reader import read_all
from paretune.data.rows import Row
from paretune.data.sources import DataSource
from paretune.errors import DataError

OBJECTIVES = Objectives.of("helpful", "harmless")
GOOD = {"prompt": "p", "response_a": "x", "response_b": "y", "labels": {"helpful": 1}}


@given(st.binary(max_size=40).filter(lambda raw: raw.rstrip(b"\r\n")))
def test_any_bytes_come_back(raw):
    line = quarantine_line(Row("a", 1, raw=raw), ["why"])
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert quarantined_bytes(json.loads(line)) == raw.rstrip(b"\r\n")


def test_a_long_row_is_cut_and_says_so():
    entry = json.loads(quarantine_line(Row("a", 1, raw=b"\xe9" * (MAX_BYTES + 1)), ["why"]))
    assert entry["cut"]
    assert quarantined_bytes(entry) == b"\xe9" * MAX_BYTES


def test_a_row_of_a_table_is_written_as_json():
    entry = json.loads(quarantine_line(Row("a", 7, {"prompt": None, "when": b"\x00"}), ["why"]))
    assert (entry["line"], entry["raw"]) == (7, '{"prompt": null, "when": "b\'\\\\x00\'"}')


def mutated(row: bytes, at: int, byte: int, how: str) -> bytes:
    at %= len(row)
    if how == "cut":
        return row[:at]
    return row[:at] + bytes([byte]) + row[at + (how == "replace") :]


bad = st.one_of(
    st.builds(
        mutated,
        st.just(json.dumps(GOOD).encode()),
        st.integers(0, 200),
        st.integers(0, 255),
        st.sampled_from(["cut", "insert", "replace"]),
    ),
    st.binary(max_size=30),
    st.dictionaries(
        st.sampled_from(["prompt", "response_a", "response_b", "labels", "scores_a", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
            max_leaves=5,
        ),
    ).map(lambda row: json.dumps(row).encode()),
).map(lambda line: line.replace(b"\n", b" ").replace(b"\r", b" "))
files = st.lists(bad | st.none() | st.just(b"") | st.just(b" \t"), min_size=1, max_size=30)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    files,
    st.booleans(),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.sampled_from(["skip", "error"]),
)
def test_no_good_row_is_lost_and_no_bad_one_is_silent(
    tmp_path: Path, content, is_gzip, newline, has_bom, on_bad
):
    """``None`` stands for a good row, each with a prompt of its own."""
    lines = [
        json.dumps({**GOOD, "prompt": f"good {i}"}).encode() if line is None else line
        for i, line in enumerate(content)
    ]
    data = b"\xef\xbb\xbf" * has_bom + newline.join(lines)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(gzip.compress(data) if is_gzip else data)
    if not is_gzip and data[:2] == b"\x1f\x8b":
        return
    raw = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    n_rows = sum(bool(line.strip()) for line in raw)
    quarantine = BytesIO()
    source = DataSource(str(path), format="pairs")
    try:
        result = read_all([source], OBJECTIVES, on_bad=on_bad, quarantine=quarantine)
    except DataError as error:
        assert n_rows == 0 or on_bad == "error" or "no row is left" in str(error)
        assert all(problem.startswith(str(path)) for problem in error.problems)
        named = {int(p[len(str(path)) + 1 :].split(":")[0]) for p in error.problems if n_rows}
        good = {i + 1 for i, line in enumerate(content) if line is None}
        assert not named & good
        return
    counts = result.counts
    assert counts.read == n_rows == counts.used + counts.n_skipped + counts.n_cut
    prompts = {record.prompt for record in result.records}
    assert {f"good {i}" for i, line in enumerate(content) if line is None} <= prompts
    entries = [json.loads(line) for line in quarantine.getvalue().splitlines()]
    assert len(entries) == counts.n_skipped + counts.n_cut
    for entry in entries:
        assert quarantined_bytes(entry) == raw[entry["line"] - 1].rstrip(b"\r")
    # What was refused is refused again, for the same reasons.
    again = tmp_path / "again.jsonl"
    again.write_bytes(b"\n" + b"".join(quarantined_bytes(e) + b"\n" for e in entries))
    if any(quarantined_bytes(entry).strip() for entry in entries):
        repeat = BytesIO()
        try:
            read_all([DataSource(again, format="pairs")], OBJECTIVES, on_bad="skip",
                     quarantine=repeat)  # fmt: skip
        except DataError as error:
            assert "no row is left" in str(error)
        kept = [json.loads(line)["problems"] for line in repeat.getvalue().splitlines()]
        assert kept == [entry["problems"] for entry in entries]
