"""Few-shot users without a language model: own pairs, other pairs, one label or many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

import numpy as np
import torch
from fspo_budget import Budget
from fspo_numbers import Floats, Gap, gap, holm, listed, signed
from pagetext import interval, table
from section import Section

from paretune.bench.taste import TasteMargins, measure_taste
from paretune.evaluation.over_users import user_difference
from paretune.functional.objective_losses import margin_losses

ONE_LABEL = "one label"
ROWS: Mapping[str, dict[str, Any]] = {
    ONE_LABEL: {"labels": "choice"},
    "linear, labels >= 0": {"labels": "clip"},
    "linear": {},
    "chebyshev": {"scalarizer": "chebyshev"},
    "chebyshev, each pair": {"scalarizer": "chebyshev", "options": {"reduce": "example"}},
    "stch": {"scalarizer": "stch"},
    "stch, each pair": {"scalarizer": "stch", "options": {"reduce": "example"}},
    "pareto_hv": {"scalarizer": "pareto_hv"},
    "mirror": {"scalarizer": "mirror"},
}
"""What is trained; the report's labels are the second row."""
LOWER_IS_BETTER = "worst loss"
COLUMNS = ("own, %", "other, %", "gap", LOWER_IS_BETTER, "first, %", "second, %", "third, %")
_TIE = 1e-9


@final
@dataclass(frozen=True)
class TasteScores:
    """One training, measured on new users.

    Args:
        values: by column of the table.
        users: own minus other shots, resampled over users: estimate, lower and upper end.
    """

    values: Mapping[str, float]
    users: tuple[float, float, float]


@lru_cache(maxsize=2)
def scores(budget: Budget) -> Mapping[str, list[TasteScores]]:
    """Every row with every seed."""
    return {
        name: [score(measure_taste(budget.taste(seed, **options)), budget.taste(seed).beta)
               for seed in range(budget.seeds)]
        for name, options in ROWS.items()
    }  # fmt: skip


def score(found: TasteMargins, beta: float) -> TasteScores:
    """Accuracies, balance and agreement with the objectives that a user weighs most."""
    right, other = ((np.sign(x) + 1) / 2 for x in (found.own, found.other))
    weights = np.array([user.tradeoff.weights for user in found.users])
    users = user_difference(right, other, found.user_of, seed=0)
    agreed = agreement(found.own, found.labels, weights[found.user_of])
    values = {
        "own, %": 100 * right.mean(),
        "other, %": 100 * other.mean(),
        "gap": 100 * (right - other).mean(),
        LOWER_IS_BETTER: worst_loss(found, weights, beta),
        **{f"{rank}, %": 100 * agreed[i] for i, rank in enumerate(("first", "second", "third"))},
    }
    return TasteScores({k: float(v) for k, v in values.items()},
                       (users.value, users.low, users.high))  # fmt: skip


def agreement(margins: Floats, labels: Floats, weights: Floats, ranks: int = 3) -> Floats:
    """``(ranks,)`` how often a margin has the sign of the label of the rank-th heaviest objective.

    Ties of the label are left out.

    Example:
        >>> margins, labels = np.array([1.0, -1.0]), np.array([[1.0, -1.0], [1.0, 0.0]])
        >>> agreement(margins, labels, np.array([[0.9, 0.1], [0.2, 0.8]]), ranks=2).tolist()
        [1.0, 0.0]
    """
    order = np.argsort(-weights, axis=1, kind="stable")[:, :ranks]
    ranked = np.take_along_axis(labels, order, axis=1)
    told = np.abs(ranked) > _TIE
    same = np.sign(margins)[:, None] == np.sign(ranked)
    return np.asarray((same & told).sum(0) / np.maximum(told.sum(0), 1))


def worst_loss(found: TasteMargins, weights: Floats, beta: float) -> float:
    """Mean over users of their largest weighted mean loss, logistic with signed labels."""
    losses = margin_losses(
        torch.from_numpy(found.own), torch.from_numpy(found.labels), "sigmoid", beta
    ).numpy()
    counts = np.bincount(found.user_of, minlength=len(weights))
    sums = np.zeros(weights.shape)
    np.add.at(sums, found.user_of, losses)
    seen = counts > 0
    return float((weights[seen] * sums[seen] / counts[seen][:, None]).max(axis=1).mean())


