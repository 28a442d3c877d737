"""One token a row, each row with a temperature, a nucleus and draws of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.functional.draws import hash_keys

_SERVED = 9
"""Names the draws of served replies."""


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
    rows = [n for n, how in enumerate(sampling) if how.temperature > 0]
    if not rows:
        return tokens, logps
    index = torch.tensor(rows, device=logits.device)
    heat = torch.tensor([sampling[n].temperature for n in rows], device=logits.device)[:, None]
    mass = torch.tensor([sampling[n].top_p for n in rows], device=logits.device)[:, None]
    probs = torch.softmax(logits[index].float() / heat, -1)
    uniform = torch.from_numpy(_uniform([sampling[n] for n in rows], position[rows]))
    uniform = uniform.to(probs.device, torch.float32)[:, None]
    # Every row is ranked, also those without a nucleus: a row's arithmetic must not depend on
    # what its neighbors ask for.
    ranked, order = probs.sort(dim=-1, descending=True, stable=True)
    # The smallest set whose mass reaches top_p; the most likely token is always in it.
    ranked = ranked.masked_fill(ranked.cumsum(-1) - ranked >= mass, 0)
    cumulative = ranked.cumsum(-1)
    place = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    place = place.clamp(max=int(probs.shape[-1]) - 1)
    # Rounding may point behind the last possible token.
    place = torch.minimum(place, (ranked > 0).sum(-1, keepdim=True) - 1)
    return tokens.index_copy(0, index, order.gather(-1, place)[:, 0]), logps


def _uniform(sampling: list[Sampling], position: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    keys = np.concatenate(
        [
            hash_keys(how.seed, _SERVED, how.number, int(n))
            for how, n in zip(sampling, position, strict=True)
        ]
    )
    return (keys >> np.uint64(11)).astype(np.float64) * 2.0**-53
