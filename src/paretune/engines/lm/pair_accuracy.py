"""Pair accuracy: the yardstick of a training that no scalarizer can move."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch

from paretune.core.job import TrainingJob
from paretune.engines.lm.batches import by_tokens, row_lengths
from paretune.engines.lm.forward import autocast
from paretune.engines.lm.job_data import JobData
from paretune.engines.lm.pairs import pair_rows
from paretune.engines.lm.resumable import Resumable
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.trainer import arithmetic

_TOKENS = 8192
"""Padded tokens of a batch of validation pairs."""


@final
class PairAccuracy:
    """Share of validation pairs that the policy orders as their users do: the fixed yardstick."""

    def __init__(
        self, job: TrainingJob, held_out: JobData, module: Resumable, pad_id: int,
        settings: TrainSettings,
    ) -> None:  # fmt: skip
        self._pairs = pair_rows(job, held_out, settings.seed)
        self._encoded, self._pad_id = held_out.encoded, pad_id
        self._module, self._settings = module, settings
        self._weights = job.step_loss.weights

    @torch.no_grad()
    def __call__(self) -> float:
        """Of the policies as they are, their mean where there are several."""
        policies: Any = self._module.policies
        device = next(policies.parameters()).device
        rows, labels = self._pairs.rows, np.nan_to_num(self._pairs.columns["labels"])
        weights = self._pairs.columns.get("weights")
        wanted = (labels * (self._weights if weights is None else weights)).sum(1)
        was_training = policies.training
        policies.eval()
        right = np.zeros(len(rows))
        for some in by_tokens(row_lengths(self._encoded, rows), _TOKENS):
            packed = policies.pack(self._encoded, rows[some], self._pad_id).to(device)
            with autocast(device, arithmetic(self._settings, device)):
                logps = policies(packed).double().cpu().numpy()
            ratio = logps.reshape(len(logps), -1, 2) - self._pairs.columns["reference"][some]
            margin = ratio[..., 0] - ratio[..., 1]
            # An undecided policy is right half the time.
            right[some] = ((1 + np.sign(margin) * np.sign(wanted[some])) / 2).mean(0)
        policies.train(was_training)
        return float(right[wanted != 0].mean())
