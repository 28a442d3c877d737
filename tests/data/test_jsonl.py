"""Writing: round trips, equal bytes, and nothing half-written."""

from __future__ import annotations

import gzip
import os

import pytest

from paretune.core.objective import Objectives
from paretune.core.record import Comparison, Message, Record, Response
from paretune.data.jsonl import record_json, write_records
from paretune.data.reader import read_records
from paretune.data.sources import DataSource

RECORDS = (
    Record("caf\u00e9 \u2028 \U0001f600\n", (Response("x\ty"), Response("z", {"helpful": 0.1}))),
    Record(
        (Message("system", "s"), Message("user", "u")),
        (Response("a", {"helpful": -1.5, "harmless": 1e-300}), Response("b")),
        (
            Comparison(1, 0, {"helpful": 1 / 3}),
            Comparison(1, 0, {"helpful": -1.0, "harmless": 0.0}),
            Comparison(0, 1, {}),
        ),
    ),
)


@pytest.mark.parametrize("name", ["rows.jsonl", "deep/rows.jsonl.gz"])
def test_round_trip(name, tmp_path, objectives: Objectives):
    assert write_records(tmp_path / name, iter(RECORDS)) == 2
    assert read_records(DataSource(tmp_path / name), objectives).records == RECORDS


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_equal_records_give_equal_bytes(name, tmp_path):
    write_records(tmp_path / "1" / name, RECORDS)
    write_records(tmp_path / "2" / name, RECORDS)
    one, two = ((tmp_path / folder / name).read_bytes() for folder in "12")
    assert one == two
    assert (b"caf\xc3\xa9" in one) != name.endswith("gz")


def test_nan_is_written_as_null():
    row = record_json(Record("p", (Response("x", {"helpful": float("nan")}),)))
    assert row["responses"] == [{"text": "x", "scores": {"helpful": None}}]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_records(path, RECORDS)
    before = path.read_bytes()

    def failing():
        yield RECORDS[0]
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_records(path, failing())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_infinite_scores_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_records(tmp_path / "rows.jsonl", [Record("p", (Response("x", {"a": float("inf")}),))])
    assert os.listdir(tmp_path) == []


def test_gz_has_no_time_in_it(tmp_path):
    write_records(tmp_path / "rows.jsonl.gz", RECORDS)
    data = (tmp_path / "rows.jsonl.gz").read_bytes()
    assert data[4:8] == b"\0\0\0\0"
    assert gzip.decompress(data).count(b"\n") == 2
