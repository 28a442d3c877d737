"""Online jobs: a policy learns from the rewards of its own replies, by TRL's RLOO or GRPO.

TRL's are the advantages, the loss and the frozen reference; ours are the token ids of prompts, the
draws, the rewards, the optimization settings and what is reported. So a prompt is what it is for
every other method, and all of a job's randomness is in its seed.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from paretune.core.job import Offline, TrainingJob
from paretune.core.online import OnlineGoal
from paretune.engines.lm.checkpoints import Checkpoints, SealCallback
from paretune.engines.lm.job_data import JobCost, JobData
from paretune.engines.lm.own_replies import Asker
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.trainer import (
    SCHEDULES,
    Progress,
    WatchCallback,
    arithmetic,
    check_finite,
    check_parameters,
    flush_denormals,
    n_processes,
)
from paretune.errors import ConfigError, InputError

_TRL = "1.16."
"""Versions that the hooks below were read in: they are not part of TRL's public interface."""


def require_trl() -> None:
    """Refuse to go on without TRL.

    Raises:
        ConfigError: if it is missing, or another version than the one this is written for.
    """
    try:
        found = version("trl")
    except PackageNotFoundError as error:
        raise ConfigError(
            'online training: found no trl, expected it: pip install "paretune[trl]"'
        ) from error
    if not found.startswith(_TRL):
        raise ConfigError(
            f'online training: found trl {found}, expected {_TRL}x: pip install "paretune[trl]"'
        )


def check_online(job: TrainingJob, n_prompts: int) -> None:
    """Refuse an online job that could not be trained, before anything is.

    Args:
        job: of kind ``online``.
        n_prompts: training prompts there are.

    Raises:
        ConfigError: without TRL.
        InputError: if the job has no goal, is asked for something that online jobs do not have, or
            there are fewer prompts than a step asks.
    """
    require_trl()
    is_plain = job.source == Offline() and job.group is None and job.condition is None
    if job.online is None or not is_plain:
        raise InputError(
            f"job {job.id}: found no goal, or a source, group or condition, expected a goal alone: "
            "an online job learns from its own replies to the training prompts"
        )
    if n_prompts < job.online.prompts * n_processes():
        raise InputError(
            f"job {job.id}: found {n_prompts} training prompts, expected at least the "
            f"{job.online.prompts * n_processes()} of a step"
        )


