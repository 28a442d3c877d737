"""Optima and combinations under seven divergences: by hand, by KKT, against scipy."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from paretune.core.constrained import DIVERGENCES
from paretune.errors import InputError, ShapeError
from paretune.functional import divergences
from paretune.functional.closed_form import kl_regularized_optimum
from paretune.functional.divergences import combine, divergence_value, tilt
from paretune.functional.generators import generator
from paretune.functional.mixing import mix_logps

BARRIER = ["reverse_kl", "forward_kl", "jsd", "alpha", "jeffrey"]
SMOOTH = [*BARRIER, "chi_squared"]
tensor = partial(torch.tensor, dtype=torch.float64)
EVEN = tensor([0.5, 0.5]).log()
LEAN = tensor([0.75, 0.25]).log()


@pytest.fixture(params=[0, 1])
def draw(request):
    """Normal numbers of a shape, from two seeds."""
    generator = torch.Generator().manual_seed(request.param)
    return partial(torch.randn, generator=generator, dtype=torch.float64)


# D_f of (3/4, 1/4) from (1/2, 1/2): the ratios are 3/2 and 1/2, each with weight 1/2.
VALUES = {
    "reverse_kl": 0.75 * math.log(1.5) + 0.25 * math.log(0.5),
    "forward_kl": -0.5 * math.log(1.5 * 0.5),
    "jsd": 0.75 * math.log(1.5)
    + 0.25 * math.log(0.5)
    - 1.25 * math.log(1.25)
    - 0.75 * math.log(0.75),
    "alpha": 4 - 2 * (math.sqrt(1.5) + math.sqrt(0.5)),
    "jeffrey": 0.25 * math.log(3),
    "total_variation": 0.25,
    "chi_squared": 0.25,
}
# f'(3/2) - f'(1/2): the score gap that takes (1/2, 1/2) to (3/4, 1/4).
GAPS = {
    "reverse_kl": math.log(3),
    "forward_kl": 4 / 3,
    "jsd": math.log(1.2 / (2 / 3)),
    "alpha": 2 * (math.sqrt(2) - math.sqrt(2 / 3)),
    "jeffrey": math.log(3) + 4 / 3,
    "chi_squared": 2,
}


@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergence_by_hand(name):
    assert divergence_value(LEAN, EVEN, name).item() == pytest.approx(VALUES[name], rel=1e-13)
    assert divergence_value(LEAN, LEAN, name).item() == 0


def test_divergence_where_one_of_the_two_takes_nothing():
    sure = tensor([1.0, 0.0]).log()
    # E_ref f with ratios 2 and 0, and the mirror: half of f(2) or of f(1/2), plus the limit.
    gone = {"reverse_kl": math.log(2), "forward_kl": math.inf, "jeffrey": math.inf}
    gone |= {"alpha": 4 - 2 * math.sqrt(2), "total_variation": 0.5, "chi_squared": 1.0}
    new = {"reverse_kl": math.inf, "forward_kl": math.log(2), "jeffrey": math.inf}
    new |= {"alpha": 4 - 2 * math.sqrt(2), "total_variation": 0.5, "chi_squared": math.inf}
    # f(2) / 2 + f(0) / 2 = log 2 - 1.5 log 1.5 + .5 log 2; with f(1/2) / 1 and log 2 / 2, the same.
    gone["jsd"] = new["jsd"] = 1.5 * math.log(4 / 3)
    for name in DIVERGENCES:
        assert divergence_value(sure, EVEN, name).item() == pytest.approx(gone[name]), name
        assert divergence_value(EVEN, sure, name).item() == pytest.approx(new[name]), name
        assert divergence_value(sure, sure, name).item() == 0


@pytest.mark.parametrize("name", SMOOTH)
def test_tilt_by_hand(name):
    moved = tilt(EVEN, tensor([GAPS[name] - 7, -7.0]), name)
    assert moved == pytest.approx(LEAN, abs=1e-14)


def test_chi_squared_by_hand():
    # Without the third action c - g/2 = (5/4, 3/2) has mean 1; with it c = 1.3125 is below 3.5/2.
    ref, scores = tensor([0.5, 0.25, 0.25]).log(), tensor([0.0, 0.5, -3.0])
    assert tilt(ref, scores, "chi_squared").exp().tolist() == pytest.approx([0.625, 0.375, 0])
    # Two even actions: the worse one is left when the gap reaches 4.
    assert tilt(EVEN, tensor([3.9, 0.0]), "chi_squared").exp() == pytest.approx([0.9875, 0.0125])
    assert tilt(EVEN, tensor([4.1, 0.0]), "chi_squared").exp().tolist() == [1.0, 0.0]


def test_total_variation_by_hand():
    ref = tensor([0.1, 0.2, 0.3, 0.4]).log()
    # .9 and exactly 1 below the best stay, 1.1 below goes.
    moved = tilt(ref, tensor([2.0, 1.1, 1.0, 0.9]), "total_variation")
    assert moved.exp().tolist() == pytest.approx([0.5, 0.2, 0.3, 0.0])
    # Two best ones share .7 as .1 to .2.
    moved = tilt(ref, tensor([2.0, 2.0, 0.0, 0.0]), "total_variation")
    assert moved.exp().tolist() == pytest.approx([1 / 3, 2 / 3, 0, 0])


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("scale", [1e-6, 0.3, 3.0, 100.0, 1e5])
def test_tilt_is_normalized_and_its_slopes_differ_as_the_scores(draw, name, scale):
    ref, scores = (2 * draw(50, 9)).log_softmax(-1), scale * draw(50, 9)
    f = generator(name, 0.3)
    logps = tilt(ref, scores, name, 0.3)
    assert logps.exp().sum(-1) == pytest.approx(torch.ones(50), abs=1e-14)
    best = scores.argmax(-1, keepdim=True)
    slack = f.slack(logps - ref)
    gaps, found = scores.gather(-1, best) - scores, slack - slack.gather(-1, best)
    is_in = ~torch.isneginf(logps)
    assert found[is_in] == pytest.approx(gaps[is_in], rel=1e-9, abs=1e-12)
    # Complementary slackness: what is left out would still lose with its first bit of mass.
    assert (gaps >= found - 1e-9 * scale)[~is_in].all()
    assert bool(is_in.all()) == (name != "chi_squared" or scale < 1)


@pytest.mark.parametrize("name", SMOOTH)
def test_tilt_against_an_independent_optimizer(draw, name):
    ref, scores = draw(4).log_softmax(-1), draw(4)

    def loss(policy):
        logps = tensor(policy).log().requires_grad_()
        value = (logps.exp() * scores).sum() - divergence_value(logps, ref, name)
        (gradient,) = torch.autograd.grad(-value, logps)
        return -value.item(), gradient.numpy() / policy

    sums = {"type": "eq", "fun": lambda p: p.sum() - 1, "jac": np.ones_like}
    start = np.full(4, 0.25)
    options = {"ftol": 1e-15, "maxiter": 500}
    found = minimize(
        loss, start, jac=True, bounds=[(1e-12, 1)] * 4, constraints=sums, options=options
    )
    best = tilt(ref, scores, name).exp().numpy()
    assert best == pytest.approx(found.x, abs=2e-6)
    assert loss(best.clip(1e-300))[0] <= found.fun + 1e-12


def test_total_variation_against_a_linear_program(draw):
    for scale in (0.3, 1.0, 3.0):
        ref, scores = draw(6).log_softmax(-1), scale * draw(6)
        eye, p = np.eye(6), ref.exp().numpy()
        # Minimize -s pi + sum(t) / 2 with t >= |pi - ref|.
        found = linprog(
            np.concatenate([-scores.numpy(), np.full(6, 0.5)]),
            A_ub=np.block([[eye, -eye], [-eye, -eye]]),
            b_ub=np.concatenate([p, -p]),
            A_eq=[[1.0] * 6 + [0.0] * 6],
            b_eq=[1.0],
        )
        assert tilt(ref, scores, "total_variation").exp().numpy() == pytest.approx(
            found.x[:6], abs=1e-9
        )


@pytest.mark.parametrize("name", DIVERGENCES)
def test_zero_mass_only_without_a_barrier(name):
    scores = torch.linspace(0, 30, 8, dtype=torch.float64)
    logps = tilt(torch.zeros(8, dtype=torch.float64), scores, name)
    assert torch.isneginf(logps).any().item() == (name in ("total_variation", "chi_squared"))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_order_shift_and_batch_change_nothing(draw, name):
    ref, scores = draw(3, 2, 7).log_softmax(-1), 2 * draw(3, 2, 7)
    before = ref.clone(), scores.clone()
    whole = tilt(ref, scores, name)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(5))
    assert tilt(ref[..., order], scores[..., order], name) == pytest.approx(
        whole[..., order], abs=1e-13
    )
    assert tilt(ref, scores + 50, name) == pytest.approx(whole, abs=1e-11)
    assert tilt(ref[1, 1], scores[1, 1], name) == pytest.approx(whole[1, 1], abs=1e-13)
    assert tilt(ref + 3, scores, name) == pytest.approx(whole, abs=1e-13)
    assert torch.equal(before[0], ref)
    assert torch.equal(before[1], scores)
    constant = tilt(ref, torch.zeros_like(ref), name)
    assert constant == pytest.approx(ref, abs=1e-14)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_what_the_reference_or_a_score_rules_out_stays_out(draw, name):
    ref, scores = draw(4, 5), draw(4, 5)
    kept = tilt(ref[:, :4], scores[:, :4], name)
    out, last = torch.full((4, 1), -math.inf), torch.full((4, 1), math.nan)
    by_ref = tilt(torch.cat([ref[:, :4], out], -1), torch.cat([scores[:, :4], last], -1), name)
    assert by_ref[:, :4] == pytest.approx(kept, abs=1e-13)
    assert torch.isneginf(by_ref[:, 4]).all()
    # Under a barrier the action left out leaves its share of the reference to be scaled up.
    by_score = tilt(ref, torch.cat([scores[:, :4], out], -1), name)
    assert torch.isneginf(by_score[:, 4]).all()
    hopeless = tilt(ref, torch.cat([scores[:, :4], torch.full((4, 1), -1e30)], -1), name)
    assert by_score[:, :4] == pytest.approx(hopeless[:, :4], abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", DIVERGENCES)
def test_extreme_numbers_do_not_overflow(name, dtype):
    top = torch.finfo(dtype).max
    huge = torch.tensor([0.0, top / 4, top / 2], dtype=dtype)
    moved = tilt(torch.zeros(3, dtype=dtype), huge, name)
    assert moved.exp().tolist() == pytest.approx([0, 0, 1])
    # The best action has a reference of e^-2000: nothing moves, or everything; nothing under
    # chi-squared, whose price is e^2000.
    faint = torch.tensor([0.0, -2000.0], dtype=dtype)
    for scores, expected in ([0.0, 0.1], [1.0, 0.0]), ([0.0, 1e30], [0.0, 1.0]):
        if name == "chi_squared":
            expected = [1.0, 0.0]
        moved = tilt(faint, torch.tensor(scores, dtype=dtype), name)
        assert moved.exp().tolist() == pytest.approx(expected, abs=1e-6)
    assert tilt(torch.zeros(1, dtype=dtype), huge[:1], name).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_vocabulary_in_both_precisions(name):
    generator = torch.Generator().manual_seed(0)
    ref = 4 * torch.randn(3, 51_200, generator=generator, dtype=torch.float64)
    # Multiples of 1/256, so that both precisions see the same actions 1 below the best.
    scores = torch.randn(3, 51_200, generator=generator, dtype=torch.float64)
    scores = (256 * scores).round() / 256
    double, single = tilt(ref, scores, name), tilt(ref.float(), scores.float(), name)
    assert double.dtype == torch.float64
    assert single.dtype == torch.float32
    assert double.exp().sum(-1) == pytest.approx(torch.ones(3), abs=1e-12)
    assert single.exp().sum(-1) == pytest.approx(torch.ones(3), abs=2e-5)
    assert (double.exp() - single.exp()).abs().max() < 1e-5
    half = tilt(ref.bfloat16(), scores.bfloat16(), name)
    assert half.dtype == torch.float32
    assert half.exp().sum(-1) == pytest.approx(torch.ones(3), abs=2e-5)


@pytest.mark.parametrize("name", SMOOTH)
def test_few_steps_are_enough(monkeypatch, name):
    source = torch.Generator().manual_seed(3)
    draw = partial(torch.randn, generator=source, dtype=torch.float64)
    for spread, scale, n_actions in itertools.product((0, 3, 300), (1e-3, 1, 1e3, 1e9), (3, 30)):
        ref, scores = spread * draw(100, n_actions), scale * draw(100, n_actions)
        monkeypatch.undo()
        settled = tilt(ref, scores, name)
        monkeypatch.setattr(divergences, "MAX_STEPS", 20)
        assert tilt(ref, scores, name).exp() == pytest.approx(settled.exp(), abs=1e-14)


def test_reverse_kl_is_the_closed_form_and_the_geometric_mixture(draw):
    ref, rewards = draw(4, 6).log_softmax(-1), draw(4, 6, 2)
    weights = tensor([0.3, 0.7])
    expected = kl_regularized_optimum(ref, rewards, weights, beta=0.2)
    assert tilt(ref, rewards @ weights / 0.2) == pytest.approx(expected, abs=1e-12)
    logps = draw(3, 4, 6).log_softmax(-1)
    for weights in ([0.2, 0.3, 0.5], [1.5, -0.5, 0.0], [0.0, 1.0, 0.0]):
        assert combine(ref, logps, weights) == pytest.approx(mix_logps(logps, weights), abs=1e-12)


@pytest.mark.parametrize("weights", [[0.2, 0.3, 0.5], [0.5, 0.5, 0.0], [1.4, -0.3, -0.1]])
@pytest.mark.parametrize("name", SMOOTH)
def test_combination_is_the_optimum_of_the_combined_score(draw, name, weights):
    # Chi-squared determines its combination only while every action keeps some mass.
    scale = 0.2 if name == "chi_squared" else 4.0
    ref, scores = draw(5, 2, 7).log_softmax(-1), scale * draw(3, 5, 2, 7)
    optima = torch.stack([tilt(ref, s, name, 0.3) for s in scores])
    expected = tilt(ref, torch.einsum("k,k...->...", tensor(weights), scores), name, 0.3)
    combined = combine(ref, optima, weights, name, 0.3)
    assert combined.exp() == pytest.approx(expected.exp(), abs=1e-12)
    assert (scores.argmax(-1) != scores.argmax(-1)[0]).any()


def test_chi_squared_combines_as_an_average():
    # Ratios average to 1 already, so that Z is 0.
    policies = torch.stack([LEAN, tensor([0.35, 0.65]).log()])
    combined = combine(EVEN, policies, [0.25, 0.75], "chi_squared")
    assert combined.exp().tolist() == pytest.approx([0.45, 0.55])


# Largest error over the 300 instances below: the same order as the .555 / .467 / .189 known for
# other random instances, where the reverse KL has none. Far from an approximation to build on.
DROPPED = {"forward_kl": 0.66, "jsd": 0.77, "alpha": 0.51, "jeffrey": 0.19}


@pytest.mark.parametrize("name", BARRIER)
def test_dropping_the_normalizer_is_wrong_but_for_the_reverse_kl(name):
    source = torch.Generator().manual_seed(0)
    ref = torch.randn(300, 5, generator=source, dtype=torch.float64).log_softmax(-1)
    scores = torch.rand(2, 300, 5, generator=source, dtype=torch.float64) / 0.1
    optima = torch.stack([tilt(ref, s, name) for s in scores])
    exact = combine(ref, optima, [0.5, 0.5], name).exp()
    dropped = combine(ref, optima, [0.5, 0.5], name, exact=False).exp()
    assert dropped.sum(-1) == pytest.approx(torch.ones(300))
    error = (exact - dropped).abs().max().item()
    if name == "reverse_kl":
        assert error < 1e-14
    else:
        assert DROPPED[name] / 3 < error < 1


def test_forms_without_normalizer_are_those_in_print(draw):
    ref, logps = draw(4, 6).log_softmax(-1), draw(2, 4, 6).log_softmax(-1)
    p0, (p1, p2), a, b, alpha = ref.exp(), logps.exp(), 0.3, 0.7, 0.4
    printed = {
        "reverse_kl": p1**a * p2**b,
        "forward_kl": 1 / (a / p1 + b / p2),
        "jsd": p0 / ((p0 / p1 + 1) ** a * (p0 / p2 + 1) ** b - 1),
        "alpha": (a * p1**-alpha + b * p2**-alpha) ** (-1 / alpha),
    }
    for name, form in printed.items():
        found = combine(ref, logps, [a, b], name, alpha, exact=False).exp()
        assert found == pytest.approx(form / form.sum(-1, keepdim=True), abs=1e-13), name


@pytest.mark.parametrize("is_exact", [True, False])
@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_corner_is_the_policy_itself(draw, name, is_exact):
    logps = draw(2, 3, 5).log_softmax(-1)
    logps[1] = logps[1] * 300
    corner = combine(draw(3, 5), logps, [1.0, 0.0], name, exact=is_exact)
    assert corner == pytest.approx(logps[0], abs=1e-13)


@pytest.mark.parametrize("is_exact", [True, False])
@pytest.mark.parametrize("name", BARRIER)
def test_what_one_policy_rules_out_stays_out(name, is_exact):
    logps = tensor([[0.5, 0.5, 0.0], [0.2, 0.2, 0.6]]).log()
    ref = torch.zeros(3, dtype=torch.float64)
    mixed = combine(ref, logps, [0.5, 0.5], name, exact=is_exact)
    assert mixed.exp().tolist() == pytest.approx([0.5, 0.5, 0])
    assert mixed[2] == -math.inf
    outside = combine(
        tensor([0.0, 0.0, -math.inf]), logps.roll(1, -1), [0.5, 0.5], name, exact=is_exact
    )
    assert outside[2] == -math.inf
    assert outside.exp().sum().item() == pytest.approx(1)


def test_policies_that_do_not_determine_the_answer_are_refused():
    logps = tensor([[0.75, 0.25], [1.0, 0.0]]).log()
    with pytest.raises(InputError, match="total_variation, whose slope is a step"):
        combine(EVEN, logps[:1].repeat(2, 1), [0.5, 0.5], "total_variation")
    with pytest.raises(InputError, match="policy 1 has zero mass on 1 actions"):
        combine(EVEN, logps, [0.5, 0.5], "chi_squared")
    with pytest.raises(InputError, match="exact=False with chi_squared"):
        combine(EVEN, logps, [0.5, 0.5], "chi_squared", exact=False)
    with pytest.raises(InputError, match=r"weights >= 0"):
        combine(EVEN, logps, [1.5, -0.5], "jsd", exact=False)
    disjoint = tensor([[0.0, 1.0], [1.0, 0.0]]).log()
    with pytest.raises(InputError, match=r"combine: found a best score of -inf in row \(\)"):
        combine(EVEN, disjoint, [0.5, 0.5], "jsd")


def test_bad_input_is_named():
    for bad in (math.nan, math.inf):
        with pytest.raises(InputError, match=rf"best score of {bad} in row \(1,\)"):
            tilt(EVEN.repeat(2, 1), tensor([[0.0, 0.0], [0.0, bad]]), "jsd")
    with pytest.raises(InputError, match="-inf in row"):
        tilt(EVEN, tensor([-math.inf, -math.inf]))
    with pytest.raises(ShapeError, match=r"\(3,\) beside a reference of \(2,\)"):
        tilt(EVEN, tensor([0.0, 0.0, 0.0]))
    with pytest.raises(InputError, match="alpha 2"):
        tilt(EVEN, EVEN, "alpha", 2)
    with pytest.raises(InputError, match="known: alpha, chi_squared"):
        divergence_value(EVEN, EVEN, "hellinger")
    with pytest.raises(ShapeError, match="1 weights for policies"):
        combine(EVEN, torch.stack([EVEN, LEAN]), [1.0], "jsd")
    with pytest.raises(InputError, match="sum 1"):
        combine(EVEN, torch.stack([EVEN, LEAN]), [0.5, 0.6], "jsd")
    with pytest.raises(ShapeError, match="same"):
        combine(EVEN[None], torch.stack([EVEN, LEAN]), [0.5, 0.5], "jsd")
