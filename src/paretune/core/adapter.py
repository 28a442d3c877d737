"""The adapter of a policy that is conditioned on the trade-off through its parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from paretune.errors import ConfigError


@final
@dataclass(frozen=True)
class TradeOffAdapter:
    r"""Low-rank updates of all linear layers whose singular values hold the trade-off.

    :math:`W = W_0 + U\,\mathrm{diag}(\sigma_1..\sigma_k, s\lambda_1..s\lambda_M)\,V^\top` with
    trade-off :math:`\lambda`; everything but :math:`W_0` is learned, so one policy answers for
    every trade-off.

    Args:
        n_objectives: M, >= 2.
        rank: k directions that all trade-offs share, >= 0.
        directions: of each objective, >= 1.
        scale: what every :math:`\sigma` and :math:`s` starts from, > 0.
        concentration: of the Dirichlet distribution that trade-offs are drawn from in training,
            > 0; 1 is uniform, less gathers at the corners.

    Raises:
        ConfigError: for a number out of range.
    """

    n_objectives: int
    rank: int = 8
    directions: int = 1
    scale: float = 1.0
    concentration: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("n_objectives", 2), ("rank", 0), ("directions", 1)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"trade-off adapter: found {name} {getattr(self, name)}, expected >= {least}"
                )
        for name in ("scale", "concentration"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(
                    f"trade-off adapter: found {name} {getattr(self, name)}, expected a finite "
                    "number > 0"
                )

    @property
    def width(self) -> int:
        """Columns of U: shared directions, then those of each objective in order."""
        return self.rank + self.n_objectives * self.directions
