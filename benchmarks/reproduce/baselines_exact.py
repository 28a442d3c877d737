"""Claims that tables decide exactly: what MODPO, MOD, Rewarded Soups and MORLHF converge to."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from budget import Budget
from fspo_numbers import listed
from pagetext import interval, table
from section import Section
from torch import Tensor

from paretune.bench.claims import CLAIMS, choose
from paretune.bench.problems import problem
from paretune.bench.truth import measure_method
from paretune.core.constrained import Divergence
from paretune.core.truth import MethodTruth
from paretune.engines.table_policy import total_variation
from paretune.functional.closed_form import kl_regularized_optimum
from paretune.functional.divergences import combine, tilt
from paretune.functional.indicators import hypervolume
from paretune.functional.mixing import mix_logps
from paretune.functional.simplex import lattice
from paretune.methods import build

PROBLEMS = ("random-2", "random-3", "random-network")
METHODS = (
    "modpo", "modpo policies", "dpo weighted", "rewarded_soups", "mod_decoding", "morlhf",
    "panacea", "panacea corners",
)  # fmt: skip
EXACT = 1e-3
"""Total variation that counts as none: what training to convergence leaves, with room."""
DIVERGENCES: tuple[Divergence, ...] = ("reverse_kl", "forward_kl", "jsd", "alpha", "jeffrey")
BETA = 0.5


@functools.cache
def truths(name: str) -> dict[str, MethodTruth]:
    """Every method of the section at all trade-offs of one exact problem, trained to the end."""
    asked = problem(name)
    return {
        claim.name: measure_method(asked, claim, build(claim.method, claim.options(asked)))
        for claim in choose(CLAIMS, METHODS)
        if claim.name in METHODS
    }


def distances(truth: MethodTruth) -> tuple[float, float]:
    """Largest total variation to the optimum of the weighted reward: at corners, between."""
    corners = [p.to_optimum for p in truth.points if max(p.tradeoff) == 1]
    between = [p.to_optimum for p in truth.points if max(p.tradeoff) < 1]
    return max(corners), max(between)


def _distance_table(names: Sequence[str], problems: Sequence[str]) -> str:
    rows = []
    for name in names:
        cells = [_small(value) for p in problems for value in distances(truths(p)[name])]
        rows.append([name, *cells])
    columns = ["method"]
    for p in problems:
        columns += [f"{p}: corners", "between"]
    return table(columns, rows)


def _small(value: float) -> str:
    return f"{value:.0e}" if value < EXACT else f"{value:.3f}"


def modpo_is_exact(problems: Sequence[str] = PROBLEMS) -> Section:
    """MODPO's optimum, beside that of weighted losses."""
    names = ("modpo", "modpo policies", "dpo weighted", "panacea", "morlhf")
    worst = {n: max(max(distances(truths(p)[n])) for p in problems) for n in names}
    losses = [distances(truths(p)["dpo weighted"])[1] for p in problems]
    return Section(
        "MODPO's optimum is that of MORLHF; weighted DPO losses have another",
        "MODPO (arXiv:2310.03708), Sec. 3",
        f"total variation to the optimum: MODPO {worst['modpo']:.1e}, with implicit rewards "
        f"{worst['modpo policies']:.1e}; weighted DPO {min(losses):.2f} to {max(losses):.2f}",
        exact_verdict(worst["modpo"], min(losses)),
        "Largest total variation to the optimum of the weighted reward under the KL penalty, "
        "trained to convergence on tables where every answer is known, labels Bradley-Terry, "
        "margins in their units. `modpo policies`: margins from experts trained by DPO. "
        "`panacea`: one policy for all trade-offs whose log-ratios are linear in them, under the "
        "weighted losses, whose optimum is not linear; so it misses corners too. "
        "`random-network`: a small network in place of a table.\n\n"
        + _distance_table(names, problems),
    )


def exact_verdict(ours: float, other: float) -> str:
    """MODPO must be exact and weighted losses must not be.

    Example:
        >>> exact_verdict(1e-5, 0.1), exact_verdict(0.2, 0.1)
        ('holds', 'does not hold: 0.20 from the optimum')
        >>> exact_verdict(1e-5, 1e-4)
        'holds only if: tables tell the two apart'
    """
    if ours > EXACT:
        return f"does not hold: {ours:.2f} from the optimum"
    return "holds" if other > EXACT else "holds only if: tables tell the two apart"


