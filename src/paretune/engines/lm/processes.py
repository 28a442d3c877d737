"""Processes that train together."""

from __future__ import annotations

import os

import torch


def n_processes() -> int:
    """How many there are, as their launcher says (torchrun, accelerate launch)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def anyone(is_so: bool, device: torch.device) -> bool:
    """Whether any process says so; all of them must ask, and all learn it at the same step."""
    if n_processes() == 1:
        return is_so
    answer = torch.tensor([is_so], dtype=torch.int32, device=device)
    torch.distributed.all_reduce(answer, op=torch.distributed.ReduceOp.MAX)
    return bool(answer.item())
