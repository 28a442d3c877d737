"""What a training must save to go on as if it had never stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor, nn


@final
class Resumable(nn.Module):
    """Policies that train, and what their loss remembers between steps.

    Args:
        policies: a module from packed rows to log-probabilities.
        states: modules whose buffers belong to a checkpoint.
    """

    def __init__(self, policies: nn.Module, states: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.policies = policies
        self.states = nn.ModuleList(states)

    def forward(self, rows: Any) -> Tensor:
        """Log-probabilities of the policies."""
        logps: Tensor = self.policies(rows)
        return logps

    @property
    def quantization_method(self) -> Any:
        """Passed on: the trainer must not move a 4-bit model."""
        return self.policies.quantization_method
