"""Reference log-probabilities: a column computed once per (model, data), not a model in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from paretune.engines.lm.batches import by_tokens, row_lengths
from paretune.engines.lm.encode import Encoded
from paretune.engines.lm.forward import scorer_for


@torch.no_grad()
def reference_logps(
    model: Any,
    encoded: Encoded,
    responses: npt.NDArray[np.int64],
    pad_id: int,
    tokens_per_batch: int = 8192,
) -> npt.NDArray[np.float64]:
    """Log-probability of responses under a model, in float32 arithmetic.

    Args:
        model: the reference policy.
        encoded: the data set.
        responses: ``(R,)`` numbers of the responses that are needed.
        pad_id: fills short rows.
        tokens_per_batch: padded tokens a batch may hold.

    Returns:
        ``(N,)`` nats for all responses of the data set, NaN where not asked for.
    """
    device = next(model.parameters()).device
    out = np.full(len(encoded.responses), np.nan)
    if not len(responses):
        return out
    scorer = scorer_for(model, encoded, responses[:, None], pad_id)
    was_training = model.training
    model.eval()
    for batch in by_tokens(row_lengths(encoded, responses[:, None]), tokens_per_batch):
        some = responses[batch]
        rows = scorer.pack(encoded, some[:, None], pad_id).to(device)
        out[some] = scorer(rows).double().cpu().numpy()
    model.train(was_training)
    return out
