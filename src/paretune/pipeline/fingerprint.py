"""What tells one file, folder or hub id from another when all have the same name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from paretune.errors import DataError

_SAMPLED = 1 << 26
"""Bytes up to which a file is read whole: larger ones would be read again at every resume."""
_BLOCKS, _BLOCK = 256, 1 << 16
_SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja")


def file_digest(file: Path) -> str:
    """Sixteen hex digits of the content of a file of a model.

    A file over 64 MiB is represented by its size and 256 blocks of 64 KiB, evenly spaced from
    first to last: enough to tell two trainings of one model apart, which differ everywhere.
    """
    size = file.stat().st_size
    with file.open("rb") as content:
        if size <= _SAMPLED:
            return hashlib.file_digest(content, "sha256").hexdigest()[:16]
        digest = hashlib.sha256(str(size).encode())
        for n in range(_BLOCKS):
            content.seek((size - _BLOCK) * n // (_BLOCKS - 1))
            digest.update(content.read(_BLOCK))
    return digest.hexdigest()[:16]


def data_identity(path: str) -> dict[str, Any]:
    """A data file or folder by every byte of it; a hub id by its name.

    Raises:
        DataError: if a file cannot be read.
    """
    place = Path(path)
    try:
        if place.is_file():
            return {"path": path, "sha256": _whole_digest(place)}
        files = sorted(f for f in place.rglob("*") if f.is_file()) if place.is_dir() else []
        digests = {f.relative_to(place).as_posix(): _whole_digest(f) for f in files}
    except OSError as error:
        raise DataError(f"{path}: not readable: found {error}, expected a readable file") from error
    return {"path": path, "files": digests}


def _whole_digest(file: Path) -> str:
    """Sixteen hex digits: one edited row of a large file is another file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]


def model_identity(model: str) -> Any:
    """A model folder by its config, tokenizer and weights; a hub id by its commit too."""
    folder = Path(model)
    if not folder.is_dir():
        return {"hub": model, "commit": _commit(model)}
    files = {f for pattern in (*_SETTINGS, "*.safetensors") for f in folder.glob(pattern)}
    # The manifest of a base that was built here holds the seconds it took.
    files.discard(folder / "manifest.json")
    return {f.name: file_digest(f) for f in sorted(files)}


def _commit(model: str) -> str | None:
    from paretune.engines.lm.models import base_config

    try:
        config = base_config(model)
    except (OSError, ValueError, KeyError):
        return None  # whoever loads the model says what is wrong with it
    return getattr(config, "_commit_hash", None)
