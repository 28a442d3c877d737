"""Faults of the baselines' published code, and facts of it that are not to be copied."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from baselines_adapters import silent_load
from baselines_exact import code_rule, mixture_errors
from budget import Budget
from mistake import Mistake

from paretune.bench.answers import answers
from paretune.bench.problems import problem
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import total_variation
from paretune.functional.desired_rewards import desired_share, gauss_range
from paretune.functional.dominance import top_layers
from paretune.functional.losses import PairBatch
from paretune.functional.margin_loss import modpo_loss
from paretune.functional.reward_filter import above_quantile
from paretune.functional.reward_prompt import write_rewards
from paretune.methods import build

Found = tuple[str, str, dict[str, float]]

MARKER = "### Response:"
POSTS = ("I do not know what to do here", "nobody helps, no one", "see you soon", "thanks!")
PUBLISHED = ((-0.94732502, 1.92034349), (-0.01500361, 1.40736504))
"""Mean and deviation of rewards on HH-RLHF, harmless and helpful, as RiC's authors gave them."""
REMADE = ((-0.821, 1.496), (1.292, 1.745))
"""The same by a user who ran its preparation script."""


def mistakes(budget: Budget) -> list[Mistake]:
    """B1 to B17, by source."""
    return [
        Mistake("B1", "RiC's code takes the response marker off a prompt by `rstrip`.",
                *stripped()),
        Mistake("B2", "RiC's code wishes for rewards between the smallest and largest of 50,000 "
                "standard normals.", *normals()),
        Mistake("B3", "RiC's code rounds raw rewards to tenths, takes mean and deviation, and "
                "rounds z-scores again.", *rounded_twice(budget)),
        Mistake("B4", "RiC's rejection sampling keeps what reaches a .7 quantile (of *any* "
                "objective, in the code).", *any_of_them(budget)),
        Mistake("B5", "RiC's code calls a rule `linf`.", *not_infinity()),
        Mistake("B6", "RiC's statistics of the rewards, given and made again by a user.",
                *two_normalizers()),
        Mistake("B7", "RiC's plots keep points within a tolerance of the front.", *slack_front()),
        Mistake("B8", "RiC's code knows two or three objectives; with three, its MORLHF takes "
                "(.33, .33, .33) whatever the preference.", "", "Fronts of three objectives need "
                "their own code; any number of objectives here."),
        Mistake("B9", "RiC's training before November 2024 had no end-of-sequence token; its "
                "evaluation sets no temperature.", "", "Its README says that results differ from "
                "the paper's since. All decoding settings are written down here."),
        Mistake("B10", "MORLHF in RiC's code weighs raw rewards.", *raw_weights()),
        Mistake("B11", "PPO tables name a target KL of 3 beside early stopping.", "",
                "It is the target of the adaptive coefficient, in nats a sequence. Here the "
                "penalty is constant."),
        Mistake("B12", "Group advantages are divided by the deviation of the summed reward.",
                *one_reward_decides()),
        Mistake("B13", "MODPO: margins are rewards; their unit is not discussed.",
                *wrong_unit()),
        Mistake("B14", "MODPO divides by the weight of the objective that orders the pairs.",
                *small_weight()),
        Mistake("B15", "MOD's code decodes JSD by the rule of the reverse KL, alpha without its "
                "factor 1/alpha.", *code_rules(budget)),
        Mistake("B16", "Averaged parameters are loaded with `strict=False`.", *not_loaded()),
        Mistake("B17", "HaM weighs log-likelihoods with rewards; their sign is left open.",
                *negative_reward()),
    ]  # fmt: skip


def stripped() -> Found:
    """B1: a set of characters is stripped, not a suffix."""
    cut = [(p + MARKER).rstrip(MARKER) for p in POSTS]
    lost = [len(p) - len(c) for p, c in zip(POSTS, cut, strict=True)]
    ours = [write_rewards(p + MARKER, (0.5,), MARKER) for p in POSTS]
    kept = sum(o == f"{p} <rm1_score> 0.5{MARKER}" for p, o in zip(POSTS, ours, strict=True))
    told = ", ".join(
        f"`{p[-12:]}` to `{c[-12 + n :]}`" for p, c, n in zip(POSTS, cut, lost, strict=True) if n
    )
    return (
        f"{len(POSTS)} prompts that end in `{MARKER}`",
        f"{sum(n > 0 for n in lost)} lose letters of their own: {told}. By suffix, {kept} of "
        f"{len(POSTS)} stay whole",
        {"damaged": sum(n > 0 for n in lost), "kept": kept},
    )


