"""What a training must save to go on as if it had never stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor, nn


@final
class Resumable(nn.Module):
    """Policies that train, and what their loss remembers between steps.

    Its state dictionary holds what moves and nothing else: parameters that require a gradient, each
    under its first name (files of checkpoints allow no second one), and the states.

    Args:
        policies: a module from packed rows to log-probabilities.
        states: modules whose buffers belong to a checkpoint.
    """

    # The library asks for it when a file lacks names, as ours do: what is frozen is not in them.
    _keys_to_ignore_on_save = None

    def __init__(self, policies: nn.Module, states: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.policies = policies
        self.states = nn.ModuleList(states)
        self.register_state_dict_post_hook(_keep_what_moves)
        self.register_load_state_dict_pre_hook(_restore_second_names)

    def forward(self, rows: Any) -> Tensor:
        """Log-probabilities of the policies."""
        logps: Tensor = self.policies(rows)
        return logps

    @property
    def quantization_method(self) -> Any:
        """Passed on: the trainer must not move a 4-bit model."""
        return self.policies.quantization_method


def _keep_what_moves(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    moving = {name for name, p in module.named_parameters() if p.requires_grad}
    for name in list(state):
        own = name.removeprefix(prefix)
        if own not in moving and not own.startswith("states."):
            del state[name]


def _restore_second_names(
    module: nn.Module, state: dict[str, Any], prefix: str, *rest: object
) -> None:
    for name, first in _second_names(module).items():
        if prefix + first in state:
            state.setdefault(prefix + name, state[prefix + first])


def _second_names(module: nn.Module) -> dict[str, str]:
    """Further names of parameters to their first one."""
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if id(parameter) in first:
            found[name] = first[id(parameter)]
        first.setdefault(id(parameter), name)
    return found
