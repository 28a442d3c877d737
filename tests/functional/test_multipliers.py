from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import torch
from torch import Tensor

from paretune.errors import InputError, RunError
from paretune.functional.imitation_weights import (
    ball_moments,
    constrained_scores,
    literal_log_weights,
    log_base,
    log_weights,
)
from paretune.functional.multipliers import (
    MultiplierState,
    barrier_step,
    moving_average,
    multiplier_step,
    temperature_step,
)

ONE_GROUP = torch.zeros(3, dtype=torch.int64)
P, Q = torch.tensor([1.0, 0.5, 0.0]).double(), torch.tensor([0.5, 1.0, 0.0]).double()[:, None]
FLOOR, TAU, PRICE = torch.tensor([2 / 3]).double(), 0.1, 0.86137105
SEEDS = pytest.mark.parametrize("seed", [0, 1])


def draw(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def settle(weights_of: object, steps: int = 2000, **more: object) -> MultiplierState:
    """Steps on the whole table of three actions."""
    state = MultiplierState.start(FLOOR, torch.tensor([0.5]))
    base = log_base(ONE_GROUP)
    for _ in range(steps):
        w = weights_of(constrained_scores(P, Q, state.multipliers)).exp()  # type: ignore[operator]
        options = {"multiplier_rate": TAU / 2, **more}
        state, _ = state.advance(w[:, None] * Q, base, **options)  # type: ignore[arg-type]
    return state


class TestSteps:
    def test_multipliers_grow_with_what_is_missing_and_stop_at_zero(self) -> None:
        start, floors = torch.tensor([0.3, 0.3, 0.3]), torch.tensor([0.5, 0.5, -torch.inf])
        moved = multiplier_step(start, torch.tensor([0.2, 0.9, 0.4]), floors, rate=1.0)
        assert moved.tolist() == pytest.approx([0.6, 0.0, 0.0])

    @pytest.mark.parametrize("start", [0.05, 0.2, 1.0, 5.0])
    def test_temperatures_find_the_ball(self, start: float) -> None:
        f = torch.tensor([0.1, 0.3, 0.4, 0.6, 0.9, 1.2])[:, None]
        base, chi = torch.zeros(6), torch.tensor([start]).double()
        for _ in range(1500):
            chi = temperature_step(chi, ball_moments(f, base, chi, 0.15).kl, 0.15, rate=0.3)
        assert float(chi) == pytest.approx(0.594315, abs=1e-6)

    def test_temperatures_have_a_floor_and_need_a_ball(self) -> None:
        kl = torch.zeros(2)
        assert temperature_step(torch.tensor([0.02, 9.0]), kl, 0.5, rate=1.0).tolist() == [
            pytest.approx(0.01), 8.5
        ]  # fmt: skip
        assert temperature_step(torch.ones(2), kl + 1, 0.0, rate=1.0).tolist() == [1, 1]

    def test_the_average_by_hand(self) -> None:
        assert float(moving_average(torch.tensor(0.5), torch.tensor(0.9), 0.75)) == pytest.approx(
            0.6
        )


class TestBarrier:
    @pytest.mark.parametrize("slack", [0.5, 0.01])
    def test_steps_end_where_price_times_slack_is_the_weight(self, slack: float) -> None:
        price = torch.zeros(1).double()
        for _ in range(4000):
            price = barrier_step(price, torch.tensor([0.5 + slack]), torch.tensor([0.5]), 1.0, 0.01)
        assert float(price) * slack == pytest.approx(0.01, rel=1e-5)

    def test_steps_stay_positive_and_finite(self) -> None:
        values, floors = torch.tensor([1e8, 0.0]).double(), torch.tensor([0.0, -torch.inf]).double()
        price = barrier_step(torch.ones(2).double(), values, floors, 1.0, 1e-3)
        assert float(price[0]) == pytest.approx(1e-11, rel=1e-6)
        assert float(price[1]) == 0


class TestState:
    def test_a_whole_table_settles_at_the_optimum(self) -> None:
        state = settle(lambda s: log_weights(s, TAU, ONE_GROUP))
        assert float(state.multipliers) == pytest.approx(PRICE, abs=1e-6)
        assert float(state.moments) == pytest.approx(2 / 3, abs=1e-6)
        policy = log_weights(constrained_scores(P, Q, state.multipliers), TAU, ONE_GROUP).exp() / 3
        expected = [0.66666585, 0.33333374, 4.08e-7]
        assert policy.tolist() == pytest.approx(expected, abs=1e-6)

    def test_without_the_normalizer_the_multiplier_stays_zero(self) -> None:
        state = settle(lambda s: literal_log_weights(s, TAU), steps=100)
        assert float(state.multipliers) == 0
        assert float(state.moments) > 100  # a "probability"

    def test_a_barrier_settles_short_of_the_optimum(self) -> None:
        state = settle(lambda s: log_weights(s, TAU, ONE_GROUP), steps=4000, barrier=1e-3)
        slack = float(state.moments) - 2 / 3
        assert float(state.multipliers) * slack == pytest.approx(1e-3, rel=1e-4)
        assert float(state.multipliers) == pytest.approx(PRICE, abs=0.02)

    def test_adaptive_floors_start_relative_to_the_reference(self) -> None:
        floors, reached = torch.tensor([torch.nan, 0.7]), torch.tensor([0.4, 0.5])
        state = MultiplierState.start(floors, reached, relaxation=0.9)
        assert state.floors.tolist() == pytest.approx([0.36, 0.7], abs=1e-7)
        assert state.multipliers.tolist() == [0, 0] and state.temperatures.tolist() == [1, 1]
        with pytest.raises(InputError, match="no relaxation"):
            MultiplierState.start(floors, reached)

    @SEEDS
    def test_temperatures_move_before_multipliers(self, seed: int) -> None:
        f, base = 3 * draw(seed, 9, 2), draw(seed + 10, 9)
        state = MultiplierState.start(torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5]))
        state = dataclasses.replace(state, multipliers=draw(seed + 20, 2))
        after, batch = state.advance(
            f, base, radius=0.2, multiplier_rate=0.3, temperature_rate=0.7, decay=0.8
        )
        old = ball_moments(f, base, torch.ones(2), 0.2)
        chi = 1 - 0.7 * (0.2 - old.kl)
        new = ball_moments(f, base, chi, 0.2)
        assert not torch.allclose(new.bound, old.bound)
        assert torch.equal(after.temperatures, chi) and torch.equal(batch.bound, new.bound)
        price = (state.multipliers - 0.3 * (new.bound - state.floors)).clamp(min=0)
        assert torch.allclose(after.multipliers, price)
        assert torch.allclose(after.moments, 0.8 * 0.5 + 0.2 * new.bound)
        assert torch.equal(after.best, torch.maximum(after.moments, state.moments))
        assert (int(after.step), int(state.step)) == (1, 0)

    def test_the_first_refresh_changes_no_floor_the_second_follows_the_policy(self) -> None:
        floors = torch.tensor([torch.nan, 0.7])
        state = MultiplierState.start(floors, torch.tensor([0.5, 0.5]), relaxation=0.9)
        state = dataclasses.replace(
            state, moments=torch.tensor([0.6, 0.6]).double(), multipliers=torch.ones(2).double()
        )
        once = state.refresh(floors.isnan(), 0.9)
        assert torch.equal(once.floors, state.floors)
        twice = once.refresh(floors.isnan(), 0.9)
        assert twice.floors.tolist() == pytest.approx([0.54, 0.7])
        assert twice.multipliers.tolist() == [1, 1]

    @SEEDS
    def test_runs_side_by_side_are_the_runs_alone(self, seed: int) -> None:
        f, base = draw(seed, 4, 9, 2), draw(seed + 10, 4, 9)
        floors, reached = draw(seed + 20, 4, 2), draw(seed + 30, 4, 2)
        options = {"radius": 0.1, "multiplier_rate": 0.2}
        together, _ = MultiplierState.start(floors, reached).advance(f, base, **options)
        for run in range(4):
            alone, _ = MultiplierState.start(floors[run], reached[run]).advance(
                f[run], base[run], **options
            )
            for name in ("multipliers", "temperatures", "moments", "best"):
                assert torch.allclose(getattr(together, name)[run], getattr(alone, name))

    def test_saved_and_read_again_it_goes_on_the_same(self) -> None:
        floors = torch.tensor([[2 / 3, -torch.inf], [torch.nan, 0.1]])
        state = MultiplierState.start(floors, draw(0, 2, 2), relaxation=0.7)
        f, base = draw(1, 2, 5, 2), draw(2, 2, 5)
        options = {"radius": 0.1, "multiplier_rate": 0.2}
        state, _ = state.advance(f, base, **options)
        file = io.BytesIO()
        np.savez(file, **state.to_arrays())
        file.seek(0)
        again = MultiplierState.from_arrays(dict(np.load(file)))
        one, other = (s.advance(f, base, **options)[0] for s in (state, again))
        for field in dataclasses.fields(state):
            assert torch.equal(getattr(one, field.name), getattr(other, field.name))
            assert getattr(one, field.name).dtype == getattr(other, field.name).dtype

    def test_a_file_of_something_else_is_refused(self) -> None:
        arrays = MultiplierState.start(FLOOR, FLOOR).to_arrays()
        arrays["momentum"] = arrays.pop("moments")
        with pytest.raises(InputError, match="moments, momentum differ"):
            MultiplierState.from_arrays(arrays)

    @pytest.mark.parametrize("value", [101.0, float("nan"), float("inf")])
    def test_explosion_stops_and_explains(self, value: float) -> None:
        state = MultiplierState.start(
            torch.tensor([0.5, 0.9]).expand(3, 2), torch.tensor([0.4, 0.82]).expand(3, 2)
        )
        state.require_bounded(["kind", "harmless"])
        broken = state.multipliers.clone()
        broken[2, 1] = value
        with pytest.raises(RunError, match=r"harmless >= 0\.9 is not met, .* 0\.82; lower"):
            dataclasses.replace(state, multipliers=broken).require_bounded(["kind", "harmless"])
