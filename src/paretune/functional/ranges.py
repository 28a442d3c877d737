"""Fields of a frozen dataclass that must lie in a range, or be one of a few words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from paretune.errors import ConfigError, nearest


def require_number(
    owner: object,
    field: str,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Refuse a field that is not a finite number in a range.

    Args:
        owner: the dataclass.
        field: name of the field.
        above: the field is larger than this.
        at_least: the field is not smaller than this.
        below: the field is smaller than this.

    Raises:
        ConfigError: naming the class, the field, what was found and what was expected.
    """
    value: Any = getattr(owner, field)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and above < value < below and value >= at_least:
        return
    limits = [f"> {above:g}"] * math.isfinite(above) + [f">= {at_least:g}"] * math.isfinite(
        at_least
    )
    limits += [f"< {below:g}"] * math.isfinite(below)
    raise ConfigError(
        f"{type(owner).__name__}: found {field} {value!r}, expected a number "
        + (" and ".join(limits) or "that is finite")
    )


def require_word(owner: object, field: str, words: Sequence[str]) -> None:
    """Refuse a field that is none of a few words.

    Raises:
        ConfigError: naming the nearest word.
    """
    value = getattr(owner, field)
    if value not in words:
        raise ConfigError(
            f"{type(owner).__name__}: found {field} {value!r}{nearest(str(value), words)}"
        )


def require_flag(owner: object, field: str) -> None:
    """Refuse a field that is not true or false: any text would count as true.

    Args:
        owner: the dataclass.
        field: name of the field.

    Raises:
        ConfigError: naming the class, the field and what was found.
    """
    value: Any = getattr(owner, field)
    if not isinstance(value, bool):
        raise ConfigError(
            f"{type(owner).__name__}: found {field} {value!r}, expected true or false"
        )