def normals() -> Found:
    """B2: how far beyond bounded rewards the wishes lie."""
    _, high = gauss_range()
    # The z-score of the best of evenly spread rewards, whatever their range.
    best = math.sqrt(3)
    return (
        "rewards that are uniform on any range: z-score of the best, and of the wish",
        f"{best:.2f} and {high:.2f}: {high / best:.1f} times what exists. By default wishes lie "
        "between quantiles of the training rewards",
        {"best": best, "wish": high},
    )


def rounded_twice(budget: Budget) -> Found:
    """B3: an error that need not be."""
    rng = np.random.default_rng(0)
    raw = rng.normal(scale=0.3, size=budget.draws)
    once = np.round((raw - raw.mean()) / raw.std(), 1)
    coarse = np.round(raw, 1)
    twice = np.round((coarse - coarse.mean()) / coarse.std(), 1)
    off = float((np.abs(once - twice) > 0.04).mean())
    levels = float(len(np.unique(twice)) / len(np.unique(once)))
    return (
        f"{budget.draws:,} normal rewards of deviation 0.3",
        f"{100 * off:.0f} % of the told rewards change, and {100 * levels:.0f} % of the distinct "
        "ones are left. Rounded here only when written",
        {"changed": off, "levels": levels},
    )


def any_of_them(budget: Budget) -> Found:
    """B4: a mild filter, which prefers extremes."""
    rng = np.random.default_rng(0)
    n = 20 * budget.draws
    kept = {m: float(above_quantile(rng.random((n, m))).mean()) for m in (2, 3)}
    every = float(above_quantile(rng.random((n, 2)), match="all").mean())
    x = rng.random(n)
    opposed = float(above_quantile(np.stack([x, -x], axis=1)).mean())
    return (
        "share kept of independent rewards",
        f"{kept[2]:.3f} of two objectives, {kept[3]:.3f} of three, {opposed:.3f} of two that are "
        f"opposed, where the balanced ones go; `all` would keep {every:.3f}. No filter for the "
        "front; `keep: pareto` is one",
        {"two": kept[2], "three": kept[3], "opposed": opposed, "all": every},
    )


def not_infinity() -> Found:
    """B5: two things by one name."""
    rule, limit = desired_share((0.3, 0.7), "linf"), desired_share((0.3, 0.7), "norm", math.inf)
    gap = float(np.abs(rule - limit).max())
    return (
        "weights (.3, .7)",
        f"`linf` asks for {rule[0]:.1f} and {rule[1]:.1f} of the ranges, the solution for "
        f"p = infinity for {limit[0]:.0f} and {limit[1]:.0f}",
        {"gap": gap},
    )


def two_normalizers() -> Found:
    """B6: the same raw reward under both."""
    scores = [(0 - mean) / std for mean, std in (PUBLISHED[1], REMADE[1])]
    return (
        "the raw reward 0 on helpful",
        f"z-score {scores[0]:+.2f} by the one, {scores[1]:+.2f} by the other: tables under "
        "different statistics cannot be compared. They are saved with a run here",
        {"published": scores[0], "remade": scores[1]},
    )


def slack_front() -> Found:
    """B7: what a tolerance lets through."""
    points = np.array([[0.0, 1.0], [0.5, 0.6], [0.495, 0.595], [0.2, 0.55], [1.0, 0.0]])
    front = top_layers(points, min_rows=1)[0]
    kept = {}
    for slack in (0.01, 0.5):
        beaten = (points[None] - slack > points[:, None]).all(-1).any(-1)
        kept[slack] = int((~beaten).sum())
    return (
        "five points, two of them dominated",
        f"{len(front)} points on the front; {kept[0.01]} with a tolerance of .01 of the range, "
        f"{kept[0.5]} with .5, which is used for few points. Strict here",
        {"front": float(len(front)), "slack": float(kept[0.01]), "few": float(kept[0.5])},
    )


def raw_weights() -> Found:
    """B10: what even weights mean."""
    harmless, helpful = (std for _, std in PUBLISHED)
    share = harmless / (harmless + helpful)
    return (
        "even weights with the published deviations",
        f"the weight of harmless is {share:.2f} in z-scores: the front is the same, its "
        "trade-offs are others. z-scores here",
        {"share": share},
    )


