"""Rows are added, and every whole one is found again."""

from __future__ import annotations

from pathlib import Path

from paretune.safety.ledger import append_row, keep_rows, read_rows


def test_a_torn_row_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    append_row(path, {"n": 0}, durable=True)
    append_row(path, {"n": 1})
    path.write_bytes(path.read_bytes()[:-3])
    append_row(path, {"n": 2})
    append_row(path, {"n": 3})
    assert [row["n"] for row in read_rows(path)] == [0, 2, 3]


def test_there_may_be_nothing(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "none.jsonl") == []
    keep_rows(tmp_path / "none.jsonl", lambda row: True)
    assert not (tmp_path / "none.jsonl").exists()


def test_rows_that_are_done_again_are_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in (1, 2, 3):
        append_row(path, {"step": step, "text": "\u2028é"})
    keep_rows(path, lambda row: row["step"] <= 2)
    append_row(path, {"step": 3})
    assert [row["step"] for row in read_rows(path)] == [1, 2, 3]
    assert read_rows(path)[0]["text"] == "\u2028é"
