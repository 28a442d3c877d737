"""Scalarizers in closed form: linear, Chebyshev and its smooth form, tilted, log-hypervolume.

All are minimized. With ``reduce="batch"`` the loss of each objective is averaged over the pairs of
the step and the means are scalarized; with ``"example"`` the losses of each pair are scalarized
and the results averaged. Without missing labels a weighted sum is the same both ways.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from paretune.errors import ConfigError, InputError, ShapeError
from paretune.functional.ranges import require_flag, require_number, require_word
from paretune.functional.scalarizer import Scalarized, Scalarizer, StepLosses, scalarized
from paretune.functional.step_means import REDUCE, Reduce, fold_losses, fold_terms


@final
@dataclass(frozen=True)
class Linear(Scalarizer):
    r"""Weighted sum :math:`\sum_d w_d L_d`.

    With labels of 1 it is the parent loss for every trade-off. It cannot settle in a dent of a
    front.

    Args:
        reduce: ``auto`` = ``example``.
    """

    reduce: Reduce = "auto"

    def __post_init__(self) -> None:
        require_word(self, "reduce", REDUCE)

    @property
    def is_separable(self) -> bool:
        """True over pairs."""
        return self.reduce != "batch"

    def __call__(self, step: StepLosses, state: Tensor) -> Scalarized:
        """The weighted sum."""
        reduce: Reduce = "batch" if self.reduce == "batch" else "example"
        return scalarized(lambda losses: fold_terms(losses, step, reduce, _total), step)


@final
@dataclass(frozen=True)
class Chebyshev(Scalarizer):
    r"""Augmented Chebyshev: :math:`\max_d w_d(L_d - z_d) + \rho\sum_d w_d(L_d - z_d)`.

    Goes where the weighted distances to the ideal are equal, in a dent of a front as well; a larger
    weight means a smaller loss, as in a weighted sum. Objectives that tie share the gradient.

    Args:
        rho: share of the weighted sum, >= 0; above 0 no objective is without gradient.
        scale: ``mean_one`` multiplies the weights by their number, so that a step is as long as
            that of a weighted sum; ``simplex`` does not.
        orientation: ``min`` for losses above their ideal; ``max`` for utilities below it, with
            :math:`\max_d w_d(z_d - u_d)`.
        is_literal: give losses to the form for utilities, as Eq. 5 of the source prints it. It
            descends by *raising* the smallest loss; only to show that. Warns.
        reduce: ``auto`` = ``batch``.

    Raises:
        ConfigError: for a field out of range.
        InputError: when called with ``orientation="max"`` on a value above its ideal.

    Source:
        Bowman 1976; Steuer and Choo 1983. Deviation from the multi-objective FSPO report, Eq. 5,
        whose sign is right for utilities only.
    """

    rho: float = 0.05
    scale: Literal["mean_one", "simplex"] = "mean_one"
    orientation: Literal["min", "max"] = "min"
    is_literal: bool = False
    reduce: Reduce = "auto"

    def __post_init__(self) -> None:
        require_number(self, "rho", at_least=0)
        require_word(self, "scale", ("mean_one", "simplex"))
        require_word(self, "orientation", ("min", "max"))
        require_word(self, "reduce", REDUCE)
        require_flag(self, "is_literal")
        if self.is_literal:
            if self.orientation != "max":
                raise ConfigError(
                    "Chebyshev: found is_literal with orientation 'min', expected 'max'"
                )
            warnings.warn(
                "Chebyshev: is_literal raises the smallest loss instead of lowering the largest",
                UserWarning,
                stacklevel=3,
            )

    @property
    def is_separable(self) -> bool:
        """True over pairs."""
        return self.reduce == "example"

    @property
    def takes_losses(self) -> bool:
        """False for utilities, unless the source is taken at its word."""
        return self.orientation == "min" or self.is_literal

    def __call__(self, step: StepLosses, state: Tensor) -> Scalarized:
        """The largest weighted distance to the ideal, and ``rho`` of all of them."""
        sign = 1.0 if self.orientation == "min" else -1.0
        if not self.takes_losses and (step.is_labelled & (step.losses > step.ideal)).any():
            raise InputError(
                "Chebyshev: found a value above its ideal with orientation 'max', expected "
                "utilities; losses are for orientation 'min'"
            )

        def fold(terms: Tensor, present: Tensor, number: Tensor) -> Tensor:
            largest = _hide(terms, present).amax(-1)
            scale = number if self.scale == "mean_one" else 1.0
            return scale * (largest + self.rho * terms.sum(-1))

        return scalarized(
            lambda losses: fold_terms(
                sign * (losses - step.ideal), step, _batch_unless(self.reduce), fold
            ),
            step,
        )


@final
@dataclass(frozen=True)
class SmoothChebyshev(Scalarizer):
    r"""Chebyshev with a soft maximum, between the worst objective and the weighted sum.

    .. math:: \mu\Big(\log\sum_d \exp\frac{D\,w_d(L_d - z_d)}{\mu} - \log D\Big)

    At most :math:`D\max_d w_d(L_d - z_d)` and at least that less :math:`\mu\log D`. Small
    :math:`\mu`: Chebyshev; large :math:`\mu`: the weighted sum. Even weights, labels of 1 and ideal
    0 make it the parent loss.

    Args:
        mu: > 0, in nats of loss.
        reduce: ``auto`` = ``batch``.

    Source:
        Lin et al. 2024, "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", Eq. 9.
        Deviation: weights times their number and the constant, so that all :math:`\mu` share a
        scale.
    """

    mu: float = 0.1
    reduce: Reduce = "auto"

    def __post_init__(self) -> None:
        require_number(self, "mu", above=0)
        require_word(self, "reduce", REDUCE)

    @property
    def is_separable(self) -> bool:
        """True over pairs."""
        return self.reduce == "example"

    def __call__(self, step: StepLosses, state: Tensor) -> Scalarized:
        """The soft maximum of the weighted distances to the ideal."""

        def fold(terms: Tensor, present: Tensor, number: Tensor) -> Tensor:
            exponents = _hide(number[..., None] * terms / self.mu, present)
            number_present = present.sum(-1).clamp(min=1).to(terms)
            value = self.mu * (exponents.logsumexp(-1) - number_present.log())
            return torch.where(present.any(-1), value, 0)

        return scalarized(
            lambda losses: fold_terms(losses - step.ideal, step, _batch_unless(self.reduce), fold),
            step,
        )


@final
@dataclass(frozen=True)
class Tilted(Scalarizer):
    r"""Weights tilted towards large losses: :math:`\tau\log\sum_d w_d e^{L_d/\tau}`.

    Equals :math:`\max_p \langle p, L\rangle - \tau\,KL(p\|w)` over the simplex, reached at
    :math:`p_d \propto w_d e^{L_d/\tau}`. With labels of 1 it is the parent loss for every
    trade-off; an objective of weight 0 stays out. As :math:`\tau \to 0` it forgets the weights.

    Args:
        tau: > 0, in nats of loss.
        reduce: ``auto`` = ``batch``.

    Source:
        Li et al. 2021, "Tilted Empirical Risk Minimization", with objectives in place of samples.
    """

    tau: float = 0.5
    reduce: Reduce = "auto"

    def __post_init__(self) -> None:
        require_number(self, "tau", above=0)
        require_word(self, "reduce", REDUCE)

    @property
    def is_separable(self) -> bool:
        """True over pairs."""
        return self.reduce == "example"

    def __call__(self, step: StepLosses, state: Tensor) -> Scalarized:
        """The soft maximum of the losses under the prior of the weights."""

        def fold(losses: Tensor, weights: Tensor) -> Tensor:
            present = weights > 0
            log_weights = torch.where(present, weights, 1).log()
            value = self.tau * _hide(log_weights + losses / self.tau, present).logsumexp(-1)
            return torch.where(present.any(-1), value, 0)

        return scalarized(
            lambda losses: fold_losses(losses, step, _batch_unless(self.reduce), fold), step
        )


@final
@dataclass(frozen=True)
class LogHypervolume(Scalarizer):
    r"""Logarithm of the volume below a reference point: :math:`-\sum_d w_d\log(r_d - L_d)`.

    The weights of the objectives are :math:`w_d/(r_d - L_d)`; how much a large loss counts depends
    on the reference point alone.

    Args:
        reference: :math:`r`, above every loss; one number or one for each objective.
        reduce: ``auto`` = ``batch``.

    Raises:
        InputError: when called with a loss that reaches the reference.
        ShapeError: when called with another number of objectives.

    Source:
        Miranda and Von Zuben 2016, "Single-Solution Hypervolume Maximization and its use for
        Improving Generalization of Neural Networks", with weights.
    """

    reference: float | tuple[float, ...]
    reduce: Reduce = "auto"

    def __post_init__(self) -> None:
        found = self.reference if isinstance(self.reference, tuple) else (self.reference,)
        if not found or not all(
            isinstance(r, int | float) and not isinstance(r, bool) and math.isfinite(r)
            for r in found
        ):
            raise ConfigError(
                f"LogHypervolume: found reference {self.reference!r}, expected a number, or one "
                "for each objective"
            )
        require_word(self, "reduce", REDUCE)

    @property
    def is_separable(self) -> bool:
        """True over pairs."""
        return self.reduce == "example"

    def __call__(self, step: StepLosses, state: Tensor) -> Scalarized:
        """The weighted logarithms of what is left below the reference."""
        reference = torch.tensor(self.reference).to(step.losses)
        if reference.ndim and len(reference) != step.losses.shape[1]:
            raise ShapeError(
                f"LogHypervolume: found {len(reference)} coordinates of reference for "
                f"{step.losses.shape[1]} objectives"
            )

        def fold(losses: Tensor, weights: Tensor) -> Tensor:
            left = torch.where(weights > 0, reference - losses, 1)
            if (left <= 0).any():
                raise InputError(
                    f"LogHypervolume: found a loss of {float(losses.detach().max()):.4g}, "
                    f"expected all below the reference {self.reference}"
                )
            return -(weights * left.log()).sum(-1)

        return scalarized(
            lambda losses: fold_losses(losses, step, _batch_unless(self.reduce), fold), step
        )


def _batch_unless(reduce: Reduce) -> Reduce:
    return "example" if reduce == "example" else "batch"


def _total(terms: Tensor, present: Tensor, number: Tensor) -> Tensor:
    return terms.sum(-1)


def _hide(values: Tensor, present: Tensor) -> Tensor:
    """Minus infinity where nothing is present, but not in a row with nothing at all: no NaN."""
    return values.masked_fill(~present & present.any(-1, keepdim=True), -math.inf)