def soups_average(problems: Sequence[str] = PROBLEMS) -> Section:
    """Where averaging parameters is exact."""
    names = ("rewarded_soups", "mod_decoding", "panacea corners")
    found = {p: distances(truths(p)["rewarded_soups"]) for p in problems}
    corners = max(c for c, _ in found.values())
    exact_on = [p for p, (_, between) in found.items() if between <= EXACT]
    off = {p: between for p, (_, between) in found.items() if between > EXACT}
    told = "; ".join(f"{p} {b:.1e}" for p, (_, b) in found.items())
    return Section(
        "Averaged experts are the policies of the trade-offs between them",
        "Rewarded Soups (arXiv:2306.04488), linear mode connectivity",
        f"total variation to the optimum, corners {corners:.1e}; between: {told}",
        soups_verdict(corners, exact_on, off),
        "Largest total variation to the optimum of the weighted reward. Experts are optimal at "
        "the corners. On a full table log-probabilities are linear in the parameters; on "
        "`random-network` they are not, and averaging the same experts' log-probabilities "
        "(`mod_decoding`) is still exact. `panacea corners`: Panacea trained at the corners alone, "
        "which averages the two ends of its one direction.\n\n" + _distance_table(names, problems),
    )


def soups_verdict(corners: float, exact_on: Sequence[str], off: dict[str, float]) -> str:
    """From where it is exact.

    Example:
        >>> soups_verdict(1e-5, ["table"], {})
        'holds'
        >>> soups_verdict(1e-5, ["table"], {"network": 0.1})
        'holds only if: log-probabilities are linear in the parameters (table); 0.10 off on network'
    """
    if corners > EXACT:
        return f"does not hold: {corners:.2f} from the optimum at a corner"
    if not off:
        return "holds"
    misses = listed(f"{gap:.2f} off on {name}" for name, gap in off.items())
    if not exact_on:
        return f"does not hold: {misses}"
    exact = listed(exact_on)
    return f"holds only if: log-probabilities are linear in the parameters ({exact}); {misses}"


def mod_with_and_without_z(budget: Budget) -> Section:
    """MOD's closed forms, whose normalizer is dropped."""
    found = {d: [mixture_errors(d, seed) for seed in range(budget.instances)] for d in DIVERGENCES}
    rows, dropped = [], {}
    for divergence, errors in found.items():
        solved, without, repo, greedy = np.array(errors).T
        dropped[divergence] = float(without.max())
        rows.append(
            [
                divergence,
                f"{solved.max():.0e}",
                interval(without),
                f"{without.max():.2f}",
                "-" if np.isnan(repo).any() else interval(repo),
                f"{100 * greedy.mean():.0f}",
            ]
        )
    columns = ["divergence", "Z solved", "Z dropped", "worst table", "rules of the code",
               "same best token, %"]  # fmt: skip
    wrong = [d for d, worst in dropped.items() if worst > EXACT]
    solved = max(e[0] for errors in found.values() for e in errors)
    right = [d for d in dropped if d not in wrong]
    return Section(
        "Mixing optimal policies gives the optimum of the weighted reward, by a closed form",
        "MOD (arXiv:2406.18853), for each f-divergence",
        "total variation without Z up to "
        + ", ".join(f"{dropped[d]:.2f} ({d})" for d in wrong)
        + f"; with Z solved at most {solved:.0e}",
        closed_form_verdict(solved, right, wrong),
        f"Experts that are optimal for one of two random rewards under each divergence (beta "
        f"{BETA:g}, 3 contexts of 12 tokens, even trade-off), mixed; total variation to the "
        "optimum of the weighted reward, the largest over contexts, mean over "
        f"{budget.instances} random tables. The normalizer Z is part of the closed form and is "
        "dropped in the printed ones. "
        "`Rules of the code`: JSD by the rule of the reverse KL, alpha without its factor "
        "1/alpha. `Same best token`: how often greedy decoding without Z picks the optimum's "
        "token.\n\n" + table(columns, rows),
    )


