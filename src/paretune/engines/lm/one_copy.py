"""Parameters that several models have in common, in memory once."""

from __future__ import annotations

from typing import Any, final
from weakref import WeakValueDictionary

import torch
from torch import nn

_SAMPLED = 64


@final
class OneCopy:
    """Models share the parameters that are equal: adapters of one base share the base.

    Parameters are compared, not files: heads, adapters and whole models that left a layer as it
    was share alike, however they were loaded. Nothing is kept that no model uses. For models that
    only answer: one that trained would train the others.

    Example:
        >>> one, other = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> _ = other.load_state_dict(one.state_dict())
        >>> copies = OneCopy()
        >>> copies.share(one), copies.share(other)
        (None, None)
        >>> one.weight is other.weight
        True
    """

    def __init__(self) -> None:
        self._kept: WeakValueDictionary[Any, nn.Parameter] = WeakValueDictionary()

    def share(self, model: nn.Module) -> None:
        """Give a model the parameters of earlier ones where they are equal to its own."""
        for module in model.modules():
            for name, own in list(module.named_parameters(recurse=False)):
                kept = self._kept.setdefault(_look(own), own)
                if kept is not own and torch.equal(kept, own):
                    setattr(module, name, kept)


def _look(parameter: nn.Parameter) -> Any:
    """Equal for equal parameters, and cheap."""
    flat = parameter.detach().flatten()
    sample = flat[:: max(1, len(flat) // _SAMPLED)][:_SAMPLED]
    return type(parameter), parameter.shape, parameter.dtype, parameter.device, *sample.tolist()
