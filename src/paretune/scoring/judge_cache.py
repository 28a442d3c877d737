"""Answers of a judge on disk: what was answered once is never asked again.

One append-only file of JSON lines: ``{"sent": ...}`` before a request leaves, ``{"key": ...,
"score": ...}`` once it is answered, forced to the disk line by line. A kill can only leave a torn
line at the end, which readers ignore and the next writer cuts off; a damaged line is ignored as
well. The lines that were sent are counted, so that a budget holds across kills. No text and no
secret is in the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final

from paretune.errors import RunError
from paretune.scoring.cache import lock_writer, write_all


def answer_key(body: bytes) -> str:
    """What identifies an answer: the sha256 of the request that asked for it, in hex.

    Example:
        >>> answer_key(b"{}")[:8]
        '44136fa3'
    """
    return hashlib.sha256(body).hexdigest()


@final
class AnswerCache:
    """Scores by :func:`answer_key`, kept in a file or only in memory.

    Args:
        path: the file, which may not exist yet; ``None`` keeps the scores in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.sent = 0
        """Requests that were ever sent, answered or not."""
        self._scores: dict[str, float] = {}
        self._file: int | None = None
        self._read()

    def __len__(self) -> int:
        return len(self._scores)

    def __contains__(self, key: str) -> bool:
        return key in self._scores

    def __getitem__(self, key: str) -> float:
        return self._scores[key]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer; what others appended since is read first.

        Raises:
            RunError: if another process is writing the file.
        """
        if self.path is None:
            yield
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            lock_writer(self._file, f"answers of the judge {self.path}")
            self._read()
            _cut_torn_end(self._file, self.path)
            yield
        finally:
            file, self._file = self._file, None
            os.close(file)

    def note_sent(self, key: str) -> None:
        """A request is about to leave."""
        self.sent += 1
        self._append({"sent": key[:16]}, is_answer=False)

    def add(self, key: str, score: float) -> None:
        """Keep an answer, in [-1, 1]; on the disk when this returns."""
        self._append({"key": key, "score": score, "check": _check(key, score)}, is_answer=True)
        self._scores[key] = score

    def _append(self, line: dict[str, object], *, is_answer: bool) -> None:
        if self._file is None:
            return
        try:
            write_all(self._file, json.dumps(line).encode() + b"\n")
            if is_answer:
                os.fsync(self._file)
        except OSError as error:
            raise RunError(
                f"{self.path}: found no way to keep an answer ({error.strerror}), expected room to "
                "write; the answers before it are kept: type the same command again"
            ) from error

    def _read(self) -> None:
        self.sent, self._scores = 0, {}
        if self.path is None or not self.path.exists():
            return
        with self.path.open("rb") as lines:
            for line in lines:
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            row = json.loads(line) if line.endswith(b"\n") else {}
            if "sent" in row:
                self.sent += 1
            elif row["check"] == _check(row["key"], row["score"]):
                self._scores[row["key"]] = float(row["score"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return


def _check(key: str, score: float) -> int:
    """Detects a damaged line: a wrong score is never read."""
    if not math.isfinite(score):
        raise ValueError(f"judge: found score {score}, expected a finite number")
    return zlib.crc32(f"{key} {float(score)!r}".encode())


def _cut_torn_end(file: int, path: Path) -> None:
    """Leaves whole lines."""
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        os.ftruncate(file, data.rfind(b"\n") + 1)
