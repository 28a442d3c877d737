"""What the multi-objective FSPO report leaves open, each with the smallest example that decides."""

from __future__ import annotations

import math

import torch
from fspo_hypervolume import LOSSES, gradient, step_of
from mistake import Mistake

from paretune.errors import InputError
from paretune.functional.learned_weights import Mirror
from paretune.functional.objective_losses import margin_losses, weights_per_pair
from paretune.functional.pareto_hypervolume import ParetoHypervolume
from paretune.functional.scalarizers import Linear


def mistakes() -> list[Mistake]:
    """G1 to G8."""
    return [
        Mistake(
            "G1", "The few-shot part: Algorithm 2 conditions on the prompt x alone; how pairs of a "
            "user are shown, drawn or kept from their own query is not said.", "",
            "Pairs of the user stand before the question, drawn anew at every visit, never the "
            "pair or the prompt that is asked; whole pairs are dropped where there is no room.",
        ),
        Mistake(
            "G2", "Users: where scores, weights and held-out users come from, and what would count "
            "as personalization.", "",
            "Users are drawn with a trade-off each, scored by programs or a judge asked in both "
            "orders; the yardstick is accuracy with own less somebody else's pairs, on new users.",
        ),
        temperature(),
        scale_of_beta(),
        moving_yardstick(),
        missing_score(),
        no_weight(),
        Mistake(
            "G8", "Learned combinations; beta, the ideal z, learning rate, rank, number of shots "
            "and data.", "",
            "Mirror weights (section on learned combinations); an ideal that knows the score (F4); "
            "all numbers are options with a default.",
        ),
    ]  # fmt: skip


def temperature() -> Mistake:
    """G3: the temperature of Algorithm 1."""
    losses = torch.tensor(LOSSES[:1], dtype=torch.float64)
    linear = gradient(Linear(), losses)
    found = {
        t: float((gradient(ParetoHypervolume(t), losses) / linear).mean()) for t in (0.1, 1.0, 10.0)
    }
    told = ", ".join(f"{value:.1f} at {t:g}" for t, value in found.items())
    return Mistake(
        "G3", "The temperature of the hypervolume bonus.",
        "a batch of one pair: gradient over the weighted sum's",
        f"{told}: it sets the step, not only the emphasis. .1 by default",
        {str(t): value for t, value in found.items()},
    )  # fmt: skip


def scale_of_beta() -> Mistake:
    """G4: beta for margins per token."""
    margin, tokens = 5.0, 50
    found = {
        (m, beta): float(torch.sigmoid(torch.tensor(-beta * m)))
        for m, beta in ((margin, 0.1), (margin / tokens, 0.1), (margin / tokens, 5.0))
    }
    summed, small, large = found.values()
    return Mistake(
        "G4", "beta, with the mean log-probability of Eq. 7.",
        f"margin of {margin:g} nats over {tokens} tokens: sigma(-beta m), 1/2 at the start",
        f"{summed:.3f} for sums at .1; a token {small:.3f} at .1: the loss hardly sees what "
        f"was learned; {large:.3f} at 5. 5 by default",
        {"summed": summed, "small": small, "large": large},
    )  # fmt: skip


def moving_yardstick() -> Mistake:
    """G5: a checkpoint is kept "if performance improves", by which number?"""
    rule = Mirror(eta=1.0, tau=0.5)
    before, after = (torch.tensor([row], dtype=torch.float64) for row in ((0.3, 0.9), (0.2, 0.85)))
    state = rule.start(2)
    first = float(rule(step_of(before), state).loss)
    for _ in range(20):
        state = rule.advance(step_of(before), state)
    second = float(rule(step_of(after), state).loss)
    return Mistake(
        "G5", "Algorithm 2: keep the checkpoint if performance improves; by what is not said.",
        "losses (.3, .9), later (.2, .85): value of mirror weights before and after",
        f"{first:.3f} to {second:.3f}: worse by its own value though both objectives improved. "
        "Kept by a fixed yardstick",
        {"first": first, "second": second},
    )  # fmt: skip


def missing_score() -> Mistake:
    """G6: a dimension that nobody rated."""
    margins = torch.tensor([1.0], dtype=torch.float64)
    labels = torch.tensor([[0.0, math.nan]], dtype=torch.float64)
    tie, missing = margin_losses(margins, labels, "sigmoid", 1.0)[0].tolist()
    return Mistake(
        "G6", "Dimensions that nobody rated.",
        "one pair, score 0 and no score",
        f"{tie:.4f} for a tie, {missing:g} and no gradient for what is not rated: weights are "
        "spread over the rated ones",
        {"tie": tie, "missing": missing},
    )  # fmt: skip


def no_weight() -> Mistake:
    """G7: Eq. 8 divides by the sum."""
    try:
        weights_per_pair(torch.zeros(2), torch.ones(1, 2, dtype=torch.bool))
        refused = 0.0
    except InputError:
        refused = 1.0
    return Mistake(
        "G7", "Eq. 8, where a user gives every dimension 0.",
        "weights (0, 0)",
        "refused" if refused else "accepted",
        {"refused": refused},
    )  # fmt: skip
