"""Learned combinations: weights that follow the losses, and how not to learn them."""

from __future__ import annotations

import numpy as np
import torch
from fspo_hypervolume import step_of
from fspo_rows import beside_linear
from fspo_scores import World
from pagetext import numbers, table
from section import Section
from torch import Tensor

from paretune.functional.learned_weights import Mirror, UncertaintyWeights
from paretune.functional.scalarizer import Scalarizer
from paretune.functional.scalarizers import Tilted

LOSSES, WEIGHTS = (0.2, 0.5, 0.9), (0.5, 0.3, 0.2)
TAU = 0.5


def constant() -> Tensor:
    """``(1, 3)`` losses that do not change."""
    return torch.tensor([LOSSES], dtype=torch.float64)


def settled(scalarizer: Scalarizer, steps: int) -> np.ndarray:
    """``(3,)`` weights of the objectives after steps at constant losses, normalized."""
    step, state = step_of(constant(), WEIGHTS), scalarizer.start(3)
    for _ in range(steps):
        state = scalarizer.advance(step, state)
    found = scalarizer(step, state).objective_weights
    return np.asarray(found / found.sum())


def descended(steps: int = 2000, rate: float = 1.0) -> np.ndarray:
    """``(3,)`` softmax weights trained by descending the loss that they weigh."""
    logits = torch.tensor(WEIGHTS, dtype=torch.float64).log().requires_grad_()
    for _ in range(steps):
        (slope,) = torch.autograd.grad(logits.softmax(0) @ constant()[0], logits)
        with torch.no_grad():
            logits -= rate * slope
    return np.asarray(logits.detach().softmax(0))


def tilted() -> np.ndarray:
    """``(3,)`` the same weights in closed form: softmax of log w + L / tau."""
    logits = np.log(WEIGHTS) + np.array(LOSSES) / TAU
    return np.asarray(np.exp(logits) / np.exp(logits).sum())


def section(world: World | None) -> Section:
    """The claim of Sec. 1."""
    mirror = settled(Mirror(0.1, TAU), 800)
    apart = float(np.abs(mirror - tilted()).max())
    gradient = np.asarray(
        Tilted(TAU)(step_of(constant(), WEIGHTS), torch.zeros(0)).objective_weights
    )
    softmax = descended()
    rows = [
        ["the trade-off", *numbers(WEIGHTS, 5)],
        ["mirror, 800 steps", *numbers(mirror, 5)],
        ["softmax(log w + L / tau)", *numbers(tilted(), 5)],
        ["gradient of the tilted sum", *numbers(gradient, 5)],
        ["softmax weights that descend, 2,000 steps", *numbers(softmax, 5)],
        ["uncertainty weights, 2,000 steps", *numbers(settled(UncertaintyWeights(), 2000), 5)],
    ]
    parts = [
        f"The report announces learned combinations and does not define them. Weights at the "
        f"constant losses {', '.join(f'{x:g}' for x in LOSSES)}, trade-off "
        f"{', '.join(f'{x:g}' for x in WEIGHTS)}, tau {TAU:g}:",
        table(["weights", *(f"loss {x:g}" for x in LOSSES)], rows),
        f"Weights that *ascend* on a leash to the trade-off (mirror) end where the tilted sum has "
        f"its gradient, to {apart:.0e}, and lean on the objective that is worst off. Weights "
        f"that descend the loss they weigh give {100 * softmax[0]:.1f} % to the objective that "
        "is already best: they lower the loss by looking away. Uncertainty weights do a milder "
        "form of the same and forget the trade-off.",
    ]
    told = (
        f"mirror weights reach the tilted sum's to {apart:.0e}; descended softmax weights put "
        f"{100 * softmax[0]:.1f} % on the smallest loss"
    )
    if world is not None and "mirror" in world.methods:
        text, clause = beside_linear(world, "mirror")
        parts.append(text)
        told = f"{told}; {clause}"
    return Section(
        "Learned combinations are a more informative training signal",
        "Sec. 1",
        told,
        verdict(float(softmax[0]), world),
        "\n\n".join(parts),
    )


def verdict(smallest: float, world: World | None) -> str:
    """From where descended weights end, and what mirror weights are worth on the world."""
    condition = "weights rise with the losses, on a leash to the trade-off"
    if world is None or "mirror" not in world.methods:
        return f"holds only if: {condition}" if smallest > 0.99 else "holds"
    better, worse = ({y for m, y in world.beyond_on_all(s) if m == "mirror"} for s in (1, -1))
    if better and not worse:
        return f"holds only if: {condition}"
    if better:
        return f"holds only if: {condition}; they also lose"
    return "does not hold: they are not better than fixed weights beyond chance"
