"""Worker of test_stopped_processes.py: one of two processes that train together until stopped."""

from __future__ import annotations

import hashlib
import os
import sys
import time
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
from paretune.engines.lm.settings import LoraSettings, TrainSettings
from paretune.errors import Interrupted
from paretune.functional.losses import dpo_loss
from paretune.functional.pairing import order_by_objective
from paretune.safety.stopping import stoppable

N_PAIRS, STEPS = 24, 60
SHAPE = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "intermediate_size": 32,
}  # fmt: skip


def main(folder: Path, seconds: float) -> None:
    """Train with dropout; a log line a step, each of which takes its time."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    replies = (Response("a"), Response("b"))
    records = [Record(str(n), replies, (Comparison(0, 1, {"good": 1.0}),)) for n in range(N_PAIRS)]
    data = PreferenceData.from_records(records, ("good",))
    prompts = [rng.integers(5, 40, rng.integers(1, 5)) for _ in range(N_PAIRS)]
    texts = [rng.integers(5, 40, rng.integers(1, 9)) for _ in range(2 * N_PAIRS)]
    encoded = Encoded(Ragged.of(prompts), Ragged.of(texts), data.prompt_of)
    model = add_adapter(build_model(LlamaConfig(**SHAPE), seed=0), LoraSettings(4, 8, 0.1), 0)
    job = TrainingJob(
        "job", "pairwise", TradeOff((1.0,)), partial(order_by_objective, index=0),
        partial(dpo_loss, beta=0.5),
    )  # fmt: skip
    settings = TrainSettings(learning_rate=1e-2, batch_size=2, steps=STEPS, precision="float32")
    rank = os.environ["RANK"]
    model.register_forward_pre_hook(lambda module, args: time.sleep(seconds))

    def tell(step: int, steps: int, numbers: Any) -> None:
        (folder / f"step-{rank}").write_text(str(step))

    inputs = JobData(data, encoded, np.zeros(2 * N_PAIRS))
    checkpoints = Checkpoints(folder / "checkpoints", minutes=60)
    with stoppable():
        train_jobs([job], inputs, model, 0, settings, folder / "library", tell, checkpoints)
    digest = hashlib.sha256()
    for _, parameter in sorted(model.named_parameters()):
        digest.update(parameter.detach().numpy().tobytes())
    (folder / f"sha256-{rank}").write_text(digest.hexdigest())


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), float(sys.argv[2]))
    except Interrupted:
        os._exit(Interrupted.exit_code)  # the other process may be gone before this one
