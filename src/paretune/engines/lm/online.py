"""Online jobs: a policy learns from the rewards of its own replies, by TRL's RLOO or GRPO.

TRL's are the advantages, the loss and the frozen reference; ours are the token ids of prompts, the
draws, the rewards, the optimization settings and what is reported. So a prompt is what it is for
every other method, all of a job's randomness is in its seed, and a job that was killed goes on as
if nothing had happened: every step draws its own replies, so each one ends where one can stop.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from paretune.core.job import Offline, TrainingJob
from paretune.core.online import OnlineGoal
from paretune.engines.lm.checkpoints import STAGING, Checkpoints
from paretune.engines.lm.finite import check_parameters
from paretune.engines.lm.job_data import JobCost, JobData
from paretune.engines.lm.online_trainer import (
    RewardCallback,
    counted_positions,
    online_trainer,
    quiet_trl,
)
from paretune.engines.lm.own_replies import Asker
from paretune.engines.lm.processes import n_processes
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.trainer import (
    SCHEDULES,
    Progress,
    WatchCallback,
    arithmetic,
    flush_denormals,
    train_to_end,
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
    n_prompts, per_step = len(inputs.encoded.prompts), goal.prompts * n_processes()
    steps = settings.n_steps(n_prompts * goal.generations, n_processes())
    with flush_denormals(), quiet_trl():
        args = _arguments(
            goal, inputs, settings, steps, device.type == "cpu", dtype is torch.bfloat16,
            checkpoints.folder / STAGING if checkpoints else folder,
        )  # fmt: skip
        order = prompt_order(n_prompts, per_step, steps, settings.seed)
        trainer = online_trainer(goal.algorithm, asker, order, model, args)
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        names = inputs.data.rewards.objectives.names
        trainer.add_callback(RewardCallback(trainer, asker, names))
        trainer.add_callback(WatchCallback(trainer, progress))
        trainer.skip_nonfinite(settings.skip_nonfinite)
        with counted_positions([model, trainer.ref_model]):
            train_to_end(trainer, checkpoints)
    check_parameters(model, steps)
    _without_reference(model)
    replies = per_step * goal.generations * steps
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
        "save_strategy": "no",
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


def _without_reference(model: Any) -> None:
    """Drop the frozen copy that TRL keeps beside adapters: it is no part of the policy."""
    if "ref" in getattr(model, "peft_config", {}):
        model.delete_adapter("ref")
        model.set_adapter("default")
