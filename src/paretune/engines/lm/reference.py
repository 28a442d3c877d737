"""Reference log-probabilities: a column computed once per (model, data), not a model in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

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
    lengths = encoded.prompts.lengths[encoded.prompt_of] + encoded.responses.lengths
    order = responses[np.argsort(lengths[responses], kind="stable")]
    was_training = model.training
    model.eval()
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[order[stop]] * (stop + 1 - start) <= tokens_per_batch:
            stop += 1
        batch = order[start:stop]
        rows = scorer.pack(encoded, batch[:, None], pad_id).to(device)
        out[batch] = scorer(rows).double().cpu().numpy()
        start = stop
    model.train(was_training)
    return out