def train_online(
    job: TrainingJob,
    inputs: JobData,
    model: Any,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> JobCost:
    """Train one online job in place.

    A step asks ``prompts`` prompts for ``generations`` replies each, and walks through the replies
    in ``accumulate`` batches; ``batch_size``, ``compile`` and dropout of adapters are not read:
    replies are rated under the very policy that gave them.

    Args:
        job: of kind ``online``; its own settings win over ``settings``.
        inputs: the prompts, and how replies to them are rewarded.
        model: the job's start and its reference, loaded from a folder or with adapters.
        settings: of the run.
        folder: for the library's own files.
        progress: receives every log line: loss, mean reward of each objective in its own units,
            ``kl`` in nats a reply.
        checkpoints: made on the way, and gone on from where there are any.

    Raises:
        ConfigError: if TRL is missing, or the replies of a step do not fill its batches.
        InputError: as :func:`check_online`.
        RunError: if training diverges.
    """
    check_online(job, len(inputs.encoded.prompts))
    goal = job.online
    assert goal is not None
    if inputs.own is None:
        raise InputError(f"job {job.id}: found no rewards for new text, expected some")
    settings = settings.with_job(job.settings)
    started = process_time()
    device = next(model.parameters()).device
    dtype = arithmetic(settings, device)
    asker = Asker.of(goal, inputs, settings.seed, dtype)
    steps = settings.n_steps(len(inputs.encoded.prompts), n_processes())
    resume = checkpoints.newest() if checkpoints else None
    with flush_denormals(), _quiet():
        trainer = _trainer(goal, asker, inputs, model, _arguments(
            goal, inputs, settings, steps, device.type == "cpu", dtype is torch.bfloat16,
            checkpoints.folder if checkpoints else folder, checkpoints.steps if checkpoints else 0,
        ))  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        names = inputs.data.rewards.objectives.names
        trainer.add_callback(_RewardCallback(trainer, asker, names))
        trainer.add_callback(WatchCallback(trainer, progress))
        if checkpoints is not None:
            trainer.add_callback(SealCallback(checkpoints, n_processes()))
        with _positions([model, trainer.ref_model]):
            trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    check_parameters(model, steps)
    _without_reference(model)
    replies = goal.prompts * goal.generations * n_processes() * steps
    tokens = int(trainer.state.num_input_tokens_seen)
    return JobCost(process_time() - started, tokens, steps, replies)


def _arguments(
    goal: OnlineGoal,
    inputs: JobData,
    settings: TrainSettings,
    steps: int,
    is_cpu: bool,
    is_bfloat16: bool,
    folder: Path,
    save_steps: int,
) -> Any:
    """Our settings in the words of TRL; what is not named here keeps its default."""
    from trl import GRPOConfig, RLOOConfig

    replies = goal.prompts * goal.generations
    if replies % settings.accumulate:
        raise ConfigError(
            f"train.accumulate: found {settings.accumulate}, expected a divisor of the {replies} "
            "replies of a step"
        )
    assert inputs.own is not None
    shared: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": is_cpu,
        "max_steps": steps,
        "per_device_train_batch_size": replies // settings.accumulate,
        "gradient_accumulation_steps": settings.accumulate,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": SCHEDULES.get(settings.schedule, settings.schedule),
        "warmup_steps": settings.warmup_steps,
        "weight_decay": settings.weight_decay,
        "adam_beta2": settings.adam_beta2,
        "max_grad_norm": settings.max_grad_norm,
        "optim": "adamw_torch_fused",
        "seed": settings.seed,
        "bf16": is_bfloat16,
        "gradient_checkpointing": settings.activation_checkpointing,
        "disable_dropout": True,
        # The order of the prompts is ours, for all steps: TRL's starts anew when a job goes on.
        "shuffle_dataset": False,
        "beta": goal.beta,
        "num_generations": goal.generations,
        "reward_weights": list(goal.weights),
        "temperature": goal.temperature,
        "max_completion_length": inputs.own.max_new_tokens,
        "save_strategy": "steps" if save_steps else "no",
        "save_steps": max(1, save_steps),
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "logging_nan_inf_filter": False,
        "logging_steps": max(1, steps // 20),
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
    }
    if goal.algorithm == "rloo":
        return RLOOConfig(**shared)
    return GRPOConfig(**shared, multi_objective_aggregation=goal.aggregate)


def _trainer(goal: OnlineGoal, asker: Asker, inputs: JobData, model: Any, args: Any) -> Any:
    """TRL's trainer with our prompts, replies and rewards."""
    from datasets import Dataset
    from trl import GRPOTrainer, RLOOTrainer

    is_rloo = goal.algorithm == "rloo"
    base: Any = RLOOTrainer if is_rloo else GRPOTrainer

    class OnlineTrainer(base):  # type: ignore[misc]
        """Prompts are their numbers; what they stand for, only the asker knows."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.window: dict[str, list[Tensor]] = {}
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
            if self.args.device.type == "cpu":
                check_finite(
                    {"loss": float(loss.detach())}, self.state.global_step + 1, self.state.max_steps
                )
            return loss

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
    assert inputs.own is not None
    per_step = goal.prompts * n_processes()
    order = prompt_order(len(inputs.encoded.prompts), per_step, args.max_steps, args.seed)
    return OnlineTrainer(
        model=model,
        reward_funcs=asker.functions,
        args=args,
        train_dataset=Dataset.from_dict({"prompt": [str(number) for number in order]}),
        processing_class=inputs.own.encoder.tokenizer,
    )


def prompt_order(n_prompts: int, per_step: int, steps: int, seed: int) -> npt.NDArray[np.int64]:
    """Which prompts each step asks: epochs in random order, no prompt twice in a step.

    Args:
        n_prompts: there are, at least ``per_step``.
        per_step: asked a step, over all processes.
        steps: in all.
        seed: of the order.

    Returns:
        ``(steps * per_step,)`` numbers of prompts.
    """
    rng = np.random.default_rng([seed, 6])
    used = n_prompts // per_step * per_step
    epochs = -(-steps * per_step // used)
    order = np.concatenate([rng.permutation(n_prompts)[:used] for _ in range(epochs)])
    return order[: steps * per_step]


class _RewardCallback(TrainerCallback):
    """Means since the last log line, in the units that people read."""

    def __init__(self, trainer: Any, asker: Asker, names: Sequence[str]) -> None:
        self._trainer, self._asker, self._names = trainer, asker, names

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        logs, window = logs or {}, self._trainer.window
        if logs.get("kl") is not None:
            # TRL's is a mean over tokens.
            window["kl"] = [torch.tensor(logs["kl"] * logs["completions/mean_length"])]
        for row in self._asker.raw:
            for name, value in zip(self._names, row, strict=True):
                window.setdefault(f"reward/{name}", []).append(torch.tensor(value))
        self._asker.raw.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of TRL's use of transformers, which no user can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextmanager
def _positions(models: Sequence[Any]) -> Iterator[None]:
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


def _without_reference(model: Any) -> None:
    """Drop the frozen copy that TRL keeps beside adapters: it is no part of the policy."""
    if "ref" in getattr(model, "peft_config", {}):
        model.delete_adapter("ref")
        model.set_adapter("default")
