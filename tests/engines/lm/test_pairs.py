"""What the log tells of a batch of pairs."""

from __future__ import annotations

import math

import torch

from paretune.engines.lm.pairs import pair_metrics
from paretune.functional.losses import PairBatch


def test_each_objective_is_told_of_its_own_labelled_pairs() -> None:
    """Margins 1, -2, 3 nats; labels of `a` prefer chosen, rejected, nobody; `b` has the last."""
    nan = math.nan
    labels = torch.tensor([[1.0, nan, nan], [-0.5, 0.0, nan], [0.0, -1.0, nan]])
    zeros, tokens = torch.zeros(3), torch.ones(3)
    pairs = PairBatch(
        torch.tensor([1.0, -2.0, 3.0]), zeros, zeros, zeros, tokens, tokens, labels, None, None
    )
    found = {n: v.item() for n, v in pair_metrics(pairs, [(0, "a"), (1, "b"), (2, "c")]).items()}
    assert math.isclose(found["margin"], 2 / 3, rel_tol=1e-6)
    assert (found["accuracy/a"], found["margin/a"]) == (1.0, 1.5)
    assert (found["accuracy/b"], found["margin/b"]) == (0.0, -3.0)
    assert math.isnan(found["accuracy/c"]) and math.isnan(found["margin/c"])
