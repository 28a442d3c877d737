from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from paretune.errors import InputError, ShapeError
from paretune.functional.imitation_weights import (
    ball_moments,
    clipped_log_ratios,
    constrained_scores,
    effective_sample_size,
    literal_log_weights,
    log_base,
    log_weights,
    pair_weights,
    robust_log_weights,
)

GROUPS = torch.tensor([0, 2, 0, 1, 1, 2, 2, 2])
SEEDS = pytest.mark.parametrize("seed", [0, 1])


def draw(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


class TestBase:
    @SEEDS
    def test_groups_count_alike_and_entries_by_their_ratio(self, seed: int) -> None:
        ratios = draw(seed, 3, 8)
        base = log_base(GROUPS, ratios).exp()
        for group in range(3):
            members = group == GROUPS
            expected = ratios[:, members].softmax(-1) / 3
            assert torch.allclose(base[:, members], expected, atol=1e-15)

    def test_ratios_are_clipped_both_ways_and_carry_no_gradient(self) -> None:
        logps = torch.tensor([-1.0, -20.0, 0.0], requires_grad=True)
        ratios = clipped_log_ratios(logps, torch.tensor([-1.5, -1.0, -9.0]), clip=4.0)
        assert ratios.tolist() == [0.5, -4.0, 4.0]
        assert not ratios.requires_grad

    def test_sample_size_of_weights_on_any_scale(self) -> None:
        assert effective_sample_size(torch.zeros(7)) == pytest.approx(7)
        one = torch.tensor([500.0, -torch.inf, -torch.inf])
        assert effective_sample_size(one) == pytest.approx(1)


class TestWeights:
    @SEEDS
    def test_a_group_averages_to_one_over_its_base(self, seed: int) -> None:
        scores, base = 5 * draw(seed, 2, 8), 3 * draw(seed + 10, 2, 8)
        w = log_weights(scores, 0.08, GROUPS, base).exp()
        for group in range(3):
            members = group == GROUPS
            m = base[:, members].softmax(-1)
            assert torch.allclose((m * w[:, members]).sum(-1), torch.ones(2).double(), atol=1e-12)
            # Whatever a whole prompt shares is no reason to prefer one of its responses.
            shifted = log_weights(scores + 3.0 * members, 0.08, GROUPS, base).exp()
            assert torch.allclose(shifted, w, rtol=1e-10)

    def test_no_overflow_where_float32_has_one(self) -> None:
        w = log_weights(torch.tensor([90.0, 0.0]), 0.08, torch.zeros(2, dtype=torch.int64)).exp()
        assert w.tolist() == pytest.approx([2.0, 0.0])

    def test_entries_that_do_not_count_change_nothing(self) -> None:
        scores, base = torch.tensor([1.0, 0.5, 99.0]), torch.tensor([0.0, 0.0, -torch.inf])
        group = torch.zeros(3, dtype=torch.int64)
        pair = log_weights(scores[:2], 0.5, group[:2])
        assert torch.allclose(log_weights(scores, 0.5, group, base)[:2], pair)

    def test_as_printed_the_mean_is_far_from_one(self) -> None:
        p = torch.tensor([1.0, 0.5, 0.0])
        raw = literal_log_weights(p, tau=0.1).exp()
        assert float(raw.mean()) == pytest.approx((math.exp(9) + math.exp(4) + math.exp(-1)) / 3)
        # Same policy for the same multipliers: only the scale differs.
        normal = log_weights(p, 0.1, torch.zeros(3, dtype=torch.int64)).exp()
        assert torch.allclose(raw / raw.mean(), normal)

    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            ((1, 1), 2.0),
            ((1, 0), 1.954045),
            ((0, 1), 0.045955),
            ((0, 0), 0.0),
        ],
    )
    def test_pair_weights_by_hand(self, labels: tuple[int, int], expected: float) -> None:
        margin = torch.tensor([(2 * labels[0] - 1) + 0.7 * (2 * labels[1] - 1)])
        first, second = pair_weights(margin, 0.08), pair_weights(-margin, 0.08)
        assert float(first) == pytest.approx(expected, abs=5e-7)
        assert float(first + second) == pytest.approx(2, abs=1e-15)

    def test_a_pair_is_a_group_of_two(self) -> None:
        scores = draw(3, 10)
        group = torch.arange(5).repeat_interleave(2)
        w = log_weights(scores, 0.08, group).exp()
        assert torch.allclose(w[::2], pair_weights(scores[::2] - scores[1::2], 0.08))

    @SEEDS
    def test_imitation_ends_at_the_weighted_base(self, seed: int) -> None:
        n, w = draw(seed, 6), 4 * draw(seed + 10, 6)
        best = (n * w / (n * w).sum()).log().requires_grad_()
        loss = -(n * w * best.log_softmax(-1)).sum()
        (gradient,) = torch.autograd.grad(loss, best)
        assert gradient.abs().max() <= 1e-9  # and the loss is convex in the logits

    def test_nothing_that_shapes_weights_gets_a_gradient(self) -> None:
        p, q, price, ref = (
            t.requires_grad_() for t in (draw(0, 4), draw(1, 4, 2), draw(2, 2), draw(3, 4))
        )
        group = torch.zeros(4, dtype=torch.int64)
        base = log_base(group, clipped_log_ratios(ref, draw(4, 4)))
        w = log_weights(constrained_scores(p, q, price), 0.1, group, base)
        moments = ball_moments(w.exp()[:, None] * q, base, price, 0.1)
        assert not any(t.requires_grad for t in (w, moments.bound, moments.adversary, moments.kl))

    def test_bad_input(self) -> None:
        with pytest.raises(InputError, match="found tau 0"):
            log_weights(torch.ones(1), 0.0, torch.zeros(1, dtype=torch.int64))
        with pytest.raises(ShapeError, match="2 secondary objectives and 1 multipliers"):
            constrained_scores(torch.ones(3), torch.ones(3, 2), torch.ones(1))
        with pytest.raises(InputError, match="radius -1"):
            ball_moments(torch.ones(1, 1), torch.zeros(1), torch.ones(1), -1)


