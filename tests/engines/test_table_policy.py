from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from paretune.engines.table_policy import (
    Table,
    TanhNetwork,
    best_of_n_logps,
    nucleus,
    total_variation,
)

REFERENCE = torch.log_softmax(torch.tensor([[0.0, 1.0, -1.0], [0.5, 0.5, 0.0]]).double(), -1)


@pytest.mark.parametrize("model", [Table(REFERENCE), TanhNetwork(REFERENCE, width=3, seed=1)])
def test_start_is_the_reference(model: Table | TanhNetwork) -> None:
    torch.testing.assert_close(model.logps(model.start()), REFERENCE, atol=1e-12, rtol=0)
    moved = model.logps(model.start() + torch.linspace(0, 1, len(model.start())).double())
    assert total_variation(moved, REFERENCE) > 0.01
    torch.testing.assert_close(moved.exp().sum(-1), torch.ones(2).double())


def test_network_starts_depend_on_the_seed_alone() -> None:
    starts = [TanhNetwork(REFERENCE, seed=seed).start() for seed in (0, 0, 1)]
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
    assert len(starts[0]) == 2 * 8 + 8 * 3 + 3


def test_total_variation_by_hand() -> None:
    a = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]).log()
    b = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]]).log()
    assert total_variation(a, b) == 1.0
    assert total_variation(a[:1], b[:1]) == 0.25
    assert total_variation(a, a) == 0.0


class TestNucleus:
    logps = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]).double().log()

    @pytest.mark.parametrize(
        ("top_p", "expected"),
        [
            (1.0, [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]),
            (0.81, [[0.5 / 1, 0.3 / 1, 0.2 / 1], [1 / 9, 0, 8 / 9]]),
            (0.79, [[5 / 8, 3 / 8, 0], [0, 0, 1]]),
            (1e-9, [[1, 0, 0], [0, 0, 1]]),
        ],
    )
    def test_fewest_most_likely(self, top_p: float, expected: list[list[float]]) -> None:
        found = nucleus(self.logps, top_p=top_p).exp()
        torch.testing.assert_close(found, torch.tensor(expected).double())

    def test_temperature_comes_first(self) -> None:
        found = nucleus(self.logps, temperature=0.5).exp()[0]
        torch.testing.assert_close(found, torch.tensor([25, 9, 4]).double() / 38)


def test_best_of_n_against_all_draws() -> None:
    """Every one of the 4^3 ordered draws, the best of each, ties to the first drawn."""
    chances, utility = torch.tensor([0.1, 0.2, 0.3, 0.4]).double(), [0.5, 2.0, 0.5, -1.0]
    expected = torch.zeros(4).double()
    for draw in itertools.product(range(4), repeat=3):
        winner = max(draw, key=lambda a: utility[a])
        expected[winner] += np.prod([float(chances[a]) for a in draw])
    found = best_of_n_logps(chances.log()[None], torch.tensor([utility]), n=3).exp()
    torch.testing.assert_close(found[0], expected)
