"""Rows that are only ever added: a reader finds every whole one, whatever ended the writer."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from paretune.safety.disk import disk_errors


def append_row(path: Path, row: Mapping[str, Any], *, durable: bool = False) -> None:
    """Add one JSON line.

    What a kill tore off an earlier line stays alone on its line: it is one row that is lost, and
    never the next one too.

    Args:
        path: the file, made when missing.
        row: JSON values; NaN is written as ``NaN``.
        durable: wait until it is on the disk.
    """
    line = json.dumps(dict(row), ensure_ascii=False).encode() + b"\n"
    with disk_errors(path, len(line)), path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Every whole row of a file; none where there is no file."""
    rows: list[dict[str, Any]] = []
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    rows.append(row)
    return rows


def keep_rows(path: Path, is_kept: Callable[[dict[str, Any]], bool]) -> None:
    """Take rows out of a file, whole or not at all: what is done again is told once."""
    from paretune.safety.files import write_text

    rows = read_rows(path)
    if path.exists():
        kept = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows if is_kept(row)]
        write_text(path, "".join(kept))
