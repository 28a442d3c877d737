"""What is left of "reduces to DPO when all labels are 1", by scalarizer and margin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from fspo_numbers import listed
from pagetext import table
from section import Section
from torch import Tensor

from paretune.functional.build_scalarizer import ScalarizerName, build_scalarizer
from paretune.functional.losses import PairBatch, dpo_loss, mean_dpo_loss
from paretune.functional.objective_losses import margin_losses
from paretune.functional.scalarized_loss import ScalarizedLoss

EXACT = 1e-12
WEIGHTS = (0.5, 0.3, 0.2)
EVEN = (1 / 3, 1 / 3, 1 / 3)
SMOOTH: Mapping[str, Any] = {"mu": 0.1}
ROWS: tuple[tuple[str, ScalarizerName, Mapping[str, Any]], ...] = (
    ("weighted sum", "linear", {}),
    ("Chebyshev, the report's without its sign", "chebyshev", {"rho": 0.0, "scale": "simplex"}),
    ("Chebyshev, ours", "chebyshev", {}),
    ("smooth Chebyshev", "stch", SMOOTH),
    ("Algorithm 1", "pareto_hv", {}),
    ("tilted", "tilted", {}),
    ("mirror, first step", "mirror", {}),
)


def worked_batch() -> PairBatch:
    """Two pairs with log-ratio margins 1 and -.5, responses of 2 and 10, 5 and 5 tokens."""

    def tensor(*values: float) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    return PairBatch(
        chosen=tensor(-3.0, -6.0), rejected=tensor(-9.0, -5.0),
        ref_chosen=tensor(-3.5, -5.75), ref_rejected=tensor(-8.5, -5.25),
        chosen_tokens=tensor(2, 5), rejected_tokens=tensor(10, 5),
        labels=torch.ones(2, 3, dtype=torch.float64),
    )  # fmt: skip


def random_batch(n_pairs: int = 64, seed: int = 0) -> PairBatch:
    """Pairs as in a training: margins of some nats, responses of 5 to 60 tokens, labels 1."""
    generator = torch.Generator().manual_seed(seed)
    logps = -30 * torch.rand(4, n_pairs, dtype=torch.float64, generator=generator)
    tokens = torch.randint(5, 61, (2, n_pairs), generator=generator).double()
    labels = torch.ones(n_pairs, len(WEIGHTS), dtype=torch.float64)
    return PairBatch(*logps, *tokens, labels)


def gaps(
    batch: PairBatch,
    name: ScalarizerName,
    options: Mapping[str, Any],
    weights: tuple[float, ...],
    is_length_normalized: bool,
    beta: float = 0.1,
) -> tuple[float, float, float]:
    """A scalarized loss at labels of 1 against DPO and against DPO a token.

    Returns:
        Value less that of DPO, value less that of DPO on length-normalized log-ratios, and the
        largest difference of the gradient with respect to the margins from that of the parent
        with the same margin, as a share of the parent's largest.
    """
    scalarizer = build_scalarizer(name, options)
    loss = ScalarizedLoss(
        scalarizer, weights, beta=beta, is_length_normalized=is_length_normalized, ideal="zero"
    )
    state = scalarizer.start(len(weights))
    value = float(loss(batch, state).loss)
    margins = loss.margins(batch)
    found = loss.cotangents(margins, batch.labels, None, state)
    parent = -beta * torch.sigmoid(-beta * margins) / len(margins)
    summed, a_token = (float(f(batch, beta).mean()) for f in (dpo_loss, mean_dpo_loss))
    apart = float((found - parent).abs().max() / parent.abs().max())
    return value - summed, value - a_token, apart


def one_number_gap(n_pairs: int = 256, seed: int = 0) -> float:
    """Weighted sum of logistic losses on labels of 1 and -1, less one loss on their mean label.

    Example:
        >>> one_number_gap() < 1e-14
        True
    """
    generator = torch.Generator().manual_seed(seed)
    margins = 3 * torch.randn(n_pairs, dtype=torch.float64, generator=generator)
    labels = 2 * torch.randint(0, 2, (n_pairs, 3), generator=generator).double() - 1
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    many = margin_losses(margins, labels, "sigmoid", 1.0) @ weights
    one = margin_losses(margins, (labels @ weights)[:, None], "soft", 1.0)[:, 0]
    return float((many - one).abs().max())


def section() -> Section:
    """The claim behind Eq. 2."""
    batch, rows, exact = random_batch(), [], []
    for title, name, options in ROWS:
        for weights in (WEIGHTS, EVEN):
            for is_normalized in (False, True):
                found = gaps(batch, name, options, weights, is_normalized)
                parents = [
                    parent
                    for parent, apart in (("DPO", found[0]), ("DPO a token", found[1]))
                    if abs(apart) < EXACT and found[2] < EXACT
                ]
                if not is_normalized and parents == ["DPO"]:
                    exact.append((title, weights))
                rows.append([
                    title, "even" if weights == EVEN else ".5, .3, .2",
                    "a token (Eq. 7)" if is_normalized else "summed (Eq. 1)",
                    parents[0] if parents else "neither",
                    *(f"{abs(x):.1e}" for x in found),
                ])  # fmt: skip
    titles = [title for title, *_ in ROWS]
    always = [t for t in titles if all((t, w) in exact for w in (WEIGHTS, EVEN))]
    even_only = [t for t in titles if (t, EVEN) in exact and t not in always]
    columns = ["scalarizer", "weights", "margin", "is", "less DPO", "less DPO a token",
               "gradient, relative"]  # fmt: skip
    body = (
        "Value and gradient of the scalarized loss on 64 random pairs, three objectives, all "
        "labels 1, ideal 0, beta .1, against `dpo_loss` (summed log-ratios) and `mean_dpo_loss` "
        f"(a token). {_worked()}\n\n{table(columns, rows, 4)}"
    )
    is_plain = bool(always) and len(always) == len(titles)
    condition = f"margins are summed and the scalarizer is {listed(always)}" if always else "never"
    if even_only:
        condition += f" (with even weights also {listed(even_only)})"
    return Section(
        "The loss reduces to DPO when all labels are 1",
        "Sec. 3.2, Eqs. 1, 2 and 7",
        f"equal to DPO to 1e-12 for every trade-off: {listed(always) if always else 'none'}; with "
        "the mean log-probability of Eq. 7 none is",
        "holds" if is_plain else f"holds only if: {condition}",
        body,
    )


def _worked() -> str:
    """Two pairs by hand."""
    batch = worked_batch()
    sums, means = batch.log_ratio_margin.tolist(), batch.mean_log_ratio_margin.tolist()
    summed, a_token = (
        [round(x, 4) for x in f(batch, 1.0).tolist()] for f in (dpo_loss, mean_dpo_loss)
    )
    return (
        f"By hand, two pairs with margins {sums[0]:g} and {sums[1]:g} (2 against 10 tokens, 5 "
        f"against 5): DPO {summed[0]} and {summed[1]} at beta 1; the margins of Eq. 7 are "
        f"{means[0]:g} and {means[1]:g}, the losses {a_token[0]} and {a_token[1]}: another loss, "
        "which weighs short and long responses differently."
    )
