"""Next-token logits of growing rows: prompts are read once, then a token a row at a time."""

from __future__ import annotations

import inspect
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.engines.lm.cache import roomy_cache


@final
class Reader:
    """Gives the next token's logits for a batch of growing rows.

    Args:
        model: in evaluation mode.
        prompts: one a row; padded on the left, so that all rows end at the same column.
        pad_id: the padding.
        room: tokens that will be added.
    """

    def __init__(
        self, model: Any, prompts: list[npt.NDArray[np.int32]], pad_id: int, room: int
    ) -> None:
        self._model = model
        device = next(model.parameters()).device
        width = max(len(p) for p in prompts)
        ids = np.full((len(prompts), width), pad_id, dtype=np.int64)
        mask = np.zeros((len(prompts), width + room), dtype=np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = prompt
            mask[row, width - len(prompt) :] = 1
        self._ids = torch.from_numpy(ids).to(device)
        self._mask = torch.from_numpy(mask).to(device)
        self._width = width
        self._position = self._mask[:, :width].sum(1, keepdim=True) - 1
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        takes = inspect.signature(base.forward).parameters
        self._takes_positions = "position_ids" in takes
        self._options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        # Without a cache of this kind (Mamba) every token reads its whole row again.
        self._cache = roomy_cache(base.config, width + room) if "past_key_values" in takes else None

    def read_prompts(self) -> Tensor:
        """``(rows, V)`` logits of the first token."""
        positions = (self._mask[:, : self._width].cumsum(1) - 1).clamp(min=0)
        return self._forward(self._ids, positions)

    def read(self, tokens: Tensor) -> Tensor:
        """``(rows, V)`` logits after one more token a row."""
        self._width += 1
        self._position = self._position + 1
        if self._cache is not None:
            return self._forward(tokens[:, None], self._position)
        self._ids = torch.cat([self._ids, tokens[:, None]], 1)
        return self.read_prompts()

    def select(self, rows: Tensor) -> None:
        """Rows become the batch, in this order; a row may be taken several times or not at all."""
        rows = rows.to(self._ids.device)
        self._mask, self._position = self._mask[rows], self._position[rows]
        if self._cache is None:
            self._ids = self._ids[rows]
        else:
            self._cache.reorder_cache(rows)

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        options = dict(self._options)
        if self._takes_positions:
            options["position_ids"] = positions
        if self._cache is not None:
            options["past_key_values"] = self._cache
        logits: Tensor = self._model(
            input_ids=ids,
            attention_mask=self._mask[:, : self._width],
            use_cache=self._cache is not None,
            **options,
        ).logits
        return logits[:, -1]
