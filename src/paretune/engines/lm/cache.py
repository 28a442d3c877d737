"""A key-value cache that writes new tokens in place instead of copying all old ones."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

_SPARE = 32
"""Tokens for which there is room at least after rows were rearranged."""


@final
class RoomyLayer(DynamicLayer):
    """A cache layer of full attention with room for the whole reply.

    The library's own layer joins old and new tensors at every token: a quarter of the time of a
    small model. Here the keys and values are views of a longer buffer.

    Args:
        room: tokens it can hold; it grows when they are not enough.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append the states of new tokens and return those of all tokens."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old = self.get_seq_length()
        new = old + key_states.shape[-2]
        if self._buffers is None or new > self._room:
            self._room = max(self._room, 2 * old, new)
            self._move(old, None, key_states, value_states)
        assert self._buffers is not None
        keys, values = self._buffers
        keys[:, :, old:new] = key_states
        values[:, :, old:new] = value_states
        self.keys, self.values = keys[:, :, :new], values[:, :, :new]
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Rows ``beam_idx`` become the batch; a row may be taken several times or not at all."""
        if self.get_seq_length():
            self._move(self.get_seq_length(), beam_idx, self.keys, self.values)

    def rearrange(self, rows: Tensor, left: int) -> None:
        """Rows ``rows`` become the batch, with other columns at the start.

        Args:
            rows: numbers of rows; one may be taken several times or not at all.
            left: how many columns go; below 0, how many come, of zeros.
        """
        n = self.get_seq_length() - left
        self._room = n + max(_SPARE, n // 2)
        buffers = []
        for old in (self.keys, self.values):
            buffer = old.new_empty(len(rows), old.shape[1], self._room, old.shape[3])
            buffer[:, :, : max(-left, 0)] = 0
            part = buffer[:, :, max(-left, 0) : n]
            torch.index_select(old[:, :, max(left, 0) :], 0, rows, out=part)
            buffers.append(buffer)
        self._buffers = (buffers[0], buffers[1])
        self.keys, self.values = (b[:, :, :n] for b in buffers)

    def _move(self, n: int, rows: Tensor | None, *like: Tensor) -> None:
        """Put the first n tokens (of some rows) into buffers with the present room."""
        buffers = []
        for old, template in zip((self.keys, self.values), like, strict=True):
            shape = list(template.shape)
            shape[0] = shape[0] if rows is None else len(rows)
            shape[2] = self._room
            buffer = template.new_empty(shape)
            if n and rows is None:
                buffer[:, :, :n] = old
            elif n:
                torch.index_select(old, 0, rows, out=buffer[:, :, :n])
            buffers.append(buffer)
        self._buffers = (buffers[0], buffers[1])
        self.keys, self.values = (b[:, :, :n] for b in buffers)


def roomy_cache(config: PretrainedConfig, room: int) -> DynamicCache:
    """The library's cache for a model, its full-attention layers with room for some tokens.

    Sliding windows, recurrent states and what else an architecture needs stay the library's.

    Args:
        config: of the model.
        room: tokens of the longest prompt and reply.
    """
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer(room) if type(x) is DynamicLayer else x for x in cache.layers]
    return cache
