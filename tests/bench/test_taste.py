"""Few-shot personalization without a language model: what a user's own pairs are worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from paretune.bench.taste import SetPolicy, Taste, measure_taste
from paretune.errors import ConfigError
from paretune.evaluation.personalization import (
    PairScores,
    measure_personalization,
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_a_users_own_pairs_are_worth_more_than_somebody_elses() -> None:
    taste = Taste()
    found = measure_taste(taste)
    scores = {
        name: PairScores(found.user_of, getattr(found, name))
        for name in ("own", "other", "even", "oracle")
    }
    by_shots = {n: PairScores(found.user_of, m) for n, m in found.by_shots.items()}
    result = measure_personalization(
        "taste", [f"o{i}" for i in range(taste.n_objectives)], found.users, scores["own"],
        other=scores["other"], by_shots=by_shots,
    )  # fmt: skip
    assert result.n_users == 100 and len(found.user_of) > 780
    assert result.other is not None and result.gap is not None
    assert result.gap.value >= 0.08 and result.gap.low > 0
    assert result.own.low > result.other.high, "95 % intervals are disjoint"
    # Own pairs beat knowing nothing, and more pairs tell more.
    assert result.own.value > scores["even"].is_right.mean() + 0.04
    accuracies = [interval.value for interval in result.by_shots.values()]
    assert accuracies == sorted(accuracies) and list(result.by_shots) == [0, 2, 4, 8]
    assert result.by_shots[8] == result.own
    assert (scores["oracle"].margins > 0).all()


def test_pairs_that_tell_nothing_teach_nothing() -> None:
    """The control: trained with somebody else's pairs, own pairs are worth no more."""
    found = measure_taste(replace(Taste(), shows_own=False, epochs=4))
    gap = (found.own > 0).mean() - (found.other > 0).mean()
    assert abs(gap) < 0.04


def test_the_order_of_shots_does_not_matter() -> None:
    policy = SetPolicy(3)
    shots, query = torch.randn(2, 4, 3), torch.randn(2, 3)
    is_shown = torch.tensor([[True, True, True, False], [False] * 4])
    with torch.no_grad():
        there = policy(shots, is_shown, query)
        back = policy(shots[:, [2, 0, 1, 3]], is_shown, query)
        # What is not there is not read.
        hidden = torch.where(is_shown[:, :, None], shots, torch.full_like(shots, 9.0))
        torch.testing.assert_close(there, back)
        torch.testing.assert_close(there, policy(hidden, is_shown, query))


def test_it_is_a_function_of_its_seed() -> None:
    small = Taste(n_train=20, n_new=6, epochs=1)
    one, two = measure_taste(small), measure_taste(small)
    np.testing.assert_array_equal(one.own, two.own)
    assert not np.array_equal(one.own, measure_taste(replace(small, seed=1)).own)


class TestScalarizers:
    SMALL = Taste(n_train=20, n_new=6, epochs=1)

    def test_one_label_leaves_nothing_to_scalarize(self) -> None:
        """All objectives then have one loss, and the tilted sum of equal losses is their value."""
        asked = replace(self.SMALL, labels="choice", options={"reduce": "example"})
        one, tilted = (
            measure_taste(replace(asked, scalarizer=name)).own for name in ("linear", "tilted")
        )
        np.testing.assert_allclose(one, tilted, atol=1e-5)
        assert np.abs(one - measure_taste(self.SMALL).own).max() > 1e-3

    def test_chebyshev_over_pairs_and_over_means_differ(self) -> None:
        found = [
            measure_taste(replace(self.SMALL, scalarizer="chebyshev", options={"reduce": how})).own
            for how in ("batch", "example")
        ]
        assert np.abs(found[0] - found[1]).max() > 1e-3

    def test_clipped_labels_forget_what_got_worse(self) -> None:
        clipped = measure_taste(replace(self.SMALL, labels="clip"))
        assert np.abs(clipped.own - measure_taste(self.SMALL).own).max() > 1e-3
        # What is asked afterwards is the same, and still signed.
        assert clipped.labels.min() < 0

    def test_labels_are_of_the_choice(self) -> None:
        found = measure_taste(self.SMALL)
        weights = np.array([found.users[row].tradeoff.weights for row in found.user_of])
        np.testing.assert_allclose((found.labels * weights).sum(1), found.oracle)
        assert (found.oracle > 0).all() and np.abs(found.labels).max() <= 1

    def test_gradients_are_not_combined_here(self) -> None:
        with pytest.raises(ConfigError, match="'mgda', expected one of losses alone"):
            Taste(scalarizer="mgda")
