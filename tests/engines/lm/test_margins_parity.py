"""MODPO is TRL's own DPO with a stronger penalty and a tilted reference, step by step."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.core.job import Margins, TrainingJob
from paretune.core.rewards import RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.batches import batch_schedule, row_lengths
from paretune.engines.lm.jobs import train_job
from paretune.engines.lm.settings import TrainSettings
from paretune.functional.margin_loss import modpo_loss
from paretune.functional.pairing import order_by_objective

datasets = pytest.importorskip("datasets")
trl = pytest.importorskip("trl")

N, BATCH, STEPS, BETA, WEIGHTS = 16, 4, 8, 0.3, (0.4, 0.6)
SETTINGS = TrainSettings(
    learning_rate=3e-3, batch_size=BATCH, steps=STEPS, precision="float32", warmup_steps=0
)


def test_modpo_is_dpo_with_other_reference_columns(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets.disable_progress_bars()
    monkeypatch.setenv("TQDM_DISABLE", "1")
    data, model, twin = lab.preferences(N), lab.model().double(), lab.model().double()
    scores = np.random.default_rng(0).normal(size=(2 * N, 2))
    data = replace(data, rewards=RewardMatrix(data.rewards.objectives, scores))
    inputs = lab.job_data(data, model)
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
            beta=BETA / WEIGHTS[0], precompute_ref_log_probs=True, output_dir=str(tmp_path),
            max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=3e-3,
            lr_scheduler_type="linear", weight_decay=SETTINGS.weight_decay,
            adam_beta2=SETTINGS.adam_beta2, max_grad_norm=SETTINGS.max_grad_norm,
            optim="adamw_torch_fused", logging_steps=1, save_strategy="no", bf16=False,
            gradient_checkpointing=False, use_cpu=True, report_to="none", disable_tqdm=True,
            train_sampling_strategy="sequential", dataloader_pin_memory=False,
        ),
    )  # fmt: skip
    tilt = WEIGHTS[1] * scores[pairs[order], 1] / BETA

    def tilted(row: dict[str, Any], at: int) -> dict[str, Any]:
        return {
            "ref_chosen_logps": row["ref_chosen_logps"] + tilt[at, 0],
            "ref_rejected_logps": row["ref_rejected_logps"] + tilt[at, 1],
        }

    trainer.train_dataset = trainer.train_dataset.map(tilted, with_indices=True)
    trainer.train()
    theirs = [line["loss"] for line in trainer.state.log_history if "loss" in line]

    job = TrainingJob(
        "modpo", "pairwise", TradeOff(WEIGHTS), partial(order_by_objective, index=0),
        partial(modpo_loss, beta=BETA, weights=WEIGHTS, axis=0),
        margins=Margins(is_calibrated=False),
    )  # fmt: skip
    found: list[float] = []
    train_job(
        job, inputs, model, lab.pad, SETTINGS, tmp_path,
        lambda step, steps, numbers: found.append(numbers["loss"]),
    )  # fmt: skip
    assert len(found) == STEPS and found[-1] < found[0]
    np.testing.assert_allclose(found, theirs, atol=1e-5, rtol=1e-5)
