"""Rows that come and go while others are decoded: one forward for all that are there.

New rows are read by themselves, with their own prompts, and then join the batch: their keys and
values are put beside those of the others, padded on the left. A row sees its own tokens only (a
mask), at its own positions, so what it answers does not depend on who is beside it.

Nobody is moved because one row comes or goes: a row has a slot, which the next one takes when it
has left. Slots are closed up only when a quarter of them, or of the columns, is of no use.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from paretune.engines.lm.cache import roomy_cache
from paretune.engines.lm.row_policies import RowPolicies, RowSteering
from paretune.errors import ConfigError

_ROOM = 64
"""Tokens of replies for which there is room at first."""

_ALIKE = 0.7
"""Share of the longest prompt that the others read with it have at least: the rest is padding."""

_USED = 0.75
"""Share of the slots, and of the columns, below which they are closed up."""


@final
class LiveBatch:
    """Growing rows of one model, each steered by itself.

    Args:
        policies: the model, and how rows are steered.
        pad_id: fills short rows.

    Raises:
        ConfigError: if the model keeps its past in another form than keys and values of every
            token (recurrent states, sliding windows): rows could not be put side by side.
    """

    def __init__(self, policies: RowPolicies, pad_id: int) -> None:
        self._policies, self._pad = policies, pad_id
        model = policies.model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        takes = inspect.signature(base.forward).parameters
        self._config = base.config
        is_plain = "past_key_values" in takes and all(
            type(layer) is DynamicLayer for layer in DynamicCache(config=base.config).layers
        )
        if not is_plain:
            raise ConfigError(
                f"serving: found {type(base).__name__}, which keeps more of its past than keys and "
                "values, expected one whose rows can join others"
            )
        self._takes_positions = "position_ids" in takes
        self._options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self._device = next(model.parameters()).device
        self._slots: list[int] = []  # of the rows, in their order
        # Of every slot, also of those that nobody has.
        self._steering: list[RowSteering] = []
        self._is_steered = False
        self._mask = torch.zeros(0, 0, dtype=torch.int64, device=self._device)
        self._cache: Any = None
        self.is_whole = True
        """False when a failure left rows half moved: their replies would be nonsense."""

    def __len__(self) -> int:
        return len(self._slots)

    @torch.no_grad()
    def join(
        self, prompts: Sequence[npt.NDArray[np.int32]], steering: Sequence[RowSteering]
    ) -> Tensor:
        """Add rows behind those that are there.

        Args:
            prompts: one a row, each of at least one token.
            steering: one a row.

        Returns:
            ``(new rows, V)`` logits of their first token.
        """
        # Those of like length are read together, the longest first, for whom room is made.
        order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
        before, logits = len(self), []
        try:
            for some in _alike(order, [len(prompt) for prompt in prompts]):
                found = self._join([prompts[row] for row in some], [steering[row] for row in some])
                logits.append(found)
        except Exception:
            if self.is_whole:
                self.keep(range(before))  # all of them or none
            raise
        back = np.argsort(order).tolist()
        self._slots[before:] = [self._slots[before + row] for row in back]
        return torch.cat(logits)[self._index(back)]

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Tensor:
        """``(rows, V)`` logits after one more token a row."""
        if not self._is_steered:
            self._policies.steer(self._steering)
            self._is_steered = True
        slots = self._index(self._slots)
        ids = torch.full_like(self._mask[:, :1], self._pad)
        ids[slots, 0] = tokens.to(self._device)
        # Who has no row sees the token that it reads, for a row must see something.
        seen = torch.cat([self._mask, torch.ones_like(ids)], 1)
        logits = self._forward(ids, seen, seen.sum(1, keepdim=True) - 1, self._cache)
        last = torch.zeros_like(ids).index_fill(0, slots, 1)
        self._mask = torch.cat([self._mask, last], 1)
        return logits if self._is_full else logits[slots]

    def keep(self, rows: Sequence[int]) -> None:
        """Rows that stay, in this order; the others are gone."""
        self._slots = [self._slots[int(row)] for row in rows]
        if not self._slots:
            self._cache, self._steering, self._mask = None, [], self._mask[:0, :0]
            return
        slots = self._index(self._slots)
        self._mask = torch.zeros_like(self._mask).index_copy(0, slots, self._mask[slots])
        # Columns that only rows now gone had.
        first = int(self._mask.any(0).nonzero()[0])
        if len(self._slots) <= _USED * len(self._steering) or first > (1 - _USED) * self._width:
            self._rearrange(self._slots, first)
            self._slots = list(range(len(self._slots)))

    def _join(
        self, prompts: Sequence[npt.NDArray[np.int32]], steering: Sequence[RowSteering]
    ) -> Tensor:
        """The same in one pass."""
        width = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), width), self._pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
            mask[row, width - len(prompt) :] = 1
        ids, mask = ids.to(self._device), mask.to(self._device)
        cache = roomy_cache(self._config, width + _ROOM)
        self._policies.steer(steering)
        self._is_steered = False
        logits = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), cache)
        if self._slots:
            self._put_beside(cache, mask, steering)
        else:
            self._cache, self._mask, self._steering = cache, mask, list(steering)
            self._slots = list(range(len(prompts)))
        return logits

    @property
    def _width(self) -> int:
        return int(self._mask.shape[1])

    @property
    def _is_full(self) -> bool:
        return self._slots == list(range(len(self._steering)))

    def _index(self, slots: Sequence[int]) -> Tensor:
        return torch.tensor(slots, dtype=torch.int64, device=self._device)

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
        options = dict(self._options)
        if self._takes_positions:
            options["position_ids"] = positions
        logits: Tensor = self._policies.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **options
        ).logits
        return logits[:, -1]

    def _put_beside(self, cache: Any, mask: Tensor, steering: Sequence[RowSteering]) -> None:
        """Give new rows a slot, of those that nobody has, or behind the others."""
        n, width = len(self._steering), int(mask.shape[1])
        slots = sorted(set(range(n)) - set(self._slots))[: len(mask)]
        missing = len(mask) - len(slots)
        if missing or width > self._width:
            self._rearrange([*range(n), *[0] * missing], min(0, self._width - width))
            slots += range(n, n + missing)
        index = self._index(slots)
        self._mask[index] = torch.nn.functional.pad(mask, (self._width - width, 0))
        for mine, new in zip(self._cache.layers, cache.layers, strict=True):
            for old, fresh in ((mine.keys, new.keys), (mine.values, new.values)):
                old[index] = 0  # what is masked counts 0 times, and 0 times no number is no number
                old[index, :, self._width - width :] = fresh
        for slot, one in zip(slots, steering, strict=True):
            self._steering[slot] = one
        self._slots += slots

    def _rearrange(self, slots: Sequence[int], left: int) -> None:
        """These slots in this order, with other columns at the start."""
        index = self._index(slots)
        self.is_whole = False
        for layer in self._cache.layers:
            layer.rearrange(index, left)
        self.is_whole = True
        self._mask = torch.nn.functional.pad(self._mask[index], (-left, 0))
        self._steering = [self._steering[slot] for slot in slots]
        self._is_steered = False


def _alike(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Rows from the longest on, cut where they get much shorter."""
    parts: list[list[int]] = []
    for row in order:
        if not parts or lengths[row] < _ALIKE * lengths[parts[-1][0]]:
            parts.append([])
        parts[-1].append(row)
    return parts
