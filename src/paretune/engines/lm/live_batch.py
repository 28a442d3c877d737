"""Rows that come and go while others are decoded: one forward for all that are there.

New rows are read by themselves, with their own prompts, and then join the batch: their keys and
values are put beside those of the others, padded on the left. A row sees its own tokens only (a
mask), at its own positions, so what it answers does not depend on who is beside it.
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

from paretune.engines.lm.row_policies import RowPolicies, RowSteering
from paretune.errors import ConfigError


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
        self._steering: list[RowSteering] = []
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._mask = torch.zeros(0, 0, dtype=torch.int64, device=self._device)

    def __len__(self) -> int:
        return len(self._steering)

    @property
    def width(self) -> int:
        """Columns of the longest row."""
        return int(self._mask.shape[1])

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
        width = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), width), self._pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
            mask[row, width - len(prompt) :] = 1
        ids, mask = ids.to(self._device), mask.to(self._device)
        cache = DynamicCache(config=self._config)
        self._policies.steer(steering)
        logits = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), cache)
        self._put_beside(cache, mask)
        self._steering += steering
        return logits

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Tensor:
        """``(rows, V)`` logits after one more token a row."""
        fresh = self._mask.new_ones(len(self), 1)
        mask = torch.cat([self._mask, fresh], 1)
        cache = DynamicCache(config=self._config)
        for n, (keys, values) in enumerate(zip(self._keys, self._values, strict=True)):
            cache.layers[n].update(keys, values)
        self._policies.steer(self._steering)
        position = mask.sum(1, keepdim=True) - 1
        logits = self._forward(tokens.to(self._device)[:, None], mask, position, cache)
        self._take(cache)
        self._mask = mask
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Rows that stay, in this order; the others are gone."""
        index = torch.tensor(list(rows), dtype=torch.int64, device=self._device)
        self._steering = [self._steering[int(row)] for row in rows]
        self._mask = self._mask[index]
        # Columns that only rows now gone had.
        used = self._mask.any(0).nonzero()
        first = int(used[0]) if len(used) else self.width
        self._mask = self._mask[:, first:]
        self._keys = [k.index_select(0, index)[:, :, first:] for k in self._keys]
        self._values = [v.index_select(0, index)[:, :, first:] for v in self._values]

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
        options = dict(self._options)
        if self._takes_positions:
            options["position_ids"] = positions
        logits: Tensor = self._policies.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **options
        ).logits
        return logits[:, -1]

    def _take(self, cache: Any) -> None:
        self._keys = [layer.keys for layer in cache.layers]
        self._values = [layer.values for layer in cache.layers]

    def _put_beside(self, cache: Any, mask: Tensor) -> None:
        if not len(self):
            self._take(cache)
            self._mask = mask
            return
        width = max(self.width, int(mask.shape[1]))
        self._mask = torch.cat([_left(self._mask, width), _left(mask, width)])
        for n, layer in enumerate(cache.layers):
            self._keys[n] = torch.cat([_wide(self._keys[n], width), _wide(layer.keys, width)])
            self._values[n] = torch.cat([_wide(self._values[n], width), _wide(layer.values, width)])


def _left(mask: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(mask, (width - mask.shape[1], 0))


def _wide(states: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(states, (0, 0, width - states.shape[2], 0))
