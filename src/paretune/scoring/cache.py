"""Rewards on disk by content hash: what was scored once is never scored again.

One file a scorer, append-only: a header, then records of 44 bytes (sha256 of scorer identity,
prompt and response; float64 reward; CRC32 of both; little-endian). A kill can only leave a torn
record at the end, which readers ignore and the next writer cuts off. A damaged record is ignored
as well: its row is scored again, a wrong reward is never read. Rewards survive exactly, bit by bit.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import final

from paretune.core.record import Prompt, prompt_json
from paretune.errors import InputError, RunError

HEADER = b"paretune rewards 1\n\n"
_RECORD = struct.Struct("<32sdI")
_CONTENT = struct.Struct("<32sd")

Append = Callable[[Sequence[bytes], Sequence[float]], None]


def reward_key(identity: str, prompt: Prompt, response: str) -> bytes:
    """32 bytes that identify one reward: the sha256 of scorer, prompt and response.

    Example:
        >>> reward_key("brevity-1", "Hi", "Hello").hex()[:8]
        '2ea46afa'
    """
    text = json.dumps([identity, prompt_json(prompt), response], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


@final
class RewardCache:
    """Rewards of one scorer by :func:`reward_key`, kept in a file or only in memory.

    Any number of processes may read a file while one writes it.

    Args:
        path: the file, which may not exist yet; ``None`` keeps the rewards in memory.

    Raises:
        InputError: if the file exists and is not a reward cache.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._rewards: dict[bytes, float] = {} if path is None else read_rewards(path)

    def __len__(self) -> int:
        return len(self._rewards)

    def __contains__(self, key: bytes) -> bool:
        return key in self._rewards

    def __getitem__(self, key: bytes) -> float:
        return self._rewards[key]

    @contextmanager
    def writing(self) -> Iterator[Append]:
        """A function that appends rewards, while this process is the only writer.

        What other processes appended since the cache was opened is read first.

        Raises:
            RunError: if another process is writing the file.
        """
        if self.path is None:
            yield self._remember
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            lock_writer(file, f"reward cache {self.path}")
            self._rewards = read_rewards(self.path)
            _cut_torn_end(file)

            def append(keys: Sequence[bytes], rewards: Sequence[float]) -> None:
                write_all(file, b"".join(map(_record, keys, rewards)))
                self._remember(keys, rewards)

            yield append
            os.fsync(file)
        finally:
            os.close(file)

    def _remember(self, keys: Sequence[bytes], rewards: Sequence[float]) -> None:
        self._rewards.update(zip(keys, map(float, rewards), strict=True))


def read_rewards(path: Path) -> dict[bytes, float]:
    """Every sound record of a cache file; empty when the file does not exist.

    Raises:
        InputError: if the file is something else.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    if not data.startswith(HEADER):
        if HEADER.startswith(data):
            return {}
        raise InputError(
            f"reward cache {path}: found a file that starts with {data[:20]!r}, "
            f"expected {HEADER!r}; move it away"
        )
    whole = (len(data) - len(HEADER)) // _RECORD.size * _RECORD.size
    records = memoryview(data)[len(HEADER) : len(HEADER) + whole]
    return {
        key: reward
        for key, reward, check in _RECORD.iter_unpack(records)
        if zlib.crc32(_CONTENT.pack(key, reward)) == check
    }


def _record(key: bytes, reward: float) -> bytes:
    return _RECORD.pack(key, reward, zlib.crc32(_CONTENT.pack(key, reward)))


def lock_writer(file: int, name: str) -> None:
    """Make this process the only writer of an open file, until the file is closed.

    Raises:
        RunError: if another process is; ``name`` begins the message.
    """
    # The kernel drops the lock with the process, so a kill leaves nothing to clean up.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise RunError(
            f"{name}: another process is writing it, expected one writer; "
            "wait for it to end, or give this run another folder"
        ) from error


def _cut_torn_end(file: int) -> None:
    """Leaves the header and whole records, and the position at the end."""
    size = os.fstat(file).st_size
    if size < len(HEADER):
        os.ftruncate(file, 0)
        write_all(file, HEADER)
        return
    torn = (size - len(HEADER)) % _RECORD.size
    os.ftruncate(file, size - torn)
    os.lseek(file, 0, os.SEEK_END)


def write_all(file: int, data: bytes) -> None:
    """Write every byte, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
