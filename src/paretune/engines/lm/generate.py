"""Replies: each prompt is read once, its draws share it, finished rows leave the batch.

A draw is a function of (seed, prompt number, draw number, position), not of a generator's state:
the same replies come out whatever the batch size, and an interrupted run goes on exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import DynamicCache

from paretune.engines.lm.batches import hash_keys
from paretune.engines.lm.encode import Ragged
from paretune.engines.lm.forward import autocast
from paretune.errors import ConfigError

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
        model: a Hugging Face causal language model, with or without adapters.
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
    replies: list[list[list[int]]] = [[] for _ in range(len(prompts))]
    order = np.argsort(prompts.lengths, kind="stable")
    per_batch = max(1, decoding.rows // draws)
    done = 0
    for start in range(0, len(order), per_batch):
        batch = order[start : start + per_batch]
        keys = hash_keys(
            decoding.seed,
            4,
            np.repeat(numbers[batch], draws),
            np.tile(np.arange(draws), len(batch)),
        )
        rows = _decode_batch(
            model, [prompts[int(s)] for s in batch], keys, eos_id, pad_id, decoding, draws, dtype
        )
        for place, s in enumerate(batch):
            replies[int(s)] = rows[place * draws : (place + 1) * draws]
        done += len(rows)
        if progress is not None:
            progress(done, len(prompts) * draws)
    model.train(was_training)
    return replies


def _decode_batch(
    model: Any,
    prompts: list[npt.NDArray[np.int32]],
    keys: npt.NDArray[np.uint64],
    eos_id: int,
    pad_id: int,
    decoding: Decoding,
    draws: int,
    dtype: torch.dtype,
) -> list[list[int]]:
    device = next(model.parameters()).device
    width = max(len(p) for p in prompts)
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, prompt in enumerate(prompts):  # left padding: all rows end at the same column
        ids[row, width - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
        mask[row, width - len(prompt) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    cache = DynamicCache(config=model.config)
    with autocast(device, dtype):
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
    if draws > 1:
        cache.batch_repeat_interleave(draws)
        mask, logits = (x.repeat_interleave(draws, 0) for x in (mask, logits))
    n_rows = len(prompts) * draws
    tokens = np.full((n_rows, decoding.max_new_tokens), eos_id, dtype=np.int64)
    alive = np.arange(n_rows)  # rows of the reply table that are still in the batch
    is_open = np.ones(n_rows, dtype=bool)  # which of those have not ended
    position = mask.sum(1, keepdim=True)
    for step in range(decoding.max_new_tokens):
        chosen = _sample(logits, decoding, hash_keys(0, keys[alive], step))
        tokens[alive, step] = chosen.cpu().numpy()
        is_open &= tokens[alive, step] != eos_id
        if not is_open.any() or step + 1 == decoding.max_new_tokens:
            break
        if 1 - is_open.mean() >= _FINISHED_SHARE:
            keep = torch.from_numpy(np.flatnonzero(is_open)).to(device)
            cache.batch_select_indices(keep)
            mask, chosen, position = mask[keep], chosen[keep], position[keep]
            alive, is_open = alive[is_open], is_open[is_open]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        with autocast(device, dtype):
            logits = model(
                input_ids=chosen[:, None],
                attention_mask=mask,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
        position = position + 1
    return [_until(row, eos_id) for row in tokens]


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
