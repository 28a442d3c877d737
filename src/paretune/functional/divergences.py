"""Optimal policies under an f-divergence penalty, and how those of several objectives combine.

Policies are rows of log-probabilities over actions: replies of a table, or the tokens of a
vocabulary. See :mod:`paretune.functional.generators` for the divergences themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from paretune.core.constrained import Divergence
from paretune.errors import InputError, ShapeError
from paretune.functional.generators import Generator, generator

BLOCK = 1 << 17
"""Entries that are solved at a time on a CPU: the temporaries of a block stay in its cache, and
rows that are solved early stop early."""
SLOW = 0.5
MAX_STEPS = 160


def divergence_value(
    logps: Tensor, ref_logps: Tensor, divergence: Divergence, alpha: float = 0.5
) -> Tensor:
    r""":math:`D_f(\pi\|\pi_{ref})` of each row.

    Args:
        logps: ``(..., A)`` normalized log-probabilities of the policy, nats.
        ref_logps: ``(..., A)`` of the reference.
        divergence: which one.
        alpha: parameter of ``alpha``, in (0, 1).

    Returns:
        ``(...)`` >= 0 up to rounding. An action that only the policy takes counts
        :math:`\pi f'(\infty)`: infinite for reverse KL, Jeffrey and chi-squared. One that only the
        reference takes counts :math:`\pi_{ref} f(0)`: infinite for forward KL and Jeffrey.

    Raises:
        ShapeError: if the shapes differ.
        InputError: if the divergence is unknown or ``alpha`` is out of range.

    Example:
        >>> even, lean = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.75, 0.25]).log()
        >>> divergence_value(lean, even, "total_variation")
        tensor(0.2500)
        >>> divergence_value(lean, even, "chi_squared")
        tensor(0.2500)
    """
    _check_shapes("divergence", ref_logps, logps)
    f = generator(divergence, alpha)
    # In single precision ratios of plain vocabularies overflow where the sum is moderate.
    policy, ref = logps.double(), ref_logps.double()
    is_out = torch.isneginf(ref)
    terms = ref.exp() * f.value(torch.where(is_out, 0.0, policy - ref))
    # At ratio infinity E_ref f is 0 * inf; its limit is the policy's mass times the largest slope.
    outside = torch.where(is_out, policy.exp(), 0.0).sum(-1)
    steepest = f.slope(torch.tensor(torch.inf)).item()
    limit = torch.where(outside > 0, steepest, 0.0) if math.isinf(steepest) else outside * steepest
    total = terms.sum(-1) + limit
    return total.to(torch.promote_types(logps.dtype, ref_logps.dtype))


@torch.no_grad()
def tilt(
    ref_logps: Tensor, scores: Tensor, divergence: Divergence = "reverse_kl", alpha: float = 0.5
) -> Tensor:
    r"""Best policy under a divergence penalty: :math:`\arg\max_\pi E_\pi[s] - D_f(\pi\|\pi_{ref})`.

    :math:`\pi = \pi_{ref}\,(f')^{-1}(s - \zeta)`, with the normalizer :math:`\zeta` of each row
    solved, not dropped. For the reverse KL that is a softmax. For the total variation, which costs
    1 per unit of mass moved, every action whose score is more than 1 below the best gives all its
    mass to the best ones (which share it as the reference does, where several are best).

    Args:
        ref_logps: ``(..., A)`` log-probabilities or logits of the reference, nats. What it rules
            out (``-inf``) stays out, also under divergences that could pay for it.
        scores: ``(..., A)`` already divided by the strength of the penalty; of any size. ``-inf``
            rules an action out; scores of actions that are out are not read.
        divergence: which one.
        alpha: parameter of ``alpha``, in (0, 1).

    Returns:
        ``(..., A)`` log-probabilities, at least float32; no gradient flows. Only chi-squared and
        total variation give zero mass to an action with a finite score (others until the dtype
        underflows).

    Raises:
        ShapeError: if the shapes differ.
        InputError: if the divergence is unknown, ``alpha`` out of range, or the best score of a
            row is not finite.

    Source:
        Shi et al. 2024 (MOD), arXiv:2406.18853; Agnihotri et al. 2025 (MOPO), App. A.2.1. Both
        leave the normalizer implicit; how it is solved is ours.

    Example:
        >>> ref, scores = torch.tensor([0.5, 0.25, 0.25]).log(), torch.tensor([0.0, 0.5, -3.0])
        >>> tilt(ref, scores, "reverse_kl").exp()
        tensor([0.5408, 0.4458, 0.0135])
        >>> tilt(ref, scores, "chi_squared").exp()
        tensor([0.6250, 0.3750, 0.0000])
        >>> tilt(ref, scores, "total_variation").exp()
        tensor([0.5000, 0.5000, 0.0000])
    """
    _check_shapes("tilt", ref_logps, scores)
    f = generator(divergence, alpha)
    ref = _normalized(ref_logps, scores.dtype)
    gaps = _gaps("tilt", ref, scores.to(ref.dtype))
    if divergence == "reverse_kl":
        return torch.log_softmax(ref - gaps, dim=-1)
    if divergence == "total_variation":
        return _transported(ref, gaps)
    return _solved(ref, gaps, f)


@torch.no_grad()
def combine(
    ref_logps: Tensor,
    logps: Tensor,
    weights: Sequence[float],
    divergence: Divergence = "reverse_kl",
    alpha: float = 0.5,
    exact: bool = True,
) -> Tensor:
    r"""Optimum for a trade-off out of the optima of its objectives, without their rewards.

    Where :math:`\pi_i` is the best policy for objective i under the same reference, divergence and
    strength, :math:`\pi = \pi_{ref}\,(f')^{-1}(\sum_i w_i f'(\pi_i/\pi_{ref}) - Z)` is the best one
    for the weighted rewards. Over tokens this is exact for one step, as every decoding rule.

    Args:
        ref_logps: ``(..., A)`` log-probabilities or logits of the reference, nats.
        logps: ``(K, ..., A)`` of the K policies.
        weights: ``(K,)`` with sum 1; a policy of weight 0 is not read. Negative weights push away
            from an objective.
        divergence: the one that every policy is optimal for.
        alpha: parameter of ``alpha``, in (0, 1).
        exact: solve for Z. ``False`` drops Z and renormalizes, the closed forms in print. They
            equal the exact ones for the reverse KL only; for others they are an
            **approximation** that can move half the mass or more, kept for comparison.

    Returns:
        ``(..., A)`` log-probabilities, at least float32; no gradient flows. A single policy of
        weight 1 is returned as it is.

    Raises:
        ShapeError: if the shapes differ, or there is not one weight a policy.
        InputError: if a weight is not finite or the sum is not 1; if no action has mass in all
            policies; where the policies do not determine the answer: total variation (its slope
            is a step that forgets the score) and chi-squared policies with zero mass (there the
            score is only bounded); for forms that do not exist: without Z for a divergence
            without barrier, or with a negative weight where slopes are bounded.

    Source:
        Shi et al. 2024 (MOD), arXiv:2406.18853, whose closed forms drop Z.

    Example:
        >>> ref = torch.tensor([0.5, 0.5]).log()
        >>> experts = torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log()
        >>> combine(ref, experts, [0.5, 0.5], "reverse_kl").exp()
        tensor([0.7500, 0.2500])
        >>> combine(ref, experts, [0.5, 0.5], "forward_kl").exp()
        tensor([0.8233, 0.1767])
        >>> combine(ref, experts, [0.5, 0.5], "forward_kl", exact=False).exp()
        tensor([0.7941, 0.2059])
    """
    numbers = _checked_weights(weights, logps)
    _check_shapes("combine", ref_logps, logps[0])
    f = generator(divergence, alpha)
    ref = _normalized(ref_logps, logps.dtype)
    live = [i for i, weight in enumerate(numbers) if weight != 0]
    if len(live) == 1:
        return _normalized(logps[live[0]], ref.dtype)
    _check_combination(divergence, f, numbers, exact)
    slack = torch.zeros_like(ref)
    for i in live:
        policy = _normalized(logps[i], ref.dtype)
        if not f.has_barrier:
            _check_mass(ref, policy, i, divergence)
        slack = slack + numbers[i] * f.slack(policy - ref)
    gaps = _gaps("combine", ref, -slack)
    if divergence == "reverse_kl":
        return torch.log_softmax(ref - gaps, dim=-1)
    if not exact:
        ratios = torch.where(torch.isneginf(ref), -torch.inf, f.from_slack(slack))
        return torch.log_softmax(ref + ratios, dim=-1)
    return _solved(ref, gaps, f)


def _transported(ref: Tensor, gaps: Tensor) -> Tensor:
    """Total variation: what is more than 1 below the best gives its mass to the best."""
    is_best, is_left = gaps == 0, gaps > 1
    out = torch.full_like(ref, -torch.inf)
    best = torch.where(is_best, ref, out).logsumexp(-1, keepdim=True)
    gained = torch.where(is_best | is_left, ref, out).logsumexp(-1, keepdim=True) - best
    return torch.where(is_left, out, torch.where(is_best, ref + gained, ref))


def _solved(ref: Tensor, gaps: Tensor, f: Generator) -> Tensor:
    """Normalized ``ref * (f')^{-1}(s - zeta)`` for gaps ``max s - s``, block by block."""
    rows, gap_rows = ref.reshape(-1, ref.shape[-1]), gaps.reshape(-1, ref.shape[-1])
    size = max(1, BLOCK // ref.shape[-1]) if ref.device.type == "cpu" else max(1, len(rows))
    blocks = zip(torch.split(rows, size), torch.split(gap_rows, size), strict=True)
    solved = [_solve_block(block, gap, f) for block, gap in blocks]
    return torch.cat(solved).reshape(ref.shape)


def _solve_block(ref: Tensor, gaps: Tensor, f: Generator) -> Tensor:
    r"""Newton's method on the certainty equivalent, kept in a bracket.

    Unknown: the log-ratio L of the best action of each row. The total mass S rises in L. Newton
    solves f'(S) = f'(1) in the slack of L, not S = 1 in L: for the reverse KL that is linear, for
    forward KL, alpha, JSD and chi-squared concave, so that from the upper end of the bracket it
    needs some 3 to 10 steps. Where a step did not halve the excess, the next one halves the
    bracket, so that it also ends where this is not so.
    """
    is_best, eps = gaps == 0, torch.finfo(ref.dtype).eps
    # Widened by its rounding, so that the mass there is never too small.
    upper = _upper_end(ref, gaps, is_best, f)
    upper = upper + 4 * eps * (1 + upper)
    lower, best = torch.zeros_like(upper), upper
    is_solved = is_last = torch.zeros_like(upper, dtype=torch.bool)
    last, zero = torch.full_like(upper, torch.inf), torch.zeros_like(upper[:1])
    # Rounding of L and of slacks moves the excess by that many units.
    blur = 4 + (f.slack(zero) / f.slack_slope(zero)).abs()
    for _ in range(MAX_STEPS):
        logps, rise = _at(best, ref, gaps, is_best, f)
        mass = logps.exp()
        total = mass.sum(-1, keepdim=True)
        excess = total.log()
        # d excess / dL, > 0. Zero mass has an infinite rise, and no share in it.
        rate = torch.where(mass > 0, mass * rise, 0.0).sum(-1, keepdim=True) / total
        noise = 8 * eps * (blur + best) * rate.clamp(min=1)
        is_solved = is_solved | is_last | (excess.abs() <= noise)
        if bool(is_solved.all()):
            break
        upper = torch.where(excess > 0, best, upper)
        lower = torch.where(excess < 0, best, lower)
        is_narrow = upper - lower <= eps * (1 + upper)
        target = _newton(best, excess, rate, f)
        # A comparison with NaN is false, so a failed step halves the bracket as well.
        is_newton = (target >= lower) & (target <= upper) & (excess.abs() <= SLOW * last)
        target = torch.where(is_newton, target, (lower + upper) / 2)
        target = torch.where(is_narrow, upper, target)
        is_last = is_narrow | (target == best)
        best = torch.where(is_solved, best, target)
        last = excess.abs()
    return logps - excess


def _at(
    best: Tensor, ref: Tensor, gaps: Tensor, is_best: Tensor, f: Generator
) -> tuple[Tensor, Tensor]:
    """Log-probabilities before normalization, and how fast each log-ratio rises with the best."""
    # Where the slack of the best underflows, its log-ratio is still known.
    ratios = torch.where(is_best, best, f.from_slack(gaps + f.slack(best)))
    rise = torch.where(is_best, 1.0, f.slack_slope(best) / f.slack_slope(ratios))
    return ref + ratios, rise


def _newton(best: Tensor, excess: Tensor, rate: Tensor, f: Generator) -> Tensor:
    """Newton step of f'(S) = f'(1) in the slack of the best log-ratio; ``excess`` is log S."""
    zero = torch.zeros_like(excess)
    step = (f.slack(zero) - f.slack(excess)) / (f.slack_slope(excess) * rate)
    fall = f.slack_slope(best)
    # Slacks underflow long before log-ratios do anything; there the step is one of L.
    is_kept = fall < -torch.finfo(best.dtype).tiny / torch.finfo(best.dtype).eps
    return torch.where(is_kept, f.from_slack(f.slack(best) + fall * step), best + step)


def _upper_end(ref: Tensor, gaps: Tensor, is_best: Tensor, f: Generator) -> Tensor:
    """Log-ratio of the best action, no less than at the solution; often close to it."""
    is_in = ~torch.isneginf(ref)
    # No action may have more than mass 1, and by Jensen f'(1) <= the mean slope.
    alone = torch.where(is_in, f.slack(-ref) - gaps, -torch.inf).amax(-1, keepdim=True)
    mean_gap = torch.where(is_in, ref.exp() * gaps, 0.0).sum(-1, keepdim=True)
    slack = torch.maximum(alone, f.slack(torch.zeros_like(mean_gap)) - mean_gap)
    largest = -torch.where(is_best, ref, -torch.inf).amax(-1, keepdim=True)
    return torch.minimum(f.from_slack(slack), largest).clamp(min=0)


def _gaps(where: str, ref: Tensor, scores: Tensor) -> Tensor:
    """How far each score is below the best of its row; ``inf`` where the reference is 0."""
    reached = torch.where(torch.isneginf(ref), -torch.inf, scores)
    best = reached.amax(-1, keepdim=True)
    is_bad = ~torch.isfinite(best + ref.amax(-1, keepdim=True))[..., 0]
    if bool(is_bad.any()):
        row = tuple(is_bad.nonzero()[0].tolist())
        raise InputError(
            f"{where}: found a best score of {best[row].item()} in row {row}, expected a finite "
            "one: some action that the reference takes, with no NaN and no +inf beside it"
        )
    return best - reached


def _normalized(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """Log-probabilities in at least float32: half precision rows do not sum to 1."""
    precise = torch.promote_types(torch.promote_types(logits.dtype, dtype), torch.float32)
    return torch.log_softmax(logits.to(precise), dim=-1)


def _check_shapes(where: str, ref_logps: Tensor, other: Tensor) -> None:
    if ref_logps.shape != other.shape or not ref_logps.ndim:
        raise ShapeError(
            f"{where}: found {tuple(other.shape)} beside a reference of {tuple(ref_logps.shape)}, "
            "expected the same (..., A)"
        )


def _checked_weights(weights: Sequence[float], logps: Tensor) -> tuple[float, ...]:
    numbers = tuple(float(weight) for weight in weights)
    if logps.ndim < 2 or len(numbers) != len(logps):
        raise ShapeError(
            f"combine: found {len(numbers)} weights for policies {tuple(logps.shape)}, expected "
            "(K,) for (K, ..., A)"
        )
    if not all(map(math.isfinite, numbers)) or abs(sum(numbers) - 1) > 1e-6:
        raise InputError(
            f"combine: found weights {list(numbers)}, expected finite numbers with sum 1"
        )
    return numbers


def _check_combination(
    divergence: Divergence, f: Generator, weights: Sequence[float], exact: bool
) -> None:
    if divergence == "total_variation":
        raise InputError(
            "combine: found total_variation, whose slope is a step: its optima only tell which "
            "scores are more than 1 below the best, not by how much; expected another divergence"
        )
    if not exact and not f.has_barrier:
        raise InputError(
            f"combine: found exact=False with {divergence}; the form without Z exists only for "
            "divergences with a barrier, expected exact=True"
        )
    if not exact and divergence in ("forward_kl", "jsd", "alpha") and min(weights) < 0:
        raise InputError(
            f"combine: found weights {list(weights)} with exact=False and {divergence}, expected "
            "weights >= 0: without Z the slope can leave the range of f'"
        )


def _check_mass(ref: Tensor, policy: Tensor, index: int, divergence: Divergence) -> None:
    n_lost = int((torch.isneginf(policy) & ~torch.isneginf(ref)).sum())
    if n_lost:
        raise InputError(
            f"combine: policy {index} has zero mass on {n_lost} actions that the reference takes; "
            f"{divergence} has no barrier, so the score there is only bounded and the combination "
            "is not defined; expected positive mass"
        )
