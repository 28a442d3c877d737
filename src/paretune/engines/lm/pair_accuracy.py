"""Pair accuracy: the yardstick of a training that no scalarizer can move."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch

from paretune.core.job import TrainingJob
from paretune.engines.lm.batches import by_tokens, row_lengths
from paretune.engines.lm.forward import autocast
from paretune.engines.lm.job_data import JobData
from paretune.engines.lm.pairs import pair_batch, pair_rows
from paretune.engines.lm.resumable import Resumable
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.trainer import arithmetic

_TOKENS = 8192
"""Padded tokens of a batch of validation pairs."""


@final
class PairAccuracy:
    """Share of validation pairs whose chosen response the policy prefers: the fixed yardstick.

    By the margin that the loss takes. The pairs are in the order of their users, whatever their
    utility, as visits are.
    """

    def __init__(
        self, job: TrainingJob, held_out: JobData, module: Resumable, pad_id: int,
        settings: TrainSettings,
    ) -> None:  # fmt: skip
        self._pairs = pair_rows(job, held_out, settings.seed)
        self._encoded, self._pad_id = held_out.encoded, pad_id
        self._module, self._settings = module, settings
        self._loss, self._columns = job.step_loss, self._pairs.columns

    @torch.no_grad()
    def __call__(self) -> float:
        """Of the policies as they are, their mean where there are several."""
        policies: Any = self._module.policies
        device = next(policies.parameters()).device
        rows = self._pairs.rows
        was_training = policies.training
        policies.eval()
        right = np.zeros(len(rows))
        for some in by_tokens(row_lengths(self._encoded, rows), _TOKENS):
            packed = policies.pack(self._encoded, rows[some], self._pad_id).to(device)
            columns = {k: torch.from_numpy(v[some]).to(device) for k, v in self._columns.items()}
            with autocast(device, arithmetic(self._settings, device)):
                logps = policies(packed).double()
            margins = [
                self._loss.margins(pair_batch(o, {"rows": packed, **columns})) for o in logps
            ]
            # An undecided policy is right half the time.
            right[some] = ((1 + torch.stack(margins).sign()) / 2).mean(0).cpu().numpy()
        policies.train(was_training)
        return float(right.mean())
