"""Mistakes of the multi-objective FSPO report, each with the smallest example that shows it."""

from __future__ import annotations

import itertools
import math

import torch
from fspo_budget import Budget
from fspo_dpo import worked_batch
from fspo_fonseca import free_margins, variants
from fspo_hypervolume import LOSSES, TEMPERATURE, by_hand, gradient, step_of
from mistake import Mistake
from scipy.optimize import minimize_scalar
from torch import Tensor

from paretune.functional.hypervolume_facets import contributions_and_facets
from paretune.functional.losses import dpo_loss, mean_dpo_loss
from paretune.functional.objective_losses import margin_losses
from paretune.functional.pareto_hypervolume import ParetoHypervolume
from paretune.functional.scalarized_loss import ScalarizedLoss
from paretune.functional.scalarizer import Scalarizer
from paretune.functional.scalarizers import Chebyshev, Linear, SmoothChebyshev, Tilted

ACCUMULATED: dict[str, Scalarizer] = {
    "linear": Linear(),
    "pareto_hv": ParetoHypervolume(),
    "tilted": Tilted(),
    "stch": SmoothChebyshev(),
    "chebyshev": Chebyshev(rho=0),
}


def mistakes(budget: Budget) -> list[Mistake]:
    """F1 to F16, in the order of the report's sections."""
    return [
        Mistake(
            "F1", "Abstract: preferences are scalarized when rewards are constructed. Sec. 3: "
            "losses are.", *rewards_or_losses(),
        ),
        Mistake(
            "F2", "Abstract: helpfulness, correctness, harmlessness, coherence. Sec. 1: "
            "helpfulness, creativity, factuality, coherence.", "",
            "Two lists of dimensions; any number of named objectives here.",
        ),
        Mistake(
            "F3", "Sec. 3.1: a score in [0, 1], from no preference to a strong one for the chosen "
            "response.", *no_word_for_worse(budget),
        ),
        Mistake("F4", "Eq. 2: a score of 0 gives little guidance.", *stalled()),
        Mistake("F5", "Secs. 3.2 and 3.6: the slope s is the strength of a preference.",
                *slope_is_no_strength()),
        Mistake("F6", "Sec. 3.2: it reduces to standard DPO at s = 1, beside Eq. 7.",
                *another_loss()),
        Mistake("F7", "Eq. 7: the mean over tokens is log p(y | x).", *no_probability()),
        Mistake("F8", "Eq. 5: max of w (z - L), minimized.", *wrong_sign()),
        Mistake("F9", "Algorithm 1: solutions that are Pareto-dominant in the batch, a reference "
                "point below them; the values are minimized.", *hardest_or_easiest()),
        Mistake("F10", "Algorithm 1: add the hypervolume contribution.", *constant_bonus()),
        Mistake("F11", "Algorithm 1: the reference point is 1 below the smallest losses.",
                *ends_of_the_front()),
        Mistake("F12", "Eq. 3: S of the D losses. Algorithm 1: of B x D. The order of S and the "
                "mean over pairs is not said.", *order_of_max_and_mean()),
        Mistake("F13", "Algorithm 2: a step a batch; accumulated micro-batches are not mentioned.",
                *accumulated(budget)),
        Mistake("F14", "Sec. 3.6: derived like DPO from reward under a KL constraint.",
                *no_common_reward()),
        Mistake("F15", "Sec. 3.6: an improvement in one dimension does not cost others.",
                *one_must_lose()),
        Mistake("F16", "Sec. 3.5.1 cites `(??)` for LoRA; Sec. 4: no results.", "",
                "Nothing of the report can be reproduced by number: all numbers here are ours."),
    ]  # fmt: skip


Found = tuple[str, str, dict[str, float]]


def _losses(margin: float, labels: tuple[float, ...], kind: str = "sigmoid") -> Tensor:
    m = torch.tensor([margin], dtype=torch.float64)
    return margin_losses(m, torch.tensor([labels], dtype=torch.float64), kind, 1.0)[0]  # type: ignore[arg-type]


def _best_margin(label: float, kind: str, chance: float = 1.0) -> float:
    """Margin of least expected loss where the label has its sign with a chance; at most 50."""

    def value(m: float) -> float:
        right, wrong = (_losses(m, (sign * label,), kind).item() for sign in (1, -1))
        return chance * right + (1 - chance) * wrong

    return float(minimize_scalar(value, bounds=(-50, 50), method="bounded").x)


def rewards_or_losses() -> Found:
    """F1: the two orders, on one pair that divides two objectives."""
    many = _slope((1.0, -1.0), Linear(), stage="loss")
    one = _slope((1.0, -1.0), Linear(), stage="score")
    return (
        "scores (1, -1), even weights, margin 1: derivative of the loss",
        f"{many:+.3f} from losses, which pulls the margin to 0; {one + 0.0:+.3f} from rewards",
        {"losses": many, "rewards": one},
    )


