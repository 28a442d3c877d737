"""Rows of Parquet files and of Hugging Face data sets, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paretune.data.rows import Fault, Row

_BATCH = 512


def read_parquet(path: Path, name: str) -> Iterator[Row]:
    """The rows of a Parquet file; only one batch of them is in memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    line = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                # Maps (name -> score) come as pairs otherwise.
                for value in batch.to_pylist(maps_as_pydicts="strict"):
                    line += 1
                    yield Row(name, line, value)
    except (pa.ArrowException, UnicodeDecodeError, KeyError) as error:
        detail = f"found {_one_line(error)}, expected a readable Parquet file"
        yield _broken(name, "damaged Parquet data", detail, line + 1 if line else 0)


def is_saved_to_disk(folder: Path) -> bool:
    """True for a folder written by ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk``."""
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def read_saved(folder: Path, split: str) -> Iterator[Row]:
    """The rows of a folder saved by ``datasets``."""
    import datasets

    try:
        saved = datasets.load_from_disk(str(folder))
        if isinstance(saved, datasets.DatasetDict):
            if split not in saved:
                detail = f"found {', '.join(saved)}, expected one of them as split"
                yield _broken(str(folder), f"no split {split!r}", detail)
                return
            saved = saved[split]
    except Exception as error:  # whatever datasets raises on a damaged folder
        detail = f"found {_one_line(error)}, expected a folder saved by datasets"
        yield _broken(str(folder), "not readable", detail)
        return
    yield from _rows(saved, str(folder))


def read_hub(name: str, split: str) -> Iterator[Row]:
    """The rows of a data set that ``datasets.load_dataset`` knows: a hub id or a local folder.

    The hub is asked only here, for an id the user wrote; ``HF_HUB_OFFLINE=1`` forbids even that.
    """
    import datasets

    try:
        # Of tables alone: datasets runs no code that comes with the data.
        data = datasets.load_dataset(name, split=split)  # nosec B615
    except Exception as error:  # offline, unknown id, unknown split, damaged files, ...
        detail = (
            f"found {_one_line(error)}, expected a local file or folder, or a data set that "
            "datasets can load"
        )
        yield _broken(name, "not loadable", detail)
        return
    yield from _rows(data, f"{name}[{split}]")


def _rows(data: Any, name: str) -> Iterator[Row]:
    for line, value in enumerate(data, start=1):
        yield Row(name, line, value)


def _broken(name: str, kind: str, detail: str, line: int = 0) -> Row:
    return Row(name, line, faults=(Fault("file", kind, detail, is_fatal=True),))


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."