def column(found: Mapping[str, list[TasteScores]], name: str, measure: str) -> Floats:
    """``(seeds,)`` one column of one row."""
    return np.array([one.values[measure] for one in found[name]])


def against(found: Mapping[str, list[TasteScores]], base: str) -> dict[tuple[str, str], Gap]:
    """Every row less one, in accuracy and worst loss."""
    return {
        (name, measure): gap(column(found, name, measure), column(found, base, measure))
        for name in found
        if name != base
        for measure in ("own, %", LOWER_IS_BETTER)
    }


def section(budget: Budget) -> Section:
    """Personalization, without a language model."""
    found = scores(budget)
    rows = [
        [name, *(interval(column(found, name, c), 3 if c == LOWER_IS_BETTER else 1)
                 for c in COLUMNS)]
        for name in found
    ]  # fmt: skip
    less = against(found, ONE_LABEL)
    kept = dict(zip(less, holm([g.chance for g in less.values()]), strict=True))
    differences = [
        [name, *(signed(less[name, m], 3 if m == LOWER_IS_BETTER else 2, kept[name, m])
                 for m in ("own, %", LOWER_IS_BETTER))]
        for name in found if name != ONE_LABEL
    ]  # fmt: skip
    personal = gap(column(found, "linear", "own, %"), column(found, "linear", "other, %"))
    seeds = ", ".join(f"{100 * u[0]:.1f} [{100 * u[1]:.1f}, {100 * u[2]:.1f}]"
                      for u in (one.users for one in found["linear"]))  # fmt: skip
    users = budget.taste(0)
    body = (
        f"No language model: a response is its rewards on {users.n_objectives} objectives, a "
        f"policy sees {users.n_shots} pairs of a user and prefers one of two responses. Trained "
        f"with {users.n_train} users, asked about {users.n_new} others, {budget.seeds} seeds, "
        f"equal steps. `{ONE_LABEL}`: FSPO as it was, the user's choice and nothing else; `labels "
        ">= 0`: the report's scores; `each pair`: maximum inside every pair instead of over mean "
        "losses. `Own`, `other`: accuracy on new users' pairs with their own shots and with "
        f"somebody else's. `{LOWER_IS_BETTER}`: the user's largest weighted mean loss, logistic "
        "on signed labels, lower is better; it also tells how sure the policy is. `First` to "
        "`third`: agreement with the objective that the user weighs most, second, third. Users "
        "rate by a weighted sum.\n\n"
        f"{table(['trained with', *COLUMNS], rows)}\n\nLess `{ONE_LABEL}`, paired by seed (`**`: "
        f"beyond chance among all {len(less)}):\n\n"
        f"{table(['trained with', 'own, %', LOWER_IS_BETTER], differences)}\n\n"
        f"Own less other shots, linear, users resampled within each seed, points: {seeds}."
    )
    better = [n for n, m in less if kept[n, m] and m == "own, %" and less[n, m].mean > 0]
    balanced = [n for n, m in less if kept[n, m] and m == LOWER_IS_BETTER and less[n, m].mean < 0]
    return Section(
        "Keeping objectives apart improves few-shot personalization (without a language model)",
        "Abstract; Secs. 1 and 2",
        f"own less other shots {signed(personal, 1)} points of accuracy; more accurate than one "
        f"label beyond chance: {listed(better) if better else 'none'}; smaller worst loss: "
        f"{listed(balanced) if balanced else 'none'}",
        verdict(personal, better, balanced),
        body,
    )


def verdict(personal: Gap, better: list[str], balanced: list[str]) -> str:
    """From what is beyond chance."""
    if not (personal.is_beyond_chance and personal.mean > 0):
        return "does not hold: own pairs are worth no more than others' beyond chance"
    if better:
        return "holds only if: the scalarizer is " + listed(better)
    if balanced:
        return (
            "holds only if: balance is meant; pairs personalize, many labels are not more accurate "
            "than one"
        )
    return (
        "does not hold: pairs personalize, but many labels are neither more accurate nor better "
        "balanced than one beyond chance"
    )
