"""Files, folders and data sets that rows come from."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
from io import BytesIO
from pathlib import Path

import pytest

from paretune.data import files, tables
from paretune.data.files import data_files, files_of_split
from paretune.data.quarantine import quarantined_bytes
from paretune.data.reader import read_all, read_records
from paretune.data.sources import DataSource
from paretune.errors import DataError
from paretune.pipeline.fingerprint import data_identity

ROWS = [
    {
        "prompt": f"Question {i}?",
        "responses": [
            {"text": f"yes {i}", "scores": {"helpful": i / 2, "harmless": None}},
            {"text": "no", "scores": {"helpful": -1.0, "harmless": 0.25}},
        ],
        "comparisons": [{"first": 0, "second": 1, "labels": {"helpful": 1.0, "harmless": None}}],
    }
    for i in range(5)
]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture
def expected(write, objectives):
    return read_records(DataSource(write("expected.jsonl", *ROWS)), objectives).records


def test_gz_by_content_and_not_by_name(tmp_path, write, objectives, expected):
    path = Path(write("rows.jsonl.gz", *ROWS))
    path.rename(tmp_path / "rows.jsonl")
    assert read_records(DataSource(tmp_path / "rows.jsonl"), objectives).records == expected


def test_parquet(tmp_path, objectives, expected):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    result = read_records(DataSource(path), objectives)
    assert result.records == expected
    assert result.warnings == ()


def test_parquet_maps_of_scores(tmp_path, objectives):
    import pyarrow as pa
    import pyarrow.parquet as pq

    scores = pa.array([[("helpful", 1.0), ("harmless", 2.0)]], pa.map_(pa.string(), pa.float64()))
    table = pa.table({"prompt": ["p"], "response": ["x"], "scores": scores})
    pq.write_table(table, tmp_path / "rows.parquet")
    (record,) = read_records(DataSource(tmp_path / "rows.parquet"), objectives).records
    assert record.responses[0].scores == {"helpful": 1.0, "harmless": 2.0}


def test_bad_parquet_rows_are_numbered_over_batches(tmp_path, objectives):
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 1200
    scores = [float("nan") if i == 999 else 1.0 for i in range(n)]
    texts = [None if i == 4 else "x" for i in range(n)]
    table = {"prompt": [str(i) for i in range(n)], "response": texts, "helpful": scores}
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(table), path)
    with pytest.raises(DataError) as caught:
        read_records(DataSource(path), objectives)
    assert caught.value.problems == (
        f"{path}:5: response: not text, found null, expected text",
        f"{path}:1000: helpful: not finite, found nan, expected a number or null",
    )


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("rows.parquet", b"PAR1 no", "rows.parquet: "),
        ("rows.jsonl.gz", gzip.compress(b"{}", mtime=0)[:-9], "rows.jsonl.gz:1: "),
    ],
)
def test_a_damaged_file_is_named(name, content, where, tmp_path, objectives):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(where) + "file: damaged"):
        read_records(DataSource(path), objectives, on_bad="skip")


def test_an_unreadable_path_is_named(tmp_path, objectives):
    path = tmp_path / ("x" * 300)
    with pytest.raises(DataError, match="file: not"):
        read_records(DataSource(path), objectives)


def test_a_folder_of_files_by_split(write, tmp_path, objectives):
    write("d/train-00000.jsonl", *ROWS[:2])
    write("d/train-00001.jsonl.gz", *ROWS[2:4])
    write("d/test.jsonl", ROWS[4])
    write("d/.hidden/train.jsonl", b"bad")
    write("d/README.md", b"text")
    folder = tmp_path / "d"
    assert len(read_records(DataSource(folder), objectives).records) == 4
    (record,) = read_records(DataSource(folder, split="test"), objectives).records
    assert record.prompt == "Question 4?"
    with pytest.raises(DataError, match=r"no split 'validation', found test.jsonl, train"):
        read_records(DataSource(folder, split="validation"), objectives)


def test_problems_in_a_folder_name_the_file(write, tmp_path, objectives):
    write("d/train/a.jsonl", ROWS[0])
    path = write("d/train/b.jsonl", ROWS[1], b"{")
    with pytest.raises(DataError) as caught:
        read_records(DataSource(tmp_path / "d"), objectives)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}:2: row: line ends early")


def test_split_names_are_whole_words():
    folder = Path("d")
    files = [folder / name for name in ("training_notes.jsonl", "data/train.jsonl", "Test-1.jsonl")]
    assert files_of_split(files, folder, "train") == [folder / "data/train.jsonl"]
    assert files_of_split(files, folder, "test") == [folder / "Test-1.jsonl"]
    plain = [folder / "rows.jsonl"]
    assert files_of_split(plain, folder, "train") == plain
    assert files_of_split(plain, folder, "test") == []


def test_description_files_are_no_data(write, tmp_path):
    write("d/dataset_infos.json", {})
    path = write("d/rows.json", *ROWS)
    assert data_files(tmp_path / "d") == [Path(path)]


def test_a_folder_saved_by_datasets(tmp_path, objectives, expected):
    import datasets

    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    assert read_records(DataSource(tmp_path / "saved"), objectives).records == expected


def test_a_saved_dict_of_splits(tmp_path, objectives):
    import datasets

    whole = datasets.Dataset.from_list(ROWS)
    parts = datasets.DatasetDict({"train": whole.select([0, 1]), "test": whole.select([2])})
    parts.save_to_disk(tmp_path / "saved")
    source = DataSource(tmp_path / "saved", split="test")
    (record,) = read_records(source, objectives).records
    assert record.prompt == "Question 2?"
    with pytest.raises(DataError, match=r"no split 'dev', found train, test"):
        read_records(DataSource(tmp_path / "saved", split="dev"), objectives)


def test_a_damaged_saved_folder(tmp_path, objectives):
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DataError, match="file: not readable"):
        read_records(DataSource(tmp_path), objectives)


def test_a_folder_that_only_datasets_can_read(tmp_path, objectives):
    folder = tmp_path / "d"
    folder.mkdir()
    with (folder / "train.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["prompt", "response", "helpful"])
        table.writerow(["p", "x", 1.5])
        table.writerow(["p", "y", None])
    (record,) = read_records(DataSource(folder), objectives).records
    assert [(r.text, dict(r.scores)) for r in record.responses] == [
        ("x", {"helpful": 1.5}),
        ("y", {}),
    ]


def test_a_hub_id_is_asked_from_datasets(monkeypatch, objectives, expected):
    import datasets

    def load(name, split):
        assert (name, split) == ("someone/pairs", "dev")
        return datasets.Dataset.from_list([*ROWS, {"prompt": None, "responses": []}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    source = DataSource("someone/pairs", split="dev")
    assert read_records(source, objectives, on_bad="skip").records == expected
    with pytest.raises(DataError, match=r"someone/pairs\[dev\]:6: prompt: not text"):
        read_records(source, objectives)


def test_a_hub_id_without_the_hub_is_an_error(objectives):
    with pytest.raises(DataError, match="someone/that-is-not-here: file: not loadable"):
        read_records(DataSource("someone/that-is-not-here"), objectives)


@pytest.mark.parametrize("on_bad", ["error", "skip"])
def test_a_pipe_or_a_device_is_refused_and_never_opened(tmp_path, objectives, on_bad):
    os.mkfifo(tmp_path / "rows.jsonl")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    for name in ("rows.jsonl", "zero.jsonl"):
        with pytest.raises(DataError, match=f"{name}: file: no file, found a pipe, a device"):
            read_records(DataSource(tmp_path / name), objectives, on_bad=on_bad)
        # Neither is it opened to hash it.
        assert data_identity(str(tmp_path / name))["files"] == {}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.parquet"])
@pytest.mark.parametrize("change", ["grow", "edit", "replace"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path, write, objectives, monkeypatch, name, change
):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        write(name, *ROWS)
    os.utime(path, (1, 1))
    content = path.read_bytes()

    def disturbed(reader):
        def read(*args):
            rows = reader(*args)
            yield next(rows)
            if change == "replace":
                path.rename(tmp_path / "old")
            path.write_bytes(content + b"\n" * (change == "grow"))
            yield from rows

        return read

    for module, function in ((files, "read_jsonl"), (tables, "read_parquet")):
        monkeypatch.setattr(module, function, disturbed(getattr(module, function)))
    with pytest.raises(DataError) as caught:
        read_records(DataSource(path), objectives, on_bad="skip")
    assert f"{path}: file: changed while it was read" in str(caught.value)


def test_an_unreadable_file_is_named(write, objectives, monkeypatch):
    path = write("rows.jsonl", *ROWS)

    def refused(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    # Taking the right away would not stop root, which the tests may run as.
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(DataError, match=r"rows.jsonl: file: not readable, .*Permission denied"):
        read_records(DataSource(path), objectives, on_bad="skip")
    with pytest.raises(DataError, match=r"rows.jsonl: not readable: .*Permission denied"):
        data_identity(path)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_file_of_bad_rows_only(write, objectives, name):
    path = write(name, b"{", b"[]", b"\xff")
    with pytest.raises(DataError) as caught:
        read_records(DataSource(path), objectives)
    assert [p.split(": ")[0] for p in caught.value.problems] == [f"{path}:{i}" for i in (1, 2, 3)]
    with pytest.raises(DataError, match="no row is left of 3 read"):
        read_records(DataSource(path), objectives, on_bad="skip")


def test_bad_rows_of_a_folder_and_of_a_table_are_kept(tmp_path, write, objectives):
    import pyarrow as pa
    import pyarrow.parquet as pq

    write("rows/train-0.jsonl", ROWS[0], b"{")
    write("rows/train-1.jsonl.gz", b"caf\xe9", ROWS[1])
    table = [{"prompt": "p", "response": "x"}, {"prompt": None, "response": "y"}]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "rows" / "train-2.parquet")
    quarantine = BytesIO()
    source = DataSource(tmp_path / "rows")
    result = read_all([source], objectives, on_bad="skip", quarantine=quarantine)
    assert (result.counts.read, result.counts.used) == (6, 3)
    entries = [json.loads(line) for line in quarantine.getvalue().splitlines()]
    assert [(Path(e["file"]).name, e["line"], quarantined_bytes(e)) for e in entries] == [
        ("train-0.jsonl", 2, b"{"),
        ("train-1.jsonl.gz", 1, b"caf\xe9"),
        ("train-2.parquet", 2, b'{"prompt": null, "response": "y"}'),
    ]
