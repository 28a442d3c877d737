"""What a step of several batches needs to be one step: all of them known, dropout repeated."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from paretune.engines.lm.processes import n_processes

Part = TypeVar("Part")


def gather(own: list[tuple[int, Part]]) -> list[tuple[int, Part]]:
    """The batches of every process, in no particular order.

    Args:
        own: number of each batch of this process, and what it is.
    """
    if n_processes() == 1:
        return own
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, own)
    return [item for theirs in everyone for item in theirs]


def randomness(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Where the random numbers of a device are, and those of the CPU."""
    on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), on_device


def restore_randomness(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    """Go back to where they were."""
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
