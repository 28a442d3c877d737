"""Preference pairs of a table: expectations of losses, and the policies that minimize them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.core.job import PairOrder
from paretune.core.record import PreferenceData
from paretune.engines.minimize import minimize
from paretune.engines.table_policy import Table, TanhNetwork
from paretune.errors import InputError, RunError
from paretune.functional.losses import PairBatch
from paretune.functional.scalarized_loss import ScalarizedLoss

_SETTLED = 1e-9
"""Change of what a scalarizer learned, at which it has learned enough."""

_ROUNDS = 2000


@final
@dataclass(frozen=True)
class TablePairs:
    """Preference pairs as cells of a table.

    Args:
        model: whose parameters are fitted.
        chosen: context and action of the chosen side, ``(Q,)`` each.
        rejected: of the other side.
        labels: ``(Q, M)``.
        counts: ``(Q,)`` how often each pair counts; their sum is 1.
        weights: ``(Q, M)`` trade-offs of users, or ``None``.
        margins: ``(Q, M)`` rewards of the chosen side minus those of the other, or ``None``.
    """

    model: Table | TanhNetwork
    chosen: tuple[Tensor, Tensor]
    rejected: tuple[Tensor, Tensor]
    labels: Tensor
    counts: Tensor
    weights: Tensor | None = None
    margins: Tensor | None = None

    @classmethod
    def of(
        cls,
        model: Table | TanhNetwork,
        data: PreferenceData,
        action_of: npt.NDArray[np.int64],
        order: PairOrder,
        margins: npt.NDArray[np.float64] | None = None,
    ) -> TablePairs:
        """The comparisons of a data set, in a pair rule's order, with their margins if any."""
        first, second = data.first[order.index], data.second[order.index]
        sides = np.where(order.flipped, second, first), np.where(order.flipped, first, second)
        cells = [
            (torch.as_tensor(data.prompt_of[rows]), torch.as_tensor(action_of[rows]))
            for rows in sides
        ]
        sign = np.where(order.flipped, -1.0, 1.0)[:, None]
        count = np.ones(data.n_comparisons) if data.multiplicity is None else data.multiplicity
        return cls(
            model,
            cells[0],
            cells[1],
            torch.as_tensor(data.labels[order.index] * sign),
            torch.as_tensor(count[order.index] / count[order.index].sum()),
            None if data.weights is None else torch.as_tensor(data.weights[order.index]),
            None if margins is None else torch.as_tensor(margins),
        )

    def batch(self, parameters: Tensor) -> PairBatch:
        """All pairs under the policy with these parameters, an action counting one token."""
        logps, ref = self.model.logps(parameters), self.model.ref_logps
        one = torch.ones_like(self.counts)
        return PairBatch(
            logps[self.chosen], logps[self.rejected], ref[self.chosen], ref[self.rejected],
            one, one, self.labels, self.weights, self.margins,
        )  # fmt: skip

    def mean(self, loss: Callable[[Any], Any]) -> Callable[[Tensor], Tensor]:
        """The expectation of a loss a pair, as a function of the parameters."""

        def mean_loss(parameters: Tensor) -> Tensor:
            losses: Tensor = loss(self.batch(parameters))
            return (self.counts * losses).sum()

        return mean_loss


def fit_scalarized(
    loss: ScalarizedLoss, pairs: TablePairs, start: Tensor, tolerance: float, job_id: str
) -> Tensor:
    """Parameters where a scalarized loss is flat; what a scalarizer learns has settled there too.

    Args:
        loss: with a scalarizer that is smooth in the losses.
        pairs: of the job; all of them are one step.
        start: ``(D,)`` parameters to begin with.
        tolerance: largest entry of the gradient at the end.
        job_id: for messages.

    Raises:
        InputError: for a scalarizer that compares gradients.
        RunError: if it does not converge, as with the kinks of a plain maximum.
    """
    scalarizer = loss.scalarizer
    if scalarizer.needs_gradients or scalarizer.is_joint:
        raise InputError(
            f"job {job_id!r}: found {type(scalarizer).__name__}, expected a scalarizer of losses: "
            "one of gradients, or of several policies, has no minimum to solve for"
        )
    state = scalarizer.start(pairs.labels.shape[1])
    parameters = start
    for _ in range(_ROUNDS):

        def mean_loss(at: Tensor, state: Tensor = state) -> Tensor:
            return loss(pairs.batch(at), state, pairs.counts).loss

        parameters = minimize(mean_loss, parameters, tolerance, job_id)
        with torch.no_grad():
            moved = scalarizer.advance(loss.step(pairs.batch(parameters), pairs.counts), state)
        if not moved.numel() or float((moved - state).abs().max()) <= _SETTLED:
            return parameters
        state = moved
    raise RunError(
        f"job {job_id!r}: found a scalarizer that still learns after {_ROUNDS} rounds, expected "
        "one that settles"
    )
