"""Draws of rows: the right distribution, and none of a neighbor's business."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from paretune.engines.lm.row_sampling import Sampling, draw_tokens

LOGITS = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))


def shares(how: dict[str, float], n: int = 4000) -> list[float]:
    ways = [Sampling(seed=seed, **how) for seed in range(n)]
    tokens, _ = draw_tokens(LOGITS.expand(n, -1), ways, np.zeros(n, dtype=np.int64))
    return [float(s) for s in np.bincount(tokens.numpy(), minlength=4) / n]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"temperature": 1.0}, [0.5, 0.3, 0.15, 0.05]),
        # Squared and normalized: .25, .09, .0225, .0025 of .365.
        ({"temperature": 0.5}, [0.685, 0.247, 0.062, 0.007]),
        # .5 + .3 reaches .8: the two likeliest.
        ({"temperature": 1.0, "top_p": 0.8}, [0.625, 0.375, 0.0, 0.0]),
        ({"temperature": 1.0, "top_p": 0.1}, [1.0, 0.0, 0.0, 0.0]),
        ({"temperature": 0.0}, [1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_shares(how: dict[str, float], expected: list[float]) -> None:
    found = shares(how)
    assert found == pytest.approx(expected, abs=0.025)
    assert [s > 0 for s in found] == [e > 0 for e in expected]


def test_a_row_draws_the_same_beside_any_other() -> None:
    logits = torch.randn(64, 50, generator=torch.Generator().manual_seed(0))
    ways = [
        Sampling(float(n % 3), (0.3, 0.9, 1.0)[n % 3], seed=n // 2, number=n % 2) for n in range(64)
    ]
    position = np.arange(64)
    together, logps = draw_tokens(logits, ways, position)
    for n in range(64):
        one, mine = draw_tokens(logits[n : n + 1], ways[n : n + 1], position[n : n + 1])
        assert int(one) == int(together[n])
        torch.testing.assert_close(mine[0], logps[n])
    torch.testing.assert_close(logps.exp().sum(-1), torch.ones(64))


@pytest.mark.parametrize("change", [{"seed": 1}, {"number": 1}, {}])
def test_a_draw_depends_on_seed_number_and_position(change: dict[str, int]) -> None:
    logits = torch.zeros(200, 50)
    position = np.zeros(200, dtype=np.int64) if change else np.arange(200)
    first = [Sampling(seed=0)] * 200
    other = [Sampling(**change)] * 200
    found, _ = draw_tokens(logits, other, position)
    same, _ = draw_tokens(logits, first, np.zeros(200, dtype=np.int64))
    assert int(same.unique().numel()) == 1
    assert bool((found != same).any())
