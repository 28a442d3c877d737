"""TRL's trainers with the hooks that make prompts, replies and rewards ours."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from transformers import TrainerCallback

from paretune.core.online import Algorithm
from paretune.engines.lm.finite import check_finite
from paretune.engines.lm.own_replies import Asker
from paretune.engines.lm.training_state import PlainState
from paretune.errors import InputError


def online_trainer(
    algorithm: Algorithm, asker: Asker, order: npt.NDArray[np.int64], model: Any, args: Any
) -> Any:
    """TRL's trainer with our prompts, replies and rewards.

    Args:
        algorithm: which of its trainers.
        asker: draws and rewards the replies.
        order: numbers of the prompts of all steps.
        model: the policy, which is also what the reference is read from.
        args: of TRL's trainer, with the order left as it is.

    Raises:
        InputError: if the reference could not be read from anywhere.
    """
    from datasets import Dataset
    from trl import GRPOTrainer, RLOOTrainer

    is_rloo = algorithm == "rloo"
    base: Any = RLOOTrainer if is_rloo else GRPOTrainer

    class OnlineTrainer(PlainState, base):  # type: ignore[misc]
        """Prompts are their numbers; what they stand for, only the asker knows."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._asked: list[int] = []
            super().__init__(*args, **kwargs)

        def _tokenize_prompts(
            self, prompts: list[str]
        ) -> tuple[list[list[int]], None, dict[str, Any]]:
            self._asked = [int(p) for p in prompts]
            return asker.prompt_ids(self._asked), None, {}

        def _generate_single_turn(self, *_: Any, **__: Any) -> Any:
            replies = asker.replies(self.model, self._asked, self.state.global_step)
            return replies if is_rloo else (replies, None)

        def compute_loss(self, *given: Any, **named: Any) -> Any:
            loss = super().compute_loss(*given, **named)
            if self.args.device.type == "cpu" and not self.may_skip:
                check_finite(
                    {"loss": float(loss.detach())}, self.state.global_step + 1, self.state.max_steps
                )
            return loss

        def log_state(self) -> dict[str, Any]:
            raw = [[float(v) for v in row] for row in asker.raw]
            return super().log_state() | {"trl": dict(self._metrics["train"]), "raw": raw}

        def set_log_state(self, saved: Mapping[str, Any]) -> None:
            super().set_log_state(saved)
            self._metrics["train"].update(saved["trl"])
            asker.raw[:] = [np.asarray(row) for row in saved["raw"]]

        def create_model_card(self, *_: Any, **__: Any) -> None:
            """A checkpoint needs none."""

        def _send_telemetry(self) -> None:
            """A training tells nobody."""

    if not hasattr(model, "peft_config") and not model.config._name_or_path:
        raise InputError(
            "online training: found a model that was never saved, expected one loaded from a "
            "folder, or adapters: the reference is read from there"
        )
    logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
    return OnlineTrainer(
        model=model,
        reward_funcs=asker.functions,
        args=args,
        train_dataset=Dataset.from_dict({"prompt": [str(number) for number in order]}),
        processing_class=asker.tokenizer,
    )


@final
class RewardCallback(TrainerCallback):
    """Means since the last log line, in the units that people read.

    Args:
        trainer: whose log lines they join.
        asker: knows the rewards as they were given.
        names: of the objectives.
    """

    def __init__(self, trainer: Any, asker: Asker, names: Sequence[str]) -> None:
        self._trainer, self._asker, self._names = trainer, asker, names

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Before the line is reported."""
        logs, window = logs or {}, self._trainer.window
        if logs.get("kl") is not None:
            # TRL's is a mean over tokens.
            window["kl"] = [torch.tensor(logs["kl"] * logs["completions/mean_length"])]
        for row in self._asker.raw:
            for name, value in zip(self._names, row, strict=True):
                window.setdefault(f"reward/{name}", []).append(torch.tensor(value))
        self._asker.raw.clear()


@contextmanager
def quiet_trl() -> Iterator[None]:
    """Without the warnings of TRL's use of transformers, which no user can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextmanager
def counted_positions(models: Sequence[Any]) -> Iterator[None]:
    """Number the tokens of a row from its first one, whatever pads it on the left.

    TRL leaves positions to the model, which counts the padding; a model that learns a vector a
    position would then rate other replies than it gave.
    """
    hooks = [
        model.register_forward_pre_hook(_number_tokens, with_kwargs=True)
        for model in models
        if model is not None and "position_ids" in _takes(model)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _takes(model: Any) -> Sequence[str]:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return tuple(inspect.signature(base.forward).parameters)


def _number_tokens(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    mask = kwargs.get("attention_mask")
    if mask is not None and mask.ndim == 2 and kwargs.get("position_ids") is None:
        kwargs = kwargs | {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
    return args, kwargs
