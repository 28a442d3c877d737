"""The adapter of a policy that is conditioned on the trade-off through its parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.errors import ConfigError, InputError


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


@final
@dataclass(frozen=True)
class TradeOffEmbedding:
    """A vector for each of some trade-offs, added to the embedding of every token.

    Nothing is written into the prompt: a tokenizer that knows no numbers and a model that does not
    read them from its prompts are told all the same, and replies at different trade-offs differ by
    one vector a row.

    Args:
        tradeoffs: K trade-offs ``(K, M)``, all different, on the simplex.
        scale: length of the vectors at the start, in mean lengths of the token embeddings, >= 0.

    Raises:
        ConfigError: if there is none, one comes twice or ``scale`` is out of range.
    """

    tradeoffs: tuple[tuple[float, ...], ...]
    scale: float = 1.5

    def __post_init__(self) -> None:
        if not self.tradeoffs or len(set(self.tradeoffs)) != len(self.tradeoffs):
            raise ConfigError(
                f"trade-off embedding: found {list(self.tradeoffs)}, expected different trade-offs"
            )
        if not 0 <= self.scale < math.inf:
            raise ConfigError(f"trade-off embedding: found scale {self.scale}, expected >= 0")


def told_numbers(about: TradeOffEmbedding, given: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """``(Q,)`` number of the trade-off that each row is told.

    Args:
        about: the trade-offs.
        given: ``(Q, M)`` of the rows, each one of them.

    Raises:
        InputError: if a row is told another one.
    """
    known = np.asarray(about.tradeoffs)
    if given.shape[1:] != known.shape[1:]:
        raise InputError(
            f"trade-off embedding: found rows that are told {given.shape[1:]} numbers, expected "
            f"{known.shape[1]}"
        )
    distance = np.abs(given[:, None] - known).max(axis=2)
    if (distance.min(axis=1) > 1e-9).any():
        row = int((distance.min(axis=1) > 1e-9).argmax())
        raise InputError(
            f"trade-off embedding: row {row} is told {given[row].tolist()}, expected one of the "
            f"{len(known)} trade-offs that have a vector"
        )
    return np.asarray(distance.argmin(axis=1), dtype=np.int64)
