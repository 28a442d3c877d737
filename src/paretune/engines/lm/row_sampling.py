"""One token a row, each row with a temperature, a nucleus and draws of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.functional.draws import fold_keys, hash_keys

_SERVED = 9
"""Names the draws of served replies."""

_COLDEST = 1e-4
"""Below it a temperature is this one: logits over it must stay numbers."""

_LEAST = 1e-30
"""The same for a nucleus: a mass that float32 takes for 0 would hold no token at all."""


@final
@dataclass(frozen=True)
class Sampling:
    """How the tokens of one row are drawn.

    Args:
        temperature: of the softmax; 0 = the most likely token.
        top_p: nucleus mass in (0, 1]; 1 = all tokens.
        seed: of the draws; a draw depends on it, ``number`` and the position alone.
        number: which of several replies to one request.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    number: int = 0

    @cached_property
    def key(self) -> Any:
        """Of all its draws."""
        return hash_keys(self.seed, _SERVED, self.number)[0]


def draw_tokens(
    logits: Tensor, sampling: list[Sampling], position: npt.NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """The next token of each row, and what it was worth.

    Args:
        logits: ``(B, V)``.
        sampling: B ways to draw.
        position: ``(B,)`` tokens that each row has already.

    Returns:
        ``(B,)`` ids, and ``(B, V)`` log-probabilities under the policy itself, nats: neither
        temperature nor nucleus is in them.
    """
    logps = torch.log_softmax(logits.float(), -1)
    tokens = logits.argmax(-1)
    # Rows with and without a nucleus take different ways, each the same whoever is beside it: a
    # row's arithmetic must not depend on what its neighbors ask for.
    for has_nucleus in (False, True):
        rows = [
            n for n, how in enumerate(sampling)
            if how.temperature > 0 and (how.top_p < 1) == has_nucleus
        ]  # fmt: skip
        if rows:
            index = torch.tensor(rows, device=logits.device)
            drawn = _draw(logits[index], [sampling[n] for n in rows], position[rows], has_nucleus)
            tokens = tokens.index_copy(0, index, drawn)
    return tokens, logps


def _draw(
    logits: Tensor, sampling: list[Sampling], position: npt.NDArray[np.int64], has_nucleus: bool
) -> Tensor:
    """``(B,)`` ids at temperatures above 0."""
    device = logits.device
    heat = torch.tensor([max(how.temperature, _COLDEST) for how in sampling], device=device)
    probs = torch.softmax(logits.float() / heat[:, None], -1)
    order = None
    if has_nucleus:
        mass = torch.tensor([max(how.top_p, _LEAST) for how in sampling], device=device)[:, None]
        probs, order = probs.sort(dim=-1, descending=True, stable=True)
        # The smallest set whose mass reaches top_p; the most likely token is always in it.
        probs = probs.masked_fill(probs.cumsum(-1) - probs >= mass, 0)
    # In float64 a draw below 1 stays below the whole mass: it never ends behind the last token.
    cumulative = probs.double().cumsum(-1)
    uniform = torch.from_numpy(_uniform(sampling, position)).to(device)[:, None]
    place = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    # Only rows that hold no numbers end there; whoever asked for them is told elsewhere.
    place = place.clamp(max=int(probs.shape[-1]) - 1)
    return (place if order is None else order.gather(-1, place))[:, 0]


def _uniform(sampling: list[Sampling], position: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    keys = fold_keys(np.array([how.key for how in sampling], dtype=np.uint64), position)
    return (keys >> np.uint64(32)).astype(np.float64) * 2.0**-32