def _slope(
    labels: tuple[float, ...], scalarizer: Scalarizer, margin: float = 1.0, **options: str
) -> float:
    """Derivative of a scalarized loss of one pair with respect to its margin."""
    loss = ScalarizedLoss(scalarizer, (1 / len(labels),) * len(labels), beta=1.0, **options)  # type: ignore[arg-type]
    m = torch.tensor([margin], dtype=torch.float64)
    rows = torch.tensor([labels], dtype=torch.float64)
    return float(loss.cotangents(m, rows, None, scalarizer.start(len(labels))))


def no_word_for_worse(budget: Budget) -> Found:
    """F3: without negative labels objectives hardly ever conflict."""
    kept, signed = (conflicts(budget.batches, is_signed) for is_signed in (False, True))
    return (
        f"{budget.batches} random batches of 16 pairs, four objectives: gradients of mean losses "
        "with a negative inner product",
        f"{100 * kept:.1f} % of the pairs of objectives with scores in [0, 1], {100 * signed:.1f} "
        "% with signed ones: nothing is left to balance",
        {"kept": kept, "signed": signed},
    )


def conflicts(batches: int, is_signed: bool, n_pairs: int = 16, n_objectives: int = 4) -> float:
    """Share of pairs of objectives whose mean losses pull apart."""
    generator = torch.Generator().manual_seed(0)
    pairs = list(itertools.combinations(range(n_objectives), 2))
    opposed = 0
    loss = ScalarizedLoss(Linear(), (1 / n_objectives,) * n_objectives, beta=1.0)
    for _ in range(batches):
        labels = torch.rand(n_pairs, n_objectives, dtype=torch.float64, generator=generator)
        labels = 2 * labels - 1 if is_signed else labels
        margins = torch.randn(n_pairs, dtype=torch.float64, generator=generator)
        # Gradients of the margins with respect to many parameters: nearly orthogonal.
        rows = torch.randn(n_pairs, 4096, dtype=torch.float64, generator=generator) / 64
        gradients = loss.objective_cotangents(margins, labels) @ rows
        gramian = gradients @ gradients.T
        opposed += sum(bool(gramian[a, b] < 0) for a, b in pairs)
    return opposed / (batches * len(pairs))


def stalled() -> Found:
    """F4: a score of 0 costs log 2 for ever and wins every maximum."""
    rule = Chebyshev(rho=0, scale="simplex", reduce="example")
    slopes = [
        (_slope((1.0, 0.0), rule, m, ideal="zero"), _slope((1.0, 0.0), rule, m)) for m in (1.0, 3.0)
    ]
    return (
        "scores (1, 0), Chebyshev, even weights: derivative at margins 1 and 3",
        f"{abs(slopes[0][0]):.4f} and {abs(slopes[1][0]):.4f} with ideal 0: the loss of the second "
        f"is log 2 whatever the policy; {slopes[0][1]:.4f} and {slopes[1][1]:.4f} with an ideal "
        "that knows the score",
        {"zero": slopes[0][0], "one": slopes[0][1], "three": slopes[1][1]},
    )


def slope_is_no_strength() -> Found:
    """F5: a weaker score asks for a larger margin."""
    strong, weak = (_best_margin(s, "sigmoid", 0.75) for s in (1.0, 0.5))
    sure, soft = _best_margin(0.5, "sigmoid"), _best_margin(0.5, "soft")
    return (
        "best margin where labels are right with chance .75, at scores 1 and .5",
        f"{strong:.4f} and {weak:.4f}: half the score, twice the margin; without noise every "
        f"score > 0 asks for as much as there is ({sure:.0f} of at most 50), `soft` asks for "
        f"{soft:.4f} at .5",
        {"strong": strong, "weak": weak, "sure": sure, "soft": soft},
    )


def another_loss() -> Found:
    """F6: DPO has summed log-ratios."""
    batch = worked_batch()
    summed, mean = (float(f(batch, 1.0)[0]) for f in (dpo_loss, mean_dpo_loss))
    return (
        "scores 1, margin 1 from responses of 2 and 10 tokens",
        f"DPO {summed:.4f}, with Eq. 7 {mean:.4f}, TRL's `sigmoid_norm` (section on DPO)",
        {"summed": summed, "mean": mean},
    )


def no_probability() -> Found:
    """F7: what a mean log-probability sums to."""
    total = sum(
        math.exp(sum(math.log(0.5) for _ in tokens) / 2)
        for tokens in itertools.product((0, 1), repeat=2)
    )
    return (
        "uniform over two tokens, all four texts of two tokens",
        f"their p(y | x) sum to {total:g}",
        {"total": total},
    )


def wrong_sign() -> Found:
    """F8: two free margins."""
    found = variants()
    printed, right = (free_margins(found[n])[0][0] for n in ("as printed", "maximum of L - z"))
    return (
        "two pairs, one objective each, 200 steps from a loss of .693",
        f"{printed:.1f} as printed, {right:.3f} with the sign turned",
        {"printed": printed, "right": right},
    )


