"""Worker of test_processes.py: trains a tiny job under torchrun and writes what this rank saw."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig

from paretune.core.job import Head, Pool, TrainingJob
from paretune.core.record import Comparison, PreferenceData, Record, Response
from paretune.core.rewards import RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm import jobs
from paretune.engines.lm.encode import Encoded, Ragged
from paretune.engines.lm.models import build_model
from paretune.engines.lm.settings import TrainSettings
from paretune.functional.learned_weights import Mirror
from paretune.functional.losses import dpo_loss
from paretune.functional.pairing import order_by_objective
from paretune.functional.rewarded_likelihood import PolicyHypervolume
from paretune.functional.scalarized_loss import ScalarizedLoss

N_PAIRS = 22
SHAPE = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "intermediate_size": 32,
}  # fmt: skip


def first_of_prompt(pool: Pool) -> np.ndarray:
    """The first response of every prompt, so that a prompt tells the row."""
    return np.arange(0, len(pool.text_of), 2)


def main(folder: Path, batch_size: int, accumulate: int, loss: str) -> None:
    """Train for two epochs and write the final parameters and the rows of this rank."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    replies = (Response("a"), Response("b"))
    signs = rng.choice([-1.0, 1.0], N_PAIRS).tolist()
    records = [
        Record(str(n), replies, (Comparison(0, 1, {"good": 1.0, "short": signs[n]}),))
        for n in range(N_PAIRS)
    ]
    data = PreferenceData.from_records(records, ("good", "short"))
    # The first token of a prompt is its number: that tells which rows a rank trained on.
    prompts = [[n, *rng.integers(25, 40, rng.integers(1, 5))] for n in range(N_PAIRS)]
    texts = [rng.integers(25, 40, rng.integers(1, 9)) for _ in range(2 * N_PAIRS)]
    encoded = Encoded(Ragged.of(prompts), Ragged.of(texts), data.prompt_of)
    model = build_model(LlamaConfig(**SHAPE), seed=0).double()
    job = TrainingJob(
        "expert", "pairwise", TradeOff.even(2), partial(order_by_objective, index=0),
        partial(dpo_loss, beta=0.5),
    )  # fmt: skip
    if loss == "scalarized":
        combined = ScalarizedLoss(Mirror(eta=0.5), (0.6, 0.4), beta=0.5, is_length_normalized=False)
        job = replace(job, loss=None, step_loss=combined)
    together = [job]
    if loss == "rewarded":
        values = np.random.default_rng(1).random((2 * N_PAIRS, 2))
        data = data.with_rewards(RewardMatrix(data.rewards.objectives, values))
        hypervolume = PolicyHypervolume(((1.0, 0.0), (0.0, 1.0)))
        together = [
            TrainingJob(
                name, "rewarded", TradeOff.even(2), first_of_prompt, step_loss=hypervolume,
                group="heads", head=Head(),
            )
            for name in ("one", "two")
        ]  # fmt: skip
    seen: list[int] = []
    model.get_input_embeddings().register_forward_pre_hook(
        lambda module, args: (
            seen.extend(args[0][:, 0].tolist()) if torch.is_grad_enabled() else None
        )
    )
    inputs = jobs.JobData(data, encoded, np.zeros(2 * N_PAIRS))
    settings = TrainSettings(
        learning_rate=1e-3, batch_size=batch_size, accumulate=accumulate, epochs=2,
        precision="float32",
    )  # fmt: skip
    lines: list[float] = []
    _, cost = jobs.train_jobs(
        together, inputs, model, 0, settings, folder, lambda step, steps, n: lines.append(n["loss"])
    )
    rank = int(torch.distributed.get_rank()) if torch.distributed.is_initialized() else 0
    torch.save(model.state_dict(), folder / f"parameters-{rank}.pt")
    report = {"rows": seen, "steps": cost.steps, "lines": len(lines)}
    (folder / f"rank-{rank}.json").write_text(json.dumps(report))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
