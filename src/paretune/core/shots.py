"""Few-shot personalization: how a user is shown in a prompt, and who is asked what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final, get_args

import numpy as np
import numpy.typing as npt

from paretune.errors import ConfigError, ShapeError, nearest

DescriptionMode = Literal["none", "given", "generate"]
Layout = Literal["inline", "dialogue"]


@final
@dataclass(frozen=True)
class FewShot:
    """How a prompt tells who is asking.

    Args:
        n_shots: fewest and most preference pairs of the user in a prompt, >= 0; each visit of an
            example draws its number uniformly between them, both included.
        description: ``given``: the prompt says in words what the user wants; ``generate``: the
            policy writes that itself before it answers; ``none``: neither.
        layout: ``inline``: the pairs stand in the turn of the question, both responses of each;
            ``dialogue``: each pair is a turn of its own, answered by its chosen response.
        shows_weights: also give the user's trade-off in numbers, rounded to 0.05.
        max_prompt_tokens: shots are dropped, the oldest first, until a prompt fits; >= 1.
        min_gap: a pair whose responses differ less in the user's utility is not shown, in [0, 1].
        label_noise: slope of the chance that a shown pair keeps its orientation,
            ``sigmoid(slope * gap)``, > 0; ``None``: users never err.

    Raises:
        ConfigError: if a value is out of range.

    Example:
        >>> FewShot(n_shots=(0, 8)).n_shots
        (0, 8)
    """

    n_shots: tuple[int, int] = (4, 4)
    description: DescriptionMode = "none"
    layout: Layout = "inline"
    shows_weights: bool = False
    max_prompt_tokens: int = 4096
    min_gap: float = 0.05
    label_noise: float | None = None

    def __post_init__(self) -> None:
        shots = tuple(self.n_shots)
        is_range = len(shots) == 2 and all(type(n) is int for n in shots)
        if not is_range or not 0 <= shots[0] <= shots[1]:
            raise ConfigError(
                f"few shots: found n_shots {self.n_shots}, expected two integers, 0 <= low <= high"
            )
        object.__setattr__(self, "n_shots", shots)
        for name, known in (("description", DescriptionMode), ("layout", Layout)):
            found = getattr(self, name)
            if found not in get_args(known):
                hint = nearest(str(found), get_args(known))
                raise ConfigError(f"few shots: unknown {name} {found!r}{hint}")
        if self.max_prompt_tokens < 1:
            raise ConfigError(
                f"few shots: found max_prompt_tokens {self.max_prompt_tokens}, expected >= 1"
            )
        if not 0 <= self.min_gap <= 1:
            raise ConfigError(f"few shots: found min_gap {self.min_gap}, expected 0 to 1")
        noise = self.label_noise
        if noise is not None and not (math.isfinite(noise) and noise > 0):
            raise ConfigError(f"few shots: found label_noise {noise}, expected a slope > 0 or none")


@final
@dataclass(frozen=True)
class Examples:
    """Who has an opinion on what: one row an example, and the row number is its id.

    Args:
        user_of: ``(E,)`` int64, row of a list of users.
        comparison_of: ``(E,)`` int64, row of the comparisons of a data set.

    Raises:
        ShapeError: if the columns differ in length.
    """

    user_of: npt.NDArray[np.int64]
    comparison_of: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.user_of.ndim != 1 or self.user_of.shape != self.comparison_of.shape:
            raise ShapeError(
                f"examples: found users {self.user_of.shape} and comparisons "
                f"{self.comparison_of.shape}, expected (E,) both"
            )

    def __len__(self) -> int:
        return len(self.user_of)