def hardest_or_easiest() -> Found:
    """F9: the two readings pick different pairs."""
    losses = torch.tensor(LOSSES, dtype=torch.float64)
    linear = gradient(Linear(), losses)
    fronts = {}
    for orientation in ("max", "min"):
        found = gradient(ParetoHypervolume(TEMPERATURE, orientation=orientation), losses)  # type: ignore[arg-type]
        moved = ((found - linear).abs().sum(1) > 1e-12).nonzero()[:, 0].tolist()
        fronts[orientation] = [LOSSES[row] for row in moved]
    told = {k: ", ".join(f"({a:g}, {b:g})" for a, b in rows) for k, rows in fronts.items()}
    both = set(fronts["max"]) & set(fronts["min"])
    return (
        "the five pairs of the section on Algorithm 1",
        f"reference below, larger dominates: {told['max']}; reference above, smaller dominates: "
        f"{told['min']}; {len(both)} in common",
        {"max": len(fronts["max"]), "min": len(fronts["min"]), "both": len(both)},
    )


def constant_bonus() -> Found:
    """F10: nothing is said about the gradient."""
    apart = float(by_hand()["constant_less_linear"].max())
    return (
        "the same pairs: gradient with the contribution as a number, less the weighted sum's",
        f"{apart:g}: the most sophisticated scalarizer is then the simplest",
        {"apart": apart},
    )


def ends_of_the_front() -> Found:
    """F11: the offset decides which points of the front count."""
    points = torch.tensor(LOSSES, dtype=torch.float64).numpy() / 2
    ratios = {}
    for offset in (1.0, 0.1):
        added, _ = contributions_and_facets(points, points.min(0) - offset)
        ratios[offset] = float(added[:3].max() / added[:3].min())
    return (
        "the same pairs: largest over smallest contribution of the front",
        f"{ratios[1.0]:.1f} at offset 1, {ratios[0.1]:.1f} at .1: the ends gain by the offset, a "
        "choice of unit",
        {"one": ratios[1.0], "tenth": ratios[0.1]},
    )


def order_of_max_and_mean() -> Found:
    """F12: the maximum of means and the mean of maxima."""
    losses = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    batch, example = (
        float(Chebyshev(rho=0, scale="simplex", reduce=r)(step_of(losses), torch.zeros(0)).loss)  # type: ignore[arg-type]
        for r in ("batch", "example")
    )
    return (
        "Chebyshev, even weights, losses (0, 1) and (1, 0)",
        f"{batch:g} as maximum of means, {example:g} as mean of maxima: objectives balanced over "
        "prompts, or on every prompt",
        {"batch": batch, "example": example},
    )


def accumulated(budget: Budget) -> Found:
    """F13: means over micro-batches are wrong for everything but sums."""
    found = {name: naive_error(s, budget.batches) for name, s in ACCUMULATED.items()}
    told = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    return (
        f"gradient of the mean over 3 micro-batches of 2 pairs against that of the 6 pairs, "
        f"relative, median of {budget.batches} random batches",
        f"{told}; exact in two passes: margins first, then their weights",
        found,
    )


def naive_error(scalarizer: Scalarizer, batches: int) -> float:
    """Median relative error of the gradient with respect to margins."""
    generator = torch.Generator().manual_seed(0)
    loss = ScalarizedLoss(scalarizer, (0.25,) * 4, beta=1.0, ideal="zero")
    state, errors = scalarizer.start(4), []
    for _ in range(batches):
        margins = torch.randn(6, dtype=torch.float64, generator=generator)
        labels = 2 * torch.rand(6, 4, dtype=torch.float64, generator=generator) - 1
        whole = loss.cotangents(margins, labels, None, state)
        parts = [
            loss.cotangents(m, s, None, state) / 3
            for m, s in zip(margins.split(2), labels.split(2), strict=True)
        ]
        errors.append(float((torch.cat(parts) - whole).norm() / whole.norm()))
    return float(torch.tensor(errors).median())


def no_common_reward() -> Found:
    """F14: slopes of their own ask every pair for a reward unit of its own."""
    chance = 1 / (1 + math.exp(-1))
    one, half = (_best_margin(s, "sigmoid", chance) for s in (1.0, 0.5))
    return (
        "two pairs with a reward gap of 1 (Bradley-Terry), scores 1 and .5: best margins, beta 1",
        f"{one:.3f} and {half:.3f}; under reward and KL both are 1",
        {"one": one, "half": half},
    )


def one_must_lose() -> Found:
    """F15: on a pair that divides objectives, any margin but 0 costs one of them."""

    def value(m: float) -> float:
        return float(_losses(m, (1.0, -1.0)) @ torch.tensor([0.7, 0.3], dtype=torch.float64))

    best = float(minimize_scalar(value, bounds=(-50, 50), method="bounded").x)
    losses = _losses(best, (1.0, -1.0)).tolist()
    return (
        "scores (1, -1), weights .7 and .3: best margin of the weighted sum",
        f"{best:.3f}, losses {losses[0]:.3f} and {losses[1]:.3f} (both .693 before): the second "
        "pays. A floor must be asked for",
        {"margin": best, "first": losses[0], "second": losses[1]},
    )
