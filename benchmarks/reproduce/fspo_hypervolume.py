"""Algorithm 1: what the bonus for hypervolume does to the gradient."""

from __future__ import annotations

import numpy as np
import torch
from fspo_budget import Budget
from fspo_rows import beside_linear
from fspo_scores import World
from pagetext import table
from section import Section
from torch import Tensor

from paretune.functional.hypervolume_facets import contributions_and_facets
from paretune.functional.pareto_hypervolume import ParetoHypervolume
from paretune.functional.scalarizer import Scalarizer, StepLosses
from paretune.functional.scalarizers import Linear

LOSSES = ((0.9, 0.3), (0.5, 0.7), (0.3, 0.95), (0.4, 0.4), (0.2, 0.2))
"""Five pairs, two objectives, for a batch by hand."""
TEMPERATURE = 0.1


def step_of(losses: Tensor, weights: tuple[float, ...] | None = None) -> StepLosses:
    """Everything labelled, one trade-off for all pairs (even where none is given), ideal 0."""
    n = losses.shape[1]
    row = torch.tensor(weights or (1 / n,) * n, dtype=losses.dtype)
    everything = torch.ones_like(losses, dtype=torch.bool)
    return StepLosses(
        losses, row.expand_as(losses), everything, torch.zeros_like(losses), losses[:, 0] * 0 + 1
    )


def gradient(scalarizer: Scalarizer, losses: Tensor) -> Tensor:
    """``(B, M)`` of the scalarized loss with respect to the losses, even weights."""
    leaf = losses.detach().requires_grad_()
    step = step_of(leaf)
    (found,) = torch.autograd.grad(scalarizer(step, torch.zeros(0)).loss, leaf)
    return found


def by_hand() -> dict[str, np.ndarray]:
    """Reference point, contributions, scores and gradients of the batch by hand."""
    losses = torch.tensor(LOSSES, dtype=torch.float64)
    points = (losses / 2).numpy()
    corner = points.min(0) - 1
    added, _ = contributions_and_facets(points, corner)
    own, constant = (gradient(ParetoHypervolume(TEMPERATURE, gradient=g), losses)
                     for g in ("own", "detach"))  # fmt: skip
    linear = gradient(Linear(), losses)
    return {
        "corner": corner,
        "sums": points.sum(1),
        "added": added,
        "scores": points.sum(1) + TEMPERATURE * added,
        "own": (len(LOSSES) * own).numpy(),
        "linear": (len(LOSSES) * linear).numpy(),
        "constant_less_linear": (constant - linear).abs().numpy(),
    }


def emphasis(batches: int, n_pairs: int = 32, n_objectives: int = 3) -> dict[str, float]:
    """Who is on the front of a batch, over random batches of logistic losses on signed labels.

    Returns:
        Share of pairs on the front; of the front's pairs, those among the hardest third; mean loss
        on and off the front; gradient of a front pair over the weighted sum's.
    """
    generator = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(batches):
        margins = torch.randn(n_pairs, 1, dtype=torch.float64, generator=generator)
        labels = 2 * torch.rand(n_pairs, n_objectives, dtype=torch.float64, generator=generator) - 1
        losses = torch.nn.functional.softplus(-2 * labels * margins)
        own = gradient(ParetoHypervolume(TEMPERATURE), losses)
        boost = (own / gradient(Linear(), losses)).mean(1).numpy()
        sums = losses.mean(1).numpy()
        front = boost > 1 + 1e-12
        hardest = sums >= np.sort(sums)[-(n_pairs // 3)]
        rows.append([front.mean(), hardest[front].mean(), sums[front].mean(),
                     sums[~front].mean(), boost[front].mean()])  # fmt: skip
    names = ("front", "hardest", "on", "off", "boost")
    return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))


def alone() -> float:
    """Gradient of a batch of one pair over the weighted sum's."""
    losses = torch.tensor(LOSSES[:1], dtype=torch.float64)
    return float(
        (gradient(ParetoHypervolume(TEMPERATURE), losses) / gradient(Linear(), losses)).mean()
    )


def section(budget: Budget, world: World | None) -> Section:
    """The claim under Algorithm 1."""
    hand, random = by_hand(), emphasis(budget.batches)
    rows = [
        [f"({a:g}, {b:g})", f"{hand['sums'][i]:g}", f"{hand['added'][i]:.5g}",
         f"{hand['scores'][i]:.6g}", *(f"{x:.4g}" for x in hand["own"][i]),
         f"{hand['own'][i].mean() / hand['linear'][i].mean():.3f}"]
        for i, (a, b) in enumerate(LOSSES)
    ]  # fmt: skip
    columns = ["losses", "weighted sum", "contribution", "score", "d score / d L1", "d L2",
               "over linear"]  # fmt: skip
    apart = float(hand["constant_less_linear"].max())
    corner = ", ".join(f"{x:g}" for x in hand["corner"])
    parts = [
        "Five pairs by hand, even weights, temperature "
        f"{TEMPERATURE:g}; the reference point is ({corner}), below all weighted losses, so that "
        "a pair dominates another by *larger* losses and the front holds the hardest pairs. "
        "Scores are minimized.",
        table(columns, rows),
        f"The gradient flows through a pair's own contribution here. Computed as a number and "
        "added, which is how a hypervolume routine is usually called, the bonus leaves the "
        f"gradient of the weighted sum: largest difference {apart:g}. A batch of one pair: "
        f"{alone():.3f} times the weighted sum.",
        f"{budget.batches} random batches of 32 pairs, three objectives, signed labels: "
        f"{100 * random['front']:.0f} % of the pairs are on the front, "
        f"{100 * random['hardest']:.0f} % of those among the hardest third; mean loss "
        f"{random['on']:.3f} on the front and {random['off']:.3f} off it; a front pair weighs "
        f"{random['boost']:.3f} times as much as in the weighted sum. Pairs of a batch are "
        "different prompts and no alternatives to each other: whether the *policy* is "
        "Pareto-optimal does not enter.",
    ]
    told = (
        f"front pairs have mean loss {random['on']:.2f}, others {random['off']:.2f}; their "
        f"gradient is {random['boost']:.2f} times the weighted sum's, exactly the weighted sum's "
        "where the bonus is a constant"
    )
    if world is not None and "pareto_hv" in world.methods:
        text, short = beside_linear(world, "pareto_hv")
        parts.append(text)
        told = f"{told}; {short}"
    verdict = "does not hold: pairs with small losses are favored"
    if random["on"] > random["off"]:
        verdict = (
            "holds only if: a higher score means a larger loss; the front of a batch holds its "
            "hardest pairs, and nothing makes the policy Pareto-optimal"
        )
    return Section(
        "Solutions on the Pareto front receive higher scores, so trade-offs stay Pareto-optimal",
        "Sec. 3.3.3, Algorithm 1",
        told,
        verdict,
        "\n\n".join(parts),
    )