def one_reward_decides() -> Found:
    """B12: an advantage follows the reward that varies."""
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(500, 8, 2)) * np.array([1.0, 0.1])

    def scaled(values: np.ndarray) -> np.ndarray:
        middle = values - values.mean(axis=1, keepdims=True)
        return np.asarray(middle / (values.std(axis=1, ddof=1, keepdims=True) + 1e-4))

    summed = scaled(rewards.mean(axis=2))
    each = np.stack([scaled(rewards[..., i]) for i in range(2)], axis=2).mean(axis=2)
    follows = [float(np.corrcoef(a.ravel(), scaled(rewards[..., 1]).ravel())[0, 1])
               for a in (summed, each)]  # fmt: skip
    tripled = float(np.abs(scaled(3 * rewards.mean(axis=2)) - summed).max())
    return (
        "groups of 8 replies, even weights, one reward varies a tenth as much: correlation of "
        "advantage and that reward",
        f"{follows[0]:.2f} summed first, {follows[1]:.2f} normalized first. Three times the "
        f"rewards change advantages by {tripled:.3f} at most, so the penalty does not know their "
        "size: not the objective of MORLHF. `rloo` by default",
        {"summed": follows[0], "each": follows[1], "tripled": tripled},
    )


def wrong_unit() -> Found:
    """B13: margins in another unit are another trade-off."""
    asked = problem("random-2")
    even = TradeOff.even(2)
    # Without calibration margins are taken as they are: here twice the labels' log-odds.
    double = dataclasses.replace(asked, rewards=2 * asked.values, slope=asked.slope / 2)
    best = asked.optimum(even)
    off = {}
    for is_calibrated in (True, False):
        method = build("modpo", {"beta": asked.beta * asked.slope, "is_calibrated": is_calibrated})
        off[is_calibrated] = total_variation(answers(double, method, [even])[0], best)
    return (
        "the table random-2, even weights, margins of twice the labels' unit: total variation to "
        "the optimum",
        f"{off[False]:.3f} as they are, {off[True]:.3f} after bringing them to the units of the "
        "labels, the default",
        {"raw": off[False], "calibrated": off[True]},
    )


def small_weight() -> Found:
    """B14: the slope of the loss."""
    slopes = []
    for weights in ((0.9, 0.1), (0.1, 0.9)):
        chosen = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        zero, one = torch.zeros(1).double(), torch.ones(1).double()
        margins = torch.zeros(1, 2).double()
        batch = PairBatch(chosen, zero, zero, zero, one, one, torch.ones(1, 2), margins=margins)
        modpo_loss(batch, 1.0, weights, axis=0).sum().backward()
        assert chosen.grad is not None
        slopes.append(float(chosen.grad.abs()))
    return (
        "derivative of the loss of a pair at the start, weight .9 and .1 of the ordering objective",
        f"{slopes[0]:.2f} and {slopes[1]:.2f}, without bound at 0. Pairs are ordered by the "
        "heaviest objective of each trade-off here, so the factor is at most M",
        {"large": slopes[0], "small": slopes[1]},
    )


def code_rules(budget: Budget) -> Found:
    """B15: total variation on random tables."""
    assert code_rule(torch.zeros(2, 3).double(), "jsd") is not None
    off = {d: float(np.mean([mixture_errors(d, s)[2] for s in range(budget.instances)]))
           for d in ("jsd", "alpha")}  # type: ignore[arg-type]  # fmt: skip
    return (
        f"{budget.instances} random tables, even weights: total variation to the optimum",
        f"{off['jsd']:.2f} and {off['alpha']:.2f}; neither is reproduced here",
        off,
    )


def not_loaded() -> Found:
    """B16: nothing is loaded, and nothing says so."""
    keys, taken, moved = silent_load()
    return (
        "the state of a PEFT adapter, doubled and loaded back",
        f"{taken} of {keys} entries are taken, the update moves by {moved:g}: a soup of nothing. "
        "Merging here refuses what it cannot sum",
        {"keys": float(keys), "taken": float(taken), "moved": moved},
    )


def negative_reward() -> Found:
    """B17: the sum has no largest value."""
    chances = (1e-2, 1e-6)
    values = [-1 * math.log(chance) for chance in chances]
    return (
        "a response of reward -1: its term at probability .01 and .000001",
        f"{values[0]:.1f} and {values[1]:.1f}, without bound: the model unlearns a response "
        "instead of learning others. Rewards are mapped to [0, 1] here",
        {"common": values[0], "rare": values[1]},
    )
