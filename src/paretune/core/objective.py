"""Objectives: the ordered axes of quality, every one maximized."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from paretune.errors import ConfigError, nearest

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")


@final
@dataclass(frozen=True)
class Objectives:
    """The axes of quality of a run, in a fixed order; larger is better on each.

    Args:
        names: one identifier an objective (letters, digits, ``_``; at most 32 characters).

    Raises:
        ConfigError: if a name is malformed or repeated, or there is none.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise ConfigError("objectives: found none, expected at least one name")
        for name in self.names:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ConfigError(
                    f"objectives: found {name!r}, expected letters, digits and _ (at most 32)"
                )
        if len(set(self.names)) != len(self.names):
            raise ConfigError(f"objectives: a name is repeated in {list(self.names)}")

    @classmethod
    def of(cls, *names: str) -> Objectives:
        """Objectives from names: ``Objectives.of("helpful", "harmless")``."""
        return cls(tuple(names))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def index(self, name: str) -> int:
        """Column of an objective.

        Raises:
            ConfigError: if the name is unknown; the message proposes the nearest.
        """
        if name not in self.names:
            raise ConfigError(f"unknown objective {name!r}{nearest(name, self.names)}")
        return self.names.index(name)

    def select(self, names: Sequence[str]) -> tuple[int, ...]:
        """Columns of several objectives, in the order asked for."""
        return tuple(self.index(name) for name in names)
