"""From the path of a source to its rows: files, folders, hub data sets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from paretune.data.jsonl import read_jsonl
from paretune.data.rows import Fault, Row
from paretune.data.sources import DataSource

_LINES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".ndjson", ".ndjson.gz")
_TABLES = (".parquet", ".pq")
_REFUSED = (
    ".pkl", ".pickle", ".dill", ".joblib", ".pt", ".pth", ".ckpt", ".bin", ".npy", ".npz",
    ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar",
)  # fmt: skip
"""Pickles run code when they are read, and archives write files where they like."""
_SPLIT_NAMES = ("train", "validation", "valid", "val", "dev", "test", "eval")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def read_rows(source: DataSource) -> Iterator[Row]:
    """The rows of a source, one at a time; what cannot be read is a row with a fatal fault."""
    path = Path(source.path)
    try:
        if path.is_dir():
            yield from _read_folder(path, source.split)
        elif path.exists():
            yield from _read_file(path, source.path)
        elif _HUB_ID.fullmatch(source.path) and not source.path.lower().endswith(_LINES + _TABLES):
            from paretune.data.tables import read_hub

            yield from read_hub(source.path, source.split)
        else:
            yield _fatal(source.path, "not found", "found no such file, expected one that exists")
    except OSError as error:
        yield _fatal(source.path, "not readable", f"found {error}, expected a readable file")


def _read_file(path: Path, name: str) -> Iterator[Row]:
    """The rows of a file that stays as it is while they are read."""
    if not path.is_file():
        # Opening a pipe would wait for ever, and a device may never end.
        yield _fatal(name, "no file", "found a pipe, a device or a socket, expected a file")
        return
    if path.name.lower().endswith(_REFUSED):
        yield _fatal(name, "not a data file", f"found {_refused(path)}")
        return
    before = _stamp(path)
    if path.name.lower().endswith(_TABLES):
        from paretune.data.tables import read_parquet

        yield from read_parquet(path, name)
    else:
        yield from read_jsonl(path, name)
    if _stamp(path) != before:
        detail = "found other content at its end than at its start, expected a file at rest"
        yield _fatal(name, "changed while it was read", detail)


def _refused(path: Path) -> str:
    return (
        f"{path.name}, a pickle or an archive, expected .jsonl, .jsonl.gz or .parquet: reading "
        "the first can run code, unpacking the second can write anywhere"
    )


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes with the content of a file, or with another file in its place."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _read_folder(folder: Path, split: str) -> Iterator[Row]:
    """Files that this package reads itself (exact lines in messages), else through datasets."""
    from paretune.data.tables import is_saved_to_disk, read_hub, read_saved

    if is_saved_to_disk(folder):
        yield from read_saved(folder, split)
        return
    files = data_files(folder)
    refused = next((f for f in folder.rglob("*") if f.name.lower().endswith(_REFUSED)), None)
    if not files and refused:
        yield _fatal(str(folder), "not a data folder", f"found {_refused(refused)}")
        return
    if not files:
        yield from read_hub(str(folder), split)
        return
    chosen = files_of_split(files, folder, split)
    if not chosen:
        names = ", ".join(str(file.relative_to(folder)) for file in files[:8])
        detail = f"found {names}, expected a file name with {split!r} in it"
        yield _fatal(str(folder), f"no split {split!r}", detail)
    for file in chosen:
        yield from _read_file(file, str(file))


def data_files(folder: Path) -> list[Path]:
    """Files of a folder and its sub-folders that hold rows, sorted; hidden ones are left out."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.name.lower().endswith((*_LINES, *_TABLES))
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.name not in ("dataset_infos.json", "dataset_info.json", "state.json")
        and file.is_file()
    )


def files_of_split(files: list[Path], folder: Path, split: str) -> list[Path]:
    """Files whose path names the split; all of them when no path names any split.

    Example:
        >>> folder = Path("d")
        >>> names = [folder / "train-0.parquet", folder / "test.jsonl"]
        >>> [p.name for p in files_of_split(names, folder, "test")]
        ['test.jsonl']
    """

    def words(file: Path) -> set[str]:
        return set(re.split(r"[^a-z0-9]+", str(file.relative_to(folder)).lower()))

    named = [file for file in files if words(file) & {*_SPLIT_NAMES, split.lower()}]
    if not named:
        return files if split == "train" else []
    return [file for file in named if split.lower() in words(file)]


def _fatal(name: str, kind: str, detail: str) -> Row:
    return Row(name, 0, faults=(Fault("file", kind, detail, is_fatal=True),))
