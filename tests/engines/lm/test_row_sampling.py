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


@pytest.mark.parametrize("temperature", [1e-320, 1e-40, 1e-9])
@pytest.mark.parametrize("top_p", [1.0, 1e-300])
def test_almost_no_temperature_is_none(temperature: float, top_p: float) -> None:
    logits = 40 * torch.randn(8, 50, generator=torch.Generator().manual_seed(0))
    ways = [Sampling(temperature, top_p, seed=n) for n in range(8)]
    assert torch.equal(draw_tokens(logits, ways, np.arange(8))[0], logits.argmax(-1))


def test_what_cannot_be_drawn_never_is() -> None:
    logits = torch.zeros(5000, 6)
    logits[:, [0, 2, 5]] = -torch.inf
    for top_p in (1.0, 0.99):
        ways = [Sampling(2.0, top_p, seed=n) for n in range(5000)]
        tokens, _ = draw_tokens(logits, ways, np.zeros(5000, dtype=np.int64))
        assert set(tokens.tolist()) == {1, 3, 4}


@pytest.mark.parametrize("top_p", [1.0, 0.5])
def test_a_row_without_numbers_harms_no_neighbor(top_p: float) -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    ways = [Sampling(1.0, top_p, seed=n) for n in range(3)]
    expected, _ = draw_tokens(logits, ways, np.zeros(3, dtype=np.int64))
    logits[1, 7] = torch.nan
    found, logps = draw_tokens(logits, ways, np.zeros(3, dtype=np.int64))
    assert found[[0, 2]].tolist() == expected[[0, 2]].tolist()
    assert logps[1].isnan().all() and not logps[[0, 2]].isnan().any()