def mixture_errors(divergence: Divergence, seed: int) -> tuple[float, float, float, float]:
    """Total variation with Z, without, by the code's rule (NaN: same), and share of equal bests."""
    rng = np.random.default_rng(seed)
    rewards = torch.as_tensor(rng.normal(size=(2, 3, 12)))
    ref = torch.log_softmax(torch.as_tensor(rng.normal(size=(3, 12))), dim=-1)
    experts = torch.stack([tilt(ref, r / BETA, divergence) for r in rewards])
    best = tilt(ref, rewards.mean(0) / BETA, divergence)
    solved = combine(ref, experts, (0.5, 0.5), divergence)
    dropped = combine(ref, experts, (0.5, 0.5), divergence, exact=divergence == "reverse_kl")
    repo = code_rule(experts, divergence)
    off = float("nan") if repo is None else total_variation(repo, best)
    same = float((dropped.argmax(-1) == best.argmax(-1)).double().mean())
    return total_variation(solved, best), total_variation(dropped, best), off, same


def code_rule(experts: Tensor, divergence: Divergence, alpha: float = 0.5) -> Tensor | None:
    """What the published code decodes at even weights where it differs from the printed form."""
    if divergence == "jsd":
        return mix_logps(experts, (0.5, 0.5))
    if divergence == "alpha":
        return torch.log_softmax(-torch.logsumexp(-alpha * experts, dim=0), dim=-1)
    return None


def closed_form_verdict(solved: float, right: Sequence[str], wrong: Sequence[str]) -> str:
    """From which divergences survive without Z.

    Example:
        >>> closed_form_verdict(1e-9, ["reverse_kl"], ["jsd"])
        'holds only if: Z is solved; without it for reverse_kl only'
        >>> closed_form_verdict(0.1, [], ["jsd"])
        'does not hold: off by 0.10 with Z solved'
    """
    if solved > EXACT:
        return f"does not hold: off by {solved:.2f} with Z solved"
    if not wrong:
        return "holds"
    return "holds only if: Z is solved" + (
        f"; without it for {listed(right)} only" if right else ""
    )


def token_by_token(budget: Budget) -> Section:
    """MOD applies the rule at every token."""
    lengths = (1, 2, 3, 4)
    found = {
        n: np.array([sequence_errors(n, seed) for seed in range(budget.instances)]) for n in lengths
    }
    rows = [
        [str(n), interval(errors[:, 0]), f"{errors[:, 0].max():.3f}",
         *(interval(column) for column in errors[:, 1:].T)]
        for n, errors in found.items()
    ]  # fmt: skip
    single, longest = found[1][:, 0].max(), found[lengths[-1]]
    columns = ["tokens a reply", "total variation", "worst table", "reward of the optimum",
               "of the mixture"]  # fmt: skip
    return Section(
        "Mixing next-token distributions gives the optimum over whole replies",
        "MOD (arXiv:2406.18853), decoding",
        f"total variation to the optimum {single:.0e} for one token, {longest[:, 0].mean():.2f} "
        f"for {lengths[-1]}, at {100 * (longest[:, 2] / longest[:, 1]).mean():.0f} % of its reward",
        "holds" if longest[:, 0].max() <= EXACT else
        "holds only if: replies have one token" if single <= EXACT else
        f"does not hold: {single:.2f} for one token",
        "Replies over 4 tokens with two random rewards of the whole reply, experts exact for "
        f"whole replies (reverse KL, beta {BETA:g}), their next-token distributions mixed evenly; "
        f"{budget.instances} random tables. Normalizers of the steps depend on what was written, "
        "so they do not cancel. Rewards are weighted ones, less the reference's.\n\n"
        + table(columns, rows),
    )  # fmt: skip


def sequence_errors(n_tokens: int, seed: int) -> tuple[float, float, float]:
    """Total variation over replies; weighted reward of the optimum and of the mixture."""
    rng = np.random.default_rng(seed)
    shape = (4,) * n_tokens
    rewards = torch.as_tensor(rng.normal(size=(2, 4**n_tokens)))
    ref = torch.log_softmax(torch.as_tensor(rng.normal(size=4**n_tokens)), dim=-1)
    experts = torch.stack([tilt(ref, r / BETA) for r in rewards])
    best = tilt(ref, rewards.mean(0) / BETA)
    mixed = torch.zeros(shape, dtype=torch.float64)
    for t in range(n_tokens):
        steps = torch.stack([next_tokens(e.view(shape), t) for e in experts])
        step = mix_logps(steps, (0.5, 0.5))
        mixed = mixed + step.view(step.shape + (1,) * (n_tokens - t - 1))
    mixture = mixed.reshape(-1)

    def reward(policy: Tensor) -> float:
        return float(((policy.exp() - ref.exp()) * rewards.mean(0)).sum())

    return total_variation(mixture[None], best[None]), reward(best), reward(mixture)


