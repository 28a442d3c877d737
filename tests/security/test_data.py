"""Data of others: read as text and tables, never unpickled and never unpacked."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest

from paretune.core.objective import Objectives
from paretune.data.reader import read_records
from paretune.data.sources import DataSource
from paretune.errors import DataError

WIT = Objectives.of("wit")


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["rows.pkl", "rows.PT", "rows.npy", "rows.bin", "rows.jsonl"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_pickle_is_never_read(tmp_path: Path, name: str, is_folder: bool) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    trap = tmp_path / "ran"
    (folder / name).write_bytes(pickle.dumps([Trap(trap)]))
    with pytest.raises(DataError) as caught:
        read_records(DataSource(str(folder if is_folder else folder / name)), WIT)
    assert not trap.exists()
    assert name in str(caught.value)
    if name != "rows.jsonl":
        assert "a pickle or an archive, expected .jsonl" in str(caught.value)


@pytest.mark.parametrize("name", ["rows.zip", "rows.tar.gz", "rows.jsonl.zip"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_an_archive_is_never_unpacked(tmp_path: Path, name: str, is_folder: bool) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("../../escaped.jsonl", '{"prompt": "p", "response": "r"}\n')
    with pytest.raises(DataError, match="a pickle or an archive, expected"):
        read_records(DataSource(str(folder if is_folder else folder / name)), WIT)
    assert not list(tmp_path.parent.rglob("escaped*"))
