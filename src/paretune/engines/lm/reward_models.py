"""Reward models trained from pairs: a base with one number on top, Bradley-Terry loss."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import AutoModelForSequenceClassification

from paretune.engines.lm.batches import batch_schedule
from paretune.engines.lm.checkpoints import Checkpoints
from paretune.engines.lm.encode import Ragged
from paretune.engines.lm.models import hub_revision, pick_device
from paretune.engines.lm.processes import n_processes
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.trainer import Batch, Progress, run_training
from paretune.errors import InputError


@final
@dataclass(frozen=True)
class PairTexts:
    """Pairs as whole sequences (prompt and response), chosen first.

    Args:
        chosen: P sequences.
        rejected: P sequences.
    """

    chosen: Ragged
    rejected: Ragged


def new_reward_model(base: str, pad_id: int, seed: int) -> Any:
    """A base with a fresh one-number head; the base's own weights stay the start.

    Args:
        base: local folder or hub id, weights in safetensors only.
        pad_id: fills short rows.
        seed: of the head.

    Raises:
        InputError: if there is no such model.
    """
    name, revision = hub_revision(base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = AutoModelForSequenceClassification.from_pretrained(
                name, revision=revision, num_labels=1, pad_token_id=pad_id, dtype=torch.float32,
                trust_remote_code=False, use_safetensors=True,
            )  # fmt: skip
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise InputError(
                f"base: cannot put a reward head on {base}, expected a model folder with "
                f"*.safetensors, or a hub id ({str(error).splitlines()[0]})"
            ) from error
    return model.to(pick_device())


def train_reward_model(
    model: Any,
    pairs: PairTexts,
    pad_id: int,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> None:
    r"""Minimize :math:`-\log\sigma(r(x, y_c) - r(x, y_r))` in place.

    Args:
        model: from :func:`new_reward_model`.
        pairs: training pairs.
        pad_id: fills short rows.
        settings: of the optimization; ``batch_size`` counts pairs.
        folder: for the library's own files.
        progress: receives every log line.
        checkpoints: made on the way, and gone on from where there are any.

    Source:
        Bradley and Terry 1952; Ouyang et al. 2022, Eq. 1, without its normalization over K.
    """
    lengths = pairs.chosen.lengths + pairs.rejected.lengths
    per_step = settings.accumulate * n_processes()
    steps = settings.n_steps(len(lengths), n_processes())
    schedule = batch_schedule(lengths, settings.batch_size, steps * per_step, settings.seed)

    def build(step: npt.NDArray[np.int64]) -> Batch:
        sequences = [side[int(n)] for side in (pairs.chosen, pairs.rejected) for n in step]
        return {"rows": _Padded.of(sequences, pad_id)}

    def loss(model: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        chosen, rejected = _values(model, batch["rows"]).chunk(2)
        gap = chosen - rejected
        return -logsigmoid(gap).mean(), {"accuracy": (gap > 0).float().mean()}

    run_training(
        model, schedule, build, loss, settings,
        folder=folder, progress=progress, checkpoints=checkpoints,
    )  # fmt: skip


@torch.no_grad()
def pair_accuracy(model: Any, pairs: PairTexts, pad_id: int, batch_size: int = 32) -> float:
    """Share of pairs on which the chosen side scores higher; chance is .5, a tie counts half."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    order = np.argsort(pairs.chosen.lengths + pairs.rejected.lengths, kind="stable")
    wins = 0.0
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        sequences = [side[int(n)] for side in (pairs.chosen, pairs.rejected) for n in part]
        values = _values(model, _Padded.of(sequences, pad_id).to(device))
        gap = values.chunk(2)[0] - values.chunk(2)[1]
        wins += float((gap > 0).sum() + 0.5 * (gap == 0).sum())
    model.train(was_training)
    return wins / len(order)


@final
@dataclass(frozen=True)
class _Padded:
    input_ids: Tensor
    attention_mask: Tensor

    @classmethod
    def of(cls, sequences: list[npt.NDArray[np.int32]], pad_id: int) -> _Padded:
        width = max(len(s) for s in sequences)
        ids = np.full((len(sequences), width), pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        return cls(torch.from_numpy(ids), torch.from_numpy(mask))

    def to(self, device: torch.device | str) -> _Padded:
        return _Padded(self.input_ids.to(device), self.attention_mask.to(device))


def _values(model: Any, rows: _Padded) -> Tensor:
    out = model(input_ids=rows.input_ids, attention_mask=rows.attention_mask, use_cache=False)
    values: Tensor = out.logits[:, 0].float()
    return values
