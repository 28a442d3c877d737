"""How a language-model job is trained: one dataclass, read by every job of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, final

from paretune.errors import ConfigError, nearest


@final
@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters instead of full fine-tuning.

    rsLoRA, DoRA and bias adapters are not offered: their weighted sums are not exact, and
    merging is what adapters are for here.

    Args:
        rank: r of each adapter, >= 1.
        alpha: scale of the update is ``alpha / rank``.
        dropout: on the adapter's input while training, in [0, 1).
        target: ``all-linear``, or module names separated by commas.
        layers: ``all``, ``top-half`` or ``top-quarter`` of the blocks, at least one: between heads
            on a frozen trunk and adapters everywhere in strength and in cost. The blocks below are
            frozen, so that nothing is propagated back through them; they still run at every step.
        quantize: ``4bit`` loads the base in 4 bits (needs a GPU and bitsandbytes).
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target: str = "all-linear"
    layers: Literal["all", "top-half", "top-quarter"] = "all"
    quantize: Literal["none", "4bit"] = "none"

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 < self.alpha < math.inf or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"lora: found rank {self.rank}, alpha {self.alpha}, dropout {self.dropout}; "
                "expected rank >= 1, alpha > 0, 0 <= dropout < 1"
            )


@final
@dataclass(frozen=True)
class TrainSettings:
    """Optimization of one job. A job's own ``settings`` win over the run's.

    Args:
        learning_rate: peak of the schedule, > 0.
        epochs: passes over the job's rows; used when ``steps`` is 0.
        steps: optimizer steps; 0 = from ``epochs``.
        batch_size: rows (pairs or responses) of a step and device.
        accumulate: batches summed before an optimizer step, >= 1.
        schedule: ``linear`` to 0, ``cosine`` to 0, or ``constant``.
        warmup_steps: steps of linear warm-up.
        weight_decay: of AdamW, on matrices only.
        adam_beta2: second-moment decay of AdamW, in (0, 1).
        max_grad_norm: gradients are scaled down to this norm; 0 = never.
        skip_nonfinite: steps with a loss or gradient that is not finite which a job may leave out,
            counted in its log; 0 = it stops at the first.
        max_prompt_tokens: longer prompts lose their beginning.
        max_response_tokens: longer responses lose their end.
        precision: ``auto`` is bfloat16 where the processor has units for it, else float32.
        activation_checkpointing: trade time for memory.
        compile: run the model's blocks through ``torch.compile``: a step takes 0.7 to 0.9 of the
            time, after half a minute or more of compiling (kept on disk for later runs).
        checkpoint_minutes: between checkpoints of a job; one that was killed goes on from its
            newest, bit for bit as if nothing had happened. 0 = not by the clock.
        checkpoint_steps: between checkpoints of a job, besides; 0 = not by the count. With neither
            a job that was killed or stopped starts again.
        trunk_memory_gb: memory that the states of a frozen trunk may take; more of them go to a
            file that is mapped, in the same precision, so that nothing changes but the speed.
        lora: adapters; ``None`` = full fine-tuning.
        seed: of the row order and of dropout, below 2**31; the run's seed is added to it.
    """

    learning_rate: float = 2e-4
    epochs: float = 2.0
    steps: int = 0
    batch_size: int = 32
    accumulate: int = 1
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = 0
    weight_decay: float = 0.01
    adam_beta2: float = 0.98
    max_grad_norm: float = 1.0
    skip_nonfinite: int = 0
    max_prompt_tokens: int = 256
    max_response_tokens: int = 256
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    activation_checkpointing: bool = False
    compile: bool = False
    checkpoint_minutes: float = 5.0
    checkpoint_steps: int = 0
    trunk_memory_gb: float = 2.0
    lora: LoraSettings | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"train.{field.name}: found {value}, expected a finite number")
        positive = ("learning_rate", "epochs", "batch_size", "accumulate", "max_prompt_tokens")
        for name in (*positive, "max_response_tokens"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"train.{name}: found {getattr(self, name)}, expected > 0")
        for name in (
            "steps",
            "warmup_steps",
            "weight_decay",
            "max_grad_norm",
            "skip_nonfinite",
            "checkpoint_minutes",
            "checkpoint_steps",
            "trunk_memory_gb",
        ):
            if getattr(self, name) < 0:
                raise ConfigError(f"train.{name}: found {getattr(self, name)}, expected >= 0")
        if not 0 < self.adam_beta2 < 1:
            raise ConfigError(f"train.adam_beta2: found {self.adam_beta2}, expected in (0, 1)")
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"train.seed: found {self.seed}, expected 0 to 2**31 - 1")

    def identity(self) -> dict[str, Any]:
        """What a policy follows from: all but how often it is saved and where memory is taken."""
        aside = ("checkpoint_minutes", "checkpoint_steps", "trunk_memory_gb")
        return {k: v for k, v in asdict(self).items() if k not in aside}

    def with_job(self, settings: Mapping[str, Any]) -> TrainSettings:
        """These settings with a job's own on top.

        A job may also set ``learning_rate_factor``, which multiplies the learning rate: a stage
        that refines another one keeps its share of whatever the run takes.

        Raises:
            ConfigError: if a job sets something that does not exist.
        """
        own = dict(settings)
        factor = own.pop("learning_rate_factor", 1.0)
        known = [f.name for f in fields(self)]
        for name in own:
            if name not in known:
                raise ConfigError(f"job setting {name!r} is unknown{nearest(name, known)}")
        made = replace(self, **own)
        return replace(made, learning_rate=made.learning_rate * factor)

    def n_steps(self, n_rows: int, processes: int = 1) -> int:
        """Optimizer steps for a job with this many rows, shared by some processes."""
        if self.steps:
            return self.steps
        per_epoch = -(-n_rows // (self.batch_size * self.accumulate * processes))
        return max(1, round(per_epoch * self.epochs))