class TestBall:
    @SEEDS
    def test_the_reference_reaches_a_half_on_records_seen_from_both_sides(self, seed: int) -> None:
        labels = (draw(seed, 50, 3) < 0.9).double()
        both = torch.cat([labels, 1 - labels])
        base = log_base(torch.zeros(100, dtype=torch.int64))
        assert ball_moments(both, base, torch.ones(3), 0.0).bound.tolist() == pytest.approx(
            [0.5] * 3, abs=1e-14
        )
        robust = ball_moments(both, base, torch.full((3,), 0.840213), 0.15)
        assert robust.bound.tolist() == pytest.approx([0.233228] * 3, abs=1e-6)
        assert robust.kl.tolist() == pytest.approx([0.15] * 3, abs=1e-6)

    @SEEDS
    def test_slope_in_the_temperature_is_the_missing_divergence(self, seed: int) -> None:
        values, base = 2 * draw(seed, 12, 2), draw(seed + 10, 12)
        chi, step = torch.tensor([0.3, 1.7]).double(), 1e-6
        at = ball_moments(values, base, chi, 0.1)
        up, down = (ball_moments(values, base, chi + s, 0.1).bound for s in (step, -step))
        assert torch.allclose(-(up - down) / (2 * step), 0.1 - at.kl, atol=1e-8)
        m = base.softmax(-1)[:, None]
        assert torch.allclose((m * at.adversary).sum(0), torch.ones(2).double())
        # The adversary's mean is the bound, up to what the ball leaves it.
        worst = (m * at.adversary * values).sum(0)
        assert torch.allclose(at.bound, worst + chi * (at.kl - 0.1), atol=1e-12)

    def test_robust_weights_of_a_known_saddle(self) -> None:
        p = torch.tensor([0.8, 0.5, 0.2])
        q = torch.tensor([0.3, 0.6, 0.5])[:, None]
        base = torch.tensor([0.2, 0.3, 0.5]).log()
        price, chi = torch.tensor([0.31661]), torch.tensor([0.61146])
        group = torch.zeros(3, dtype=torch.int64)
        log_w = robust_log_weights(p, q, price, chi, 0.3, group, base)
        policy = (base + log_w).exp()
        assert policy.tolist() == pytest.approx([0.44441620, 0.31148365, 0.24410015], abs=1e-5)
        plain = log_weights(constrained_scores(p, q, price), 0.3, group, base)
        assert (plain - log_w).abs().max() > 0.01

    @SEEDS
    def test_robust_weights_answer_their_own_adversary(self, seed: int) -> None:
        p, q = draw(seed, 2, 8), draw(seed + 10, 2, 8, 2)
        base = log_base(GROUPS, draw(seed + 20, 2, 8))
        price, chi = draw(seed + 30, 2, 2), 0.5 + draw(seed + 40, 2, 2)
        log_w = robust_log_weights(p, q, price, chi, 0.2, GROUPS, base, rounds=400)
        r = ball_moments(log_w.exp()[..., None] * q, base, chi, 0.3).adversary
        again = log_weights(constrained_scores(p, q, price, r), 0.2, GROUPS, base)
        assert torch.allclose(again, log_w, atol=1e-9)
