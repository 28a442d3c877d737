"""Random numbers without a generator: functions of (seed, what is drawn), in any order.

A run that is interrupted and continued, or whose rows are batched otherwise, repeats every draw.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
_TOLD = 13
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hash_keys(seed: int, *numbers: int | npt.NDArray[Any]) -> Keys:
    """Random 64-bit keys, a function of the seed and the numbers alone.

    Each number is folded into the key and the key is mixed by the finalizer of SplitMix64, where
    every input bit changes every output bit with probability near a half. The first number should
    name what is drawn, so that two purposes never share a draw.

    Args:
        seed: any integer; its lowest 64 bits count.
        numbers: integers >= 0, or arrays of them that broadcast together.

    Returns:
        ``(N,)`` uint64, N the length of the arrays (1 without any).

    Source:
        Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", Fig. 14.

    Example:
        >>> keys = hash_keys(7, 1, np.arange(3))
        >>> bool((keys[:2] == hash_keys(7, 1, np.arange(2))).all())
        True
        >>> bool((keys == hash_keys(8, 1, np.arange(3))).any())
        False
    """
    with np.errstate(over="ignore"):
        # The seed is mixed before anything is added to it: (0, purpose 2) is not (1, purpose 1).
        keys = np.atleast_1d(np.asarray(_mix(np.uint64(seed & 0xFFFFFFFFFFFFFFFF))))
    for number in numbers:
        keys = fold_keys(keys, number)
    return keys


def fold_keys(keys: Keys, number: int | npt.NDArray[Any]) -> Keys:
    """Keys with one more number in them, as :func:`hash_keys` would have made them.

    Args:
        keys: ``(N,)`` uint64, of :func:`hash_keys`.
        number: an integer >= 0, or ``(N,)`` of them.

    Example:
        >>> bool(fold_keys(hash_keys(7, 1), 5) == hash_keys(7, 1, 5))
        True
    """
    with np.errstate(over="ignore"):
        folded: Keys = _mix(keys + np.asarray(number).astype(np.uint64))
    return folded


def told_keys(seed: int, job_id: str, n: int) -> Keys:
    """``(n,)`` keys of what a conditioned policy is told for each reply of a round.

    Args:
        seed: of the run.
        job_id: of the policy that replies.
        n: replies.

    Example:
        >>> len(set(told_keys(0, "offline", 50)) | set(told_keys(0, "online-1", 50)))
        100
    """
    return hash_keys(seed, _TOLD, zlib.crc32(job_id.encode()), np.arange(n))


def _mix(key: Any) -> Any:
    z = key + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(keys: Keys, stream: int = 0) -> npt.NDArray[np.float64]:
    """Independent numbers in [0, 1) from 64-bit keys, another set for each stream.

    Args:
        keys: ``(P,)`` uint64, already well mixed or not.
        stream: which of a key's numbers, >= 0.

    Returns:
        ``(P,)`` float64 with 53 random bits.

    Example:
        >>> values = uniform(np.arange(10_000, dtype=np.uint64))
        >>> bool(abs(values.mean() - 0.5) < 0.01)
        True
    """
    return (hash_keys(stream, keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53
