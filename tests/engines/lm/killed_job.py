"""Worker of test_scalarized.py: a job with everything that resumption must carry over."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig

from paretune.core.job import TrainingJob
from paretune.core.record import Comparison, PreferenceData, Record, Response
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.checkpoints import Checkpoints
from paretune.engines.lm.encode import Encoded, Ragged
from paretune.engines.lm.job_data import JobData
from paretune.engines.lm.jobs import train_jobs
from paretune.engines.lm.models import add_adapter, build_model
from paretune.engines.lm.reference import reference_logps
from paretune.engines.lm.settings import LoraSettings, TrainSettings
from paretune.functional.learned_weights import Mirror
from paretune.functional.pairing import keep_labelled
from paretune.functional.scalarized_loss import ScalarizedLoss

N_PAIRS = 24
SHAPE = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "intermediate_size": 32,
}  # fmt: skip


def inputs_of(model: Any, seed: int) -> JobData:
    """Random pairs with two labels."""
    rng = np.random.default_rng(seed)
    replies = (Response("a"), Response("b"))
    records = [
        Record(str(n), replies, (Comparison(0, 1, {"good": 1.0, "short": rng.uniform(-1, 1)}),))
        for n in range(N_PAIRS)
    ]
    data = PreferenceData.from_records(records, ("good", "short"))
    prompts = [rng.integers(5, 40, rng.integers(1, 5)) for _ in range(N_PAIRS)]
    texts = [rng.integers(5, 40, rng.integers(1, 9)) for _ in range(2 * N_PAIRS)]
    encoded = Encoded(Ragged.of(prompts), Ragged.of(texts), data.prompt_of)
    return JobData(data, encoded, reference_logps(model, encoded, np.arange(2 * N_PAIRS), 0))


def main(folder: Path) -> None:
    """Train, telling every step, and write the hash of what came out."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    model = build_model(LlamaConfig(**SHAPE), seed=0)
    inputs, held_out = inputs_of(model, 0), inputs_of(model, 1)
    model = add_adapter(model, LoraSettings(rank=4, alpha=8, dropout=0.1), 0)
    rule = partial(keep_labelled, weights=(0.5, 0.5))
    loss = ScalarizedLoss(Mirror(), (0.6, 0.4), beta=1.0)
    job = TrainingJob("job", "pairwise", TradeOff.even(2), rule, step_loss=loss)
    settings = TrainSettings(
        learning_rate=1e-2, batch_size=4, accumulate=2, steps=14, epochs=3, precision="float32"
    )

    def tell(step: int, steps: int, numbers: Any) -> None:
        print("step", step, flush=True)

    train_jobs(
        [job], replace(inputs, validation=held_out), model, 0,
        settings, folder, tell, Checkpoints(folder / "checkpoints", steps=2),
    )  # fmt: skip
    digest = hashlib.sha256()
    for _, parameter in sorted(model.named_parameters()):
        digest.update(parameter.detach().numpy().tobytes())
    (folder / "sha256").write_text(digest.hexdigest())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
