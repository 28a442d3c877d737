"""Which scalarizers reach the inside of a concave front."""

import math

import numpy as np
import pytest
import torch

from paretune.bench.fonseca import (
    EXACT_HYPERVOLUME,
    Settled,
    area,
    fonseca_losses,
    fonseca_table,
    settle,
    settle_together,
)
from paretune.errors import ConfigError
from paretune.functional.gradient_combination import UPGrad
from paretune.functional.learned_weights import Mirror
from paretune.functional.pareto_hypervolume import ParetoHypervolume
from paretune.functional.scalarizers import Chebyshev, Linear, SmoothChebyshev


def front(n):
    t = torch.linspace(-1, 1, n, dtype=torch.float64) / math.sqrt(2)
    return fonseca_losses(torch.stack([t, t], 1)).numpy()


def test_losses_by_hand():
    ends = fonseca_losses(torch.tensor([[0.0, 0.0], [0.5**0.5, 0.5**0.5]], dtype=torch.float64))
    assert ends.flatten().tolist() == pytest.approx([1 - math.exp(-1)] * 2 + [0, 1 - math.exp(-4)])


def test_the_area_of_the_whole_front():
    assert area(front(20_001)) == pytest.approx(EXACT_HYPERVOLUME, abs=5e-5)


def test_what_is_said_of_settled_points():
    found = Settled(np.array([[0.01, 0.9], [0.5, 0.5], [0.9, 0.02]]), np.array([0.9, 0.5, 0.1]))
    assert found.interior_share == pytest.approx(1 / 3)
    assert found.hypervolume == pytest.approx(1.09 * 0.2 + 0.6 * 0.4 + 0.2 * 0.48)
    assert found.control < -0.9
    assert Settled(found.losses, np.full(3, 0.5)).control == 0


def test_a_weighted_sum_ends_at_the_ends_and_chebyshev_does_not():
    linear = settle(Linear(), steps=400)
    assert linear.interior_share == 0
    for scalarizer in (Chebyshev(rho=0), SmoothChebyshev(0.01)):
        found = settle(scalarizer, steps=400)
        assert found.interior_share >= 0.85
        assert found.hypervolume >= 0.50
        assert found.control < -0.97
        assert linear.hypervolume < 0.3 < found.hypervolume < EXACT_HYPERVOLUME
    rays = settle(Chebyshev(rho=0), n_weights=3, n_starts=1).losses * [
        [0.25, 0.75],
        [0.5, 0.5],
        [0.75, 0.25],
    ]
    np.testing.assert_allclose(rays[:, 0], rays[:, 1], atol=1e-3)


def test_the_sign_of_the_source_leaves_the_front():
    with pytest.warns(UserWarning, match="raises"):
        literal = Chebyshev(rho=0, orientation="max", is_literal=True)
        found = settle(literal, steps=1000)
    assert found.interior_share == 0
    assert found.hypervolume < 0.2


def test_a_state_of_each_row_and_weights_from_gradients():
    assert settle(Mirror(0.1, 0.2), n_weights=5, n_starts=1, steps=500).interior_share > 0.7
    pytest.importorskip("torchjd")
    found = settle(UPGrad(), n_weights=3, n_starts=1, steps=150)
    # On the front: both coordinates of x alike.
    gap = np.abs(found.losses[:, None] - front(2001)).max(2).min(1)
    assert gap.max() < 0.01


def test_policies_that_spread_by_themselves():
    # .45536 is the best area of five points, by direct search.
    found = settle_together(5, steps=500)
    assert found.hypervolume == pytest.approx(0.45536, abs=2e-4)
    assert found.interior_share >= 0.6


def test_a_scalarizer_over_pairs_is_refused():
    with pytest.raises(ConfigError, match="single pairs"):
        settle(ParetoHypervolume(), steps=1)


@pytest.mark.slow
def test_the_full_table():
    pytest.importorskip("torchjd")
    table = fonseca_table()
    expected = {
        "linear": (0.0, 0.27),
        "chebyshev": (0.895, 0.518),
        "chebyshev, rho .05": (0.789, 0.525),
        "stch, mu .01": (0.895, 0.522),
        "stch, mu .1": (0.684, 0.522),
        "stch, mu .5": (0.158, 0.452),
        "tilted, tau .2": (1.0, 0.494),
        "tilted, tau .5": (0.368, 0.499),
        "loghv, reference 1.01": (0.684, 0.524),
        "loghv, reference 2": (0.0, 0.27),
        "mirror, eta .1, tau .2": (1.0, 0.50),
    }
    for name, (share, volume) in expected.items():
        assert table[name].interior_share == pytest.approx(share, abs=0.03), name
        assert table[name].hypervolume == pytest.approx(volume, abs=0.015), name
    assert table["chebyshev with the sign of the source"].hypervolume < 0.2
    for name in ("mgda", "upgrad"):
        assert abs(table[name].control) < 0.2
