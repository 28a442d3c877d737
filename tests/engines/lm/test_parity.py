"""Our trainer and TRL 1.16 follow the same losses, step by step, on the same batches."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.job import Pool, TrainingJob
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.batches import batch_schedule, row_lengths
from paretune.engines.lm.jobs import train_job
from paretune.engines.lm.settings import TrainSettings
from paretune.functional.f_dpo_loss import f_dpo_loss
from paretune.functional.losses import dpo_loss, ipo_loss, mean_dpo_loss
from paretune.functional.pairing import order_by_objective

datasets = pytest.importorskip("datasets")
trl = pytest.importorskip("trl")

N, BATCH, STEPS, BETA = 24, 4, 12, 0.3
SETTINGS = TrainSettings(
    learning_rate=3e-3, batch_size=BATCH, steps=STEPS, weight_decay=0.1, max_grad_norm=0.5,
    warmup_steps=3, precision="float32",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.disable_progress_bars()
    monkeypatch.setenv("TQDM_DISABLE", "1")


def same_arguments(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "trl"), "max_steps": STEPS, "per_device_train_batch_size": BATCH,
        "learning_rate": SETTINGS.learning_rate, "lr_scheduler_type": "linear",
        "warmup_steps": SETTINGS.warmup_steps, "weight_decay": SETTINGS.weight_decay,
        "adam_beta2": SETTINGS.adam_beta2, "max_grad_norm": SETTINGS.max_grad_norm,
        "optim": "adamw_torch_fused", "logging_steps": 1, "save_strategy": "no", "bf16": False,
        "gradient_checkpointing": False, "use_cpu": True, "report_to": "none",
        "disable_tqdm": True, "train_sampling_strategy": "sequential",
        "dataloader_pin_memory": False,
    }  # fmt: skip


def losses_of(trainer: Any) -> list[float]:
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def ours(job: TrainingJob, inputs: Any, model: Any, folder: Path) -> list[float]:
    seen: list[float] = []
    train_job(
        job, inputs, model, 0, SETTINGS, folder, lambda step, steps, n: seen.append(n["loss"])
    )
    return seen


def assert_same_parameters(model: Any, twin: Any) -> None:
    for (name, one), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("loss_type", "loss", "divergence"),
    [
        ("sigmoid", dpo_loss, "reverse_kl"),
        ("sigmoid_norm", mean_dpo_loss, "reverse_kl"),
        ("ipo", ipo_loss, "reverse_kl"),
        # The other divergences of TRL; its alpha takes no double precision.
        ("sigmoid", partial(f_dpo_loss, divergence="forward_kl"), "forward_kl"),
        ("sigmoid", partial(f_dpo_loss, divergence="jsd"), "js_divergence"),
    ],
)
def test_pairwise_losses(
    lab: Any, tmp_path: Path, loss_type: str, loss: Callable[..., Any], divergence: str
) -> None:
    data, model, twin = lab.preferences(N), lab.model().double(), lab.model().double()
    inputs = lab.job_data(data, model)
    job = TrainingJob(
        "expert", "pairwise", TradeOff.only(0, 2), partial(order_by_objective, index=0),
        partial(loss, beta=BETA),
    )  # fmt: skip
    pairs = np.stack([data.first, data.second], 1)
    lengths = row_lengths(inputs.encoded, pairs)
    order = np.concatenate(batch_schedule(lengths, BATCH, STEPS, SETTINGS.seed))
    table = datasets.Dataset.from_list(
        [
            {
                "prompt": data.prompts[int(data.prompt_of[a])],
                "chosen": f" {data.texts[a]} ",
                "rejected": f" {data.texts[b]} ",
            }
            for a, b in pairs[order]
        ]
    )
    trainer = trl.DPOTrainer(
        model=twin, ref_model=copy.deepcopy(twin), train_dataset=table,
        processing_class=lab.tokenizer(),
        args=trl.DPOConfig(
            loss_type=[loss_type], beta=BETA, f_divergence_type=divergence,
            **same_arguments(tmp_path),
        ),
    )  # fmt: skip
    theirs = losses_of(trainer)
    found = ours(job, inputs, model, tmp_path)
    assert len(found) == STEPS
    # Both log float32; the relative part is its rounding of losses above 1 (IPO).
    np.testing.assert_allclose(found, theirs, atol=1e-6, rtol=1e-6)
    assert_same_parameters(model, twin)
    assert found[-1] < found[0], "a test of parity on a run that learns nothing shows nothing"


def test_sft(lab: Any, tmp_path: Path) -> None:
    data, model, twin = lab.preferences(N), lab.model().double(), lab.model().double()
    inputs = lab.job_data(data, model)
    job = TrainingJob("sft", "sft", TradeOff.even(2), chosen_rows)
    rows = np.arange(0, 2 * N, 2)
    lengths = row_lengths(inputs.encoded, rows[:, None])
    order = np.concatenate(batch_schedule(lengths, BATCH, STEPS, SETTINGS.seed, window=1))
    table = datasets.Dataset.from_list(
        [
            {"prompt": data.prompts[int(data.prompt_of[n])], "completion": f" {data.texts[n]} "}
            for n in rows[order]
        ]
    )
    trainer = trl.SFTTrainer(
        model=twin, train_dataset=table, processing_class=lab.tokenizer(),
        args=trl.SFTConfig(completion_only_loss=True, packing=False, **same_arguments(tmp_path)),
    )  # fmt: skip
    theirs = losses_of(trainer)
    found = ours(job, inputs, model, tmp_path)
    assert len(found) == STEPS
    # Both log float32; the relative part is its rounding of losses above 1 (IPO).
    np.testing.assert_allclose(found, theirs, atol=1e-6, rtol=1e-6)
    assert_same_parameters(model, twin)
    assert found[-1] < found[0]


def chosen_rows(pool: Pool) -> Any:
    return np.arange(0, len(pool.prompt_of), 2)
