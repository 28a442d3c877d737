"""Replies: each prompt is read once, its draws share it, finished rows leave the batch.

A draw is a function of (seed, prompt number, draw number, position), not of a generator's state:
the same replies come out whatever the batch size, and an interrupted run goes on exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.engines.lm.encode import Ragged
from paretune.engines.lm.forward import autocast
from paretune.engines.lm.mixture import open_reader
from paretune.errors import ConfigError
from paretune.functional.draws import hash_keys

_REPLIES = 4
"""Names the draws of replies."""

_FINISHED_SHARE = 0.15
"""Rows are dropped once this share of a batch is finished; dropping copies the cache."""


@final
@dataclass(frozen=True)
class Decoding:
    """How replies are drawn; the same for every method of a run.

    Args:
        max_new_tokens: a reply is cut here, >= 1.
        temperature: of the softmax; 0 = greedy.
        top_p: nucleus mass in (0, 1]; 1 = all tokens.
        seed: of the draws.
        rows: prompts times draws in a batch, at most.
    """

    max_new_tokens: int = 64
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    rows: int = 512

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.rows < 1:
            raise ConfigError("generate: max_new_tokens and rows must be >= 1")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ConfigError(
                f"generate: found temperature {self.temperature}, top_p {self.top_p}; "
                "expected temperature >= 0, 0 < top_p <= 1"
            )


@torch.no_grad()
def generate(
    model: Any,
    prompts: Ragged,
    eos_id: int,
    pad_id: int,
    decoding: Decoding,
    *,
    draws: int = 1,
    prompt_numbers: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[list[int]]]:
    """Sample replies.

    Args:
        model: a Hugging Face causal language model, with or without adapters, or a mixture.
        prompts: S prompts as ids.
        eos_id: ends a reply.
        pad_id: fills short prompts.
        decoding: temperature, nucleus, length, seed.
        draws: replies a prompt, >= 1.
        prompt_numbers: S numbers that identify the prompts in the draws; default 0..S-1.
        dtype: arithmetic of the forward passes.
        progress: called with (finished replies, all replies).

    Returns:
        For each prompt, ``draws`` lists of ids without the end token.
    """
    was_training = model.training
    model.eval()
    numbers = np.arange(len(prompts)) if prompt_numbers is None else np.asarray(prompt_numbers)
    replies: list[list[list[int]]] = [[[] for _ in range(draws)] for _ in range(len(prompts))]
    done = 0
    # One context for all: it casts a weight once and keeps the copy until it ends.
    with autocast(next(model.parameters()).device, dtype):
        for batch, draw in _batches(prompts, draws, decoding.rows):
            keys = hash_keys(
                decoding.seed,
                _REPLIES,
                np.repeat(numbers[batch], len(draw)),
                np.tile(draw, len(batch)),
            )
            tokens = _decode_batch(
                model, [prompts[int(s)] for s in batch], keys, eos_id, pad_id, decoding
            )
            owner = itertools.product(batch, draw)
            for (s, d), row in zip(owner, tokens, strict=True):
                replies[int(s)][int(d)] = _until(row, eos_id)
            done += len(tokens)
            if progress is not None:
                progress(done, len(prompts) * draws)
    model.train(was_training)
    return replies


def _batches(
    prompts: Ragged, draws: int, rows: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Prompts of like length, and which of their draws, at most ``rows`` of them together."""
    order = np.argsort(prompts.lengths, kind="stable")
    per_batch = max(1, rows // draws)
    for start in range(0, len(order), per_batch):
        for first in range(0, draws, rows):
            yield order[start : start + per_batch], np.arange(first, min(first + rows, draws))


def _decode_batch(
    model: Any,
    prompts: list[npt.NDArray[np.int32]],
    keys: npt.NDArray[np.uint64],
    eos_id: int,
    pad_id: int,
    decoding: Decoding,
) -> npt.NDArray[np.int64]:
    """``(rows, max_new_tokens)`` ids, the draws of a prompt side by side."""
    reader = open_reader(model, prompts, pad_id, decoding.max_new_tokens)
    logits = reader.read_prompts()
    n_rows = len(keys)
    if n_rows > len(prompts):
        owner = torch.arange(len(prompts)).repeat_interleave(n_rows // len(prompts))
        reader.select(owner)
        logits = logits.index_select(0, owner.to(logits.device))
    tokens = np.full((n_rows, decoding.max_new_tokens), eos_id, dtype=np.int64)
    alive = np.arange(n_rows)  # rows of the table that are still in the batch
    is_open = np.ones(n_rows, dtype=bool)  # which of those have not ended
    for step in range(decoding.max_new_tokens):
        chosen = _sample(logits, decoding, hash_keys(0, keys[alive], step))
        tokens[alive, step] = chosen.cpu().numpy()
        is_open &= tokens[alive, step] != eos_id
        if not is_open.any() or step + 1 == decoding.max_new_tokens:
            break
        if 1 - is_open.mean() >= _FINISHED_SHARE:
            keep = torch.from_numpy(np.flatnonzero(is_open))
            reader.select(keep)
            chosen = chosen.index_select(0, keep.to(chosen.device))
            alive, is_open = alive[is_open], is_open[is_open]
        logits = reader.read(chosen)
    # A row that had ended while others went on has drawn tokens after its end: they are cut.
    return tokens


def _sample(logits: Tensor, decoding: Decoding, keys: npt.NDArray[np.uint64]) -> Tensor:
    """One token a row: the inverse of the cumulative distribution at a hashed uniform number."""
    if decoding.temperature == 0:
        return logits.argmax(-1)
    probs = torch.softmax(logits.float() / decoding.temperature, -1)
    uniform = torch.from_numpy((keys >> np.uint64(11)).astype(np.float64) * 2.0**-53)
    uniform = uniform.to(probs.device, torch.float32)[:, None]
    if decoding.top_p < 1:
        ranked, index = probs.sort(-1, descending=True)
        mass = ranked.cumsum(-1)
        # The smallest set whose mass reaches top_p; the most likely token is always in it.
        ranked = ranked.masked_fill(mass - ranked >= decoding.top_p, 0)
        place = _inverse_cdf(ranked, uniform)
        return index.gather(-1, place)[:, 0]
    return _inverse_cdf(probs, uniform)[:, 0]


def _inverse_cdf(probs: Tensor, uniform: Tensor) -> Tensor:
    cumulative = probs.cumsum(-1)
    place = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    # Rounding can put the last cumulative sum a hair below the target: take a possible token.
    return place.clamp(max=probs.shape[-1] - 1)


def _until(row: npt.NDArray[np.int64], eos_id: int) -> list[int]:
    ends = np.flatnonzero(row == eos_id)
    return [int(t) for t in (row[: ends[0]] if len(ends) else row)]
