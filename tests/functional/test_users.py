from __future__ import annotations

import numpy as np
import pytest

from paretune.core.objective import Objectives
from paretune.core.tradeoff import TradeOff
from paretune.core.user import User
from paretune.errors import ConfigError, InputError, ShapeError
from paretune.functional.users import (
    SHARES,
    description_of,
    draw_users,
    interpolated_users,
    probe_users,
    split_users,
    tradeoff_of,
)

NAMES = Objectives.of("helpful", "harmless", "concise", "factual_detail")


def weights(users: tuple[User, ...]) -> np.ndarray:
    return np.array([user.tradeoff.weights for user in users])


class TestDraw:
    def test_a_user_is_the_same_whoever_else_is_drawn(self) -> None:
        many = draw_users(30, 3, seed=5)
        assert draw_users(10, 3, seed=5, first=20) == many[20:]
        assert len({user.id for user in many}) == 30
        assert (weights(draw_users(30, 3, seed=6)) != weights(many)).any(axis=1).all()

    @pytest.mark.parametrize("alpha", [0.2, 0.5, 2.0])
    def test_moments_are_those_of_the_dirichlet(self, alpha: float) -> None:
        found = weights(draw_users(20_000, 3, seed=0, alphas=(alpha,)))
        # Mean 1/3, variance (1/3)(2/3)/(3 alpha + 1); four standard errors.
        variance = 2 / 9 / (3 * alpha + 1)
        assert abs(found.mean(axis=0) - 1 / 3).max() < 4 * np.sqrt(variance / 20_000)
        assert abs(found.var(axis=0) - variance).max() < 0.02 * variance + 0.002
        covariance = np.cov(found.T)[0, 1]
        assert covariance == pytest.approx(-variance / 2, abs=0.003)

    def test_concentrations_are_mixed(self) -> None:
        largest = weights(draw_users(3000, 4, seed=0)).max(axis=1)
        alone = [weights(draw_users(3000, 4, 0, alphas=(a,))).max(axis=1) for a in (0.2, 0.5, 2)]
        assert largest.mean() == pytest.approx(np.mean([a.mean() for a in alone]), abs=0.02)

    def test_bad_numbers(self) -> None:
        for arguments in ((-1, 2), (1, 0)):
            with pytest.raises(ConfigError, match="expected n >= 0"):
                draw_users(*arguments, seed=0)
        for alphas in ((), (0.0,), (float("nan"),)):
            with pytest.raises(ConfigError, match="found alphas"):
                draw_users(1, 2, seed=0, alphas=alphas)


def test_probes_are_corners_and_the_center() -> None:
    users = probe_users(3, "chebyshev")
    np.testing.assert_allclose(weights(users), [*np.eye(3), [1 / 3] * 3])
    assert {user.utility for user in users} == {"chebyshev"}


class TestInterpolated:
    def test_they_lie_between_two_others(self) -> None:
        corners = probe_users(4)[:4]
        found = weights(interpolated_users(corners, 200, seed=0))
        # On an edge of the simplex: two weights, and never a corner mixed with itself.
        assert ((found > 0).sum(axis=1) == 2).all()
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
        assert found.max(axis=1).mean() == pytest.approx(0.75, abs=0.03)

    def test_what_cannot_be_mixed(self) -> None:
        one = probe_users(2)[:1]
        with pytest.raises(ConfigError, match="found 1 to mix"):
            interpolated_users(one, 3, seed=0)
        with pytest.raises(InputError, match="expected one"):
            interpolated_users([*one, *probe_users(2, "chebyshev")], 3, seed=0)


class TestSplit:
    def test_parts_are_disjoint_and_of_the_size_asked_for(self) -> None:
        users = draw_users(137, 2, seed=0)
        found = split_users(users, seed=1)
        assert [user.id for user in found] == [user.id for user in users]
        sizes = [sum(user.part == part for user in found) for part in SHARES]
        assert sum(sizes) == 137 and abs(np.subtract(sizes, [109.6, 13.7, 13.7])).max() < 1
        assert found != split_users(users, seed=2)

    def test_order_does_not_matter(self) -> None:
        users = draw_users(50, 2, seed=0)
        there = {user.id: user.part for user in split_users(users)}
        assert {user.id: user.part for user in split_users(users[::-1])} == there

    def test_few_users(self) -> None:
        assert sorted(u.part for u in split_users(draw_users(3, 2, 0))) == sorted(SHARES)
        with pytest.raises(InputError, match="found 2 for 3 parts"):
            split_users(draw_users(2, 2, seed=0))
        with pytest.raises(InputError, match="an id twice"):
            split_users(draw_users(2, 2, seed=0) * 2)
        with pytest.raises(ConfigError, match="sum 1"):
            split_users(draw_users(20, 2, seed=0), shares={"train": 0.5})


class TestTradeoffOf:
    def test_weights_are_normalized(self) -> None:
        assert tradeoff_of([2, 2, 4, 0], NAMES).weights == (0.25, 0.25, 0.5, 0)
        assert tradeoff_of({"concise": 3}, NAMES).weights == (0, 0, 1, 0)

    @pytest.mark.parametrize(
        "bad", [[1, -1, 1, 1], [np.nan, 1, 1, 1], [np.inf, 1, 1, 1], [0] * 4, {"concise": -1}, {}]
    )
    def test_weights_that_say_nothing_are_refused(self, bad: object) -> None:
        with pytest.raises(ConfigError, match="expected numbers >= 0 and one above 0"):
            tradeoff_of(bad, NAMES)  # type: ignore[arg-type]

    def test_names_and_numbers_of_weights(self) -> None:
        with pytest.raises(ConfigError, match="did you mean 'concise'"):
            tradeoff_of({"consise": 1}, NAMES)
        with pytest.raises(ShapeError, match="found 2, expected 4"):
            tradeoff_of([1, 1], NAMES)


class TestDescription:
    @pytest.mark.parametrize(
        ("tradeoff", "expected"),
        [
            ((0.5, 0.0, 0.1, 0.4), "most about helpful, then factual detail, and least about harm"),
            ((0.35, 0.3, 0.25, 0.1), "helpful, then harmless, then concise, and least about fact"),
            ((0.9, 0.1, 0.0, 0.0), "most about helpful, then harmless, and least about factual"),
            ((0.0, 0.97, 0.02, 0.01), "cares about harmless and nothing else."),
            ((0.26, 0.25, 0.25, 0.24), "about helpful, harmless, concise and factual detail alike"),
        ],
    )
    def test_value(self, tradeoff: tuple[float, ...], expected: str) -> None:
        assert expected in description_of(TradeOff(tradeoff), NAMES)

    def test_two_objectives(self) -> None:
        two = Objectives.of("helpful", "concise")
        text = description_of(TradeOff((0.3, 0.7)), two)
        assert text == "This user cares more about concise than about helpful."

    def test_number_of_weights(self) -> None:
        with pytest.raises(ShapeError, match="found 2 weights, expected 4"):
            description_of(TradeOff((0.5, 0.5)), NAMES)