def next_tokens(replies: Tensor, t: int) -> Tensor:
    """Log-probabilities of token t given those before it, of a distribution over replies."""
    dims = tuple(range(t + 1, replies.ndim))
    joint = replies.logsumexp(dims) if dims else replies
    return joint - joint.logsumexp(-1, keepdim=True)


def corners_and_penalty() -> Section:
    """MORLHF: what the weighted sum reaches with and without a penalty."""
    betas = (0.001, 0.02, 0.1, 0.3)
    fronts = {"straight": 1.0, "bulging": 0.5, "dented": 2.0}
    shares = {(n, b): _inner(p, b) for n, p in fronts.items() for b in betas}
    rows = [
        [name, *(f"{100 * shares[name, b][0]:.0f}" for b in betas),
         *(f"{100 * shares[name, b][1]:.0f}" for b in betas)]
        for name in fronts
    ]  # fmt: skip
    columns = ["front of single replies", *(f"beta {b:g}: inner, %" for b in betas),
               *(f"beta {b:g}: reached, %" for b in betas)]  # fmt: skip
    free = {n: shares[n, betas[0]][0] for n in fronts}
    kept = {n: max(shares[n, b][0] for b in betas[1:]) for n in fronts}
    return Section(
        "Linear scalarization gives corners; the KL penalty keeps interior points",
        "Known of weighted sums; RiC's and Rewarded Soups' baseline MORLHF",
        "inner trade-offs that keep both objectives, without a penalty and with the best: "
        + "; ".join(f"{n} {100 * free[n]:.0f} and {100 * kept[n]:.0f} %" for n in fronts),
        corners_verdict(free, kept),
        "One context of 201 replies along a front from (0, 1) to (1, 0), uniform reference, 21 "
        "trade-offs, exact policies. `Inner`: share of the trade-offs strictly between whose "
        "policy keeps at least .05 of both objectives on average; at the even one a straight "
        "front is a tie that the reference breaks. `Reached`: hypervolume of the policies as a "
        "share of that of the replies and their mixtures. A penalty large enough to keep interior "
        "points on a straight or dented front also keeps policies away from the front.\n\n"
        + table(columns, rows),
    )


def _inner(power: float, beta: float) -> tuple[float, float]:
    """Share of inner trade-offs with both objectives, and share of the attainable hypervolume."""
    x = torch.linspace(0, 1, 201, dtype=torch.float64)
    rewards = torch.stack([x**power, (1 - x) ** power], dim=-1)[None]
    ref = torch.full((1, 201), 1 / 201, dtype=torch.float64).log()
    points = []
    tradeoffs = lattice(2, 20)
    for t in tradeoffs:
        policy = kl_regularized_optimum(ref, rewards, torch.as_tensor(t.array), beta)
        points.append((policy.exp()[..., None] * rewards).sum(1)[0].numpy())
    means = np.array(points)
    is_inner = np.array([max(t.weights) < 1 for t in tradeoffs])
    share = float((means[is_inner].min(axis=1) >= 0.05).mean())
    # Mixtures fill a dent up to the straight line between the ends.
    best = 0.5 if power >= 1 else float(np.trapezoid((1 - x.numpy()) ** power, x.numpy() ** power))
    volume = float(hypervolume(means, np.zeros(2), np.ones(2)))
    return share, volume / best


def corners_verdict(free: dict[str, float], kept: dict[str, float]) -> str:
    """From the shares of trade-offs that keep both objectives.

    Example:
        >>> corners_verdict({"straight": 0.05, "bulging": 0.9}, {"straight": 0.9, "bulging": 0.9})
        'holds only if: single replies have a straight front; a bulging one needs no penalty'
        >>> corners_verdict({"straight": 0.05}, {"straight": 0.9})
        'holds'
    """
    cornered = [n for n, share in free.items() if share < 0.1]
    saved = [n for n in cornered if kept[n] > 0.5]
    if not cornered:
        return "does not hold: weighted sums alone keep both objectives"
    if len(saved) < len(cornered):
        lost = listed(n for n in cornered if n not in saved)
        return f"holds only if: it is the first half of the sentence, on {lost}"
    if len(cornered) == len(free):
        return "holds"
    others = listed(n for n in free if n not in cornered)
    return (
        f"holds only if: single replies have a {' or '.join(cornered)} front; a {others} one "
        "needs no penalty"
    )
