"""Train, validation and test: a prompt has one place, for ever and on every machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from paretune.core.record import Prompt, Record, prompt_key
from paretune.errors import ConfigError, DataError

SHARES: Mapping[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
_TOLERANCE = 1e-6


def split_of(prompt: Prompt, shares: Mapping[str, float] = SHARES) -> str:
    """Name of the split of a prompt.

    The first 64 bits of the prompt's hash are a point of [0, 1); the shares cut that line in the
    order they are given. There is no seed and no other prompt in it: rows can be added, removed
    and shuffled, and no prompt moves.

    Example:
        >>> split_of("Why is the sky blue?", {"train": 0.5, "test": 0.5})
        'train'
    """
    position = int(prompt_key(prompt), 16) / 2**64
    border = 0.0
    for name, share in shares.items():
        border += share
        if position < border:
            return name
    # The shares may sum to a little less than 1.
    return next(name for name in reversed(list(shares)) if shares[name] > 0)


def split_records(
    records: Iterable[Record], shares: Mapping[str, float] = SHARES
) -> dict[str, tuple[Record, ...]]:
    """Records by split; a prompt is never in two.

    Args:
        records: any number.
        shares: name -> expected share of the prompts, >= 0, sum 1.

    Returns:
        One entry a share, in the same order; records keep their order.

    Raises:
        ConfigError: if a share is negative or not finite, or the sum is not 1 within 1e-6.
        DataError: if a split with a positive share gets no record.
    """
    check_shares(shares)
    parts: dict[str, list[Record]] = {name: [] for name in shares}
    for record in records:
        parts[split_of(record.prompt, shares)].append(record)
    n_records = sum(map(len, parts.values()))
    for name, share in shares.items():
        if share > 0 and not parts[name]:
            raise DataError(
                f"split {name!r}: found none of {n_records} prompts, expected at least one (share "
                f"{share:g}); give more rows or a larger share"
            )
    return {name: tuple(part) for name, part in parts.items()}


def check_shares(shares: Mapping[str, Any]) -> None:
    """Refuse shares that are no division of 1.

    Raises:
        ConfigError: if a share is negative or not finite, or the sum is not 1 within 1e-6.
    """
    for name, share in shares.items():
        is_number = isinstance(share, int | float) and not isinstance(share, bool)
        if not is_number or not math.isfinite(share) or share < 0:
            raise ConfigError(f"split {name!r}: found share {share!r}, expected a number >= 0")
    if abs(sum(shares.values()) - 1) > _TOLERANCE:
        raise ConfigError(f"split: found shares {dict(shares)}, expected numbers with sum 1")
