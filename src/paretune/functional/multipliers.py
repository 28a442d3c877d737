r"""Multipliers of constrained preference optimization by samples: their steps and their state.

One step of the algorithm on a batch, with the weights of
:mod:`paretune.functional.imitation_weights`:

1. ``base`` from ``log_base``, with ``clipped_log_ratios`` once the reference moved;
2. ``scores`` from ``constrained_scores`` and the multipliers so far, weights from ``log_weights``;
3. :meth:`MultiplierState.advance` with :math:`f_j = w_j q_j` moves temperatures and multipliers;
4. the weights anew; the imitation loss is :math:`-\sum_j m_j w_j \log\pi(y_j|x_j)`.

Everything is float64 and detached. Leading dimensions (``...``) are independent runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.errors import InputError, RunError
from paretune.functional.imitation_weights import BallMoments, ball_moments

LOWEST_TEMPERATURE = 1e-2
"""Below it the adversary of a mini-batch sits on one entry, and its bound is the minimum."""


def multiplier_step(multipliers: Tensor, values: Tensor, floors: Tensor, rate: float) -> Tensor:
    r"""Projected gradient step, :math:`[\lambda - \eta\,(B - b)]_+`.

    Args:
        multipliers: ``(..., C)``, >= 0.
        values: ``(..., C)`` constraint values (lower bounds) that were reached.
        floors: ``(..., C)``; ``-inf`` where there is none, which gives 0.
        rate: > 0.

    Returns:
        ``(..., C)``, >= 0.

    Example:
        >>> floors = torch.tensor([0.5, 0.5])
        >>> multiplier_step(torch.tensor([0.1, 0.1]), torch.tensor([0.9, 0.4]), floors, rate=0.5)
        tensor([0.0000, 0.1500])
    """
    return (multipliers - rate * (values - floors)).clamp(min=0)


def temperature_step(
    temperatures: Tensor,
    kl: Tensor,
    radius: float,
    rate: float,
    lowest: float = LOWEST_TEMPERATURE,
) -> Tensor:
    r"""Gradient step of the temperatures, :math:`\max(\chi - \eta\,(\epsilon - KL), \chi_{min})`.

    Args:
        temperatures: ``(..., C)``, > 0.
        kl: ``(..., C)`` divergence of the adversary, nats.
        radius: of the ball, nats; 0 has no temperature to find and returns it unchanged.
        rate: > 0.
        lowest: floor, > 0. There is no ceiling: small balls have large temperatures.

    Returns:
        ``(..., C)``.

    Example:
        >>> temperature_step(torch.ones(2), torch.tensor([0.25, 0.05]), radius=0.15, rate=1.0)
        tensor([1.1000, 0.9000])
    """
    if radius == 0:
        return temperatures
    return (temperatures - rate * (radius - kl)).clamp(min=lowest)


def barrier_step(
    multipliers: Tensor, values: Tensor, floors: Tensor, rate: float, barrier: float
) -> Tensor:
    r"""Step towards the multipliers of a log barrier, :math:`\lambda\,(B - b) = \sigma`.

    The implicit step of the dual with its barrier, :math:`\lambda' = \lambda - \eta\,(B - b -
    \sigma/\lambda')`: a smooth :func:`multiplier_step` that stays positive whatever the noise,
    where the multiplier :math:`\sigma/(B - b)` itself jumps with every small slack.

    Args:
        multipliers: ``(..., C)``, >= 0.
        values: ``(..., C)`` constraint values (lower bounds) that were reached.
        floors: ``(..., C)``; ``-inf`` where there is none, which gives 0.
        rate: > 0.
        barrier: weight of the barrier, > 0.

    Returns:
        ``(..., C)``, >= 0.

    Source:
        MOPO-LB, named in version 2 of Agnihotri et al. 2025. Deviation: by the dual.

    Example:
        >>> values, floors = torch.tensor([0.6, 0.5]), torch.tensor([0.5, 0.5])
        >>> barrier_step(torch.tensor([1.0, 0.0]), values, floors, rate=0.4, barrier=0.1)
        tensor([1.0000, 0.2000])
    """
    plain = multipliers - rate * (values - floors)
    # The positive root without cancellation: of a large negative number it is about 0.
    root = (plain**2 + 4 * rate * barrier).sqrt()
    return torch.where(plain > 0, (plain + root) / 2, 2 * rate * barrier / (root - plain))


def moving_average(average: Tensor, value: Tensor, decay: float) -> Tensor:
    """Exponential moving average with weight ``1 - decay`` in [0, 1] of the new value.

    Example:
        >>> moving_average(torch.tensor(1.0), torch.tensor(2.0), decay=0.75)
        tensor(1.2500)
    """
    return decay * average + (1 - decay) * value


@final
@dataclass(frozen=True)
class MultiplierState:
    """All that the multipliers of a run remember between two steps.

    Args:
        multipliers: ``(..., C)``, >= 0.
        temperatures: ``(..., C)``, > 0.
        floors: ``(..., C)``; ``-inf`` where there is none.
        moments: ``(..., C)`` moving average of the constraint values.
        snapshot_moments: ``(..., C)`` that average when the snapshot of the policy was taken.
        best: ``(..., C)`` largest moving average so far.
        step: ``()`` int64, steps done.
    """

    multipliers: Tensor
    temperatures: Tensor
    floors: Tensor
    moments: Tensor
    snapshot_moments: Tensor
    best: Tensor
    step: Tensor

    @classmethod
    def start(
        cls, floors: Tensor, moments: Tensor, relaxation: float | None = None
    ) -> MultiplierState:
        """The state before the first step: multipliers 0, temperatures 1.

        Args:
            floors: ``(..., C)``; NaN where the floor adapts.
            moments: ``(..., C)`` constraint values of the reference (1/2 for expectations on
                labels that count both ways).
            relaxation: factor of adaptive floors, in (0, 1]; needed where there is one.

        Raises:
            InputError: if a floor adapts and there is no relaxation.

        Example:
            >>> floors = torch.tensor([0.6, torch.nan])
            >>> MultiplierState.start(floors, torch.tensor([0.5, 0.5]), relaxation=0.9).floors
            tensor([0.6000, 0.4500], dtype=torch.float64)
        """
        if relaxation is None and bool(floors.isnan().any()):
            raise InputError("multipliers: found adaptive floors (NaN) and no relaxation for them")
        factor = 1.0 if relaxation is None else relaxation
        b = torch.where(floors.isnan(), factor * moments.double(), floors.double())
        reached = moments.double().expand_as(b)
        step = torch.zeros((), dtype=torch.int64)
        return cls(torch.zeros_like(b), torch.ones_like(b), b, reached, reached, reached, step)

    def advance(
        self,
        values: Tensor,
        base: Tensor,
        *,
        radius: float = 0.0,
        multiplier_rate: float,
        temperature_rate: float = 0.05,
        decay: float = 0.99,
        barrier: float | None = None,
    ) -> tuple[MultiplierState, BallMoments]:
        r"""One step: temperatures, then multipliers at the bound of the new temperatures.

        Args:
            values: ``(..., E, C)`` :math:`f = w q` with the weights of the multipliers so far.
                Where labels are noisy, :math:`q` from other labels than those behind :math:`w`,
                or the constraint measures the noise that it follows.
            base: ``(..., E)`` from :func:`log_base`.
            radius: of the ball, >= 0 nats.
            multiplier_rate: > 0; 0 keeps the multipliers, for those that come from elsewhere.
            temperature_rate: > 0, not read with ``radius`` 0.
            decay: of the moving average, in [0, 1).
            barrier: weight of a log barrier, > 0: multipliers take its steps; ``None`` for those
                of the Lagrangian.

        Returns:
            The next state, and bound, adversary and divergence of this batch.

        Source:
            Agnihotri et al. 2025 (MOPO), Algorithm 1: temperatures, multipliers, weights. The
            average is over the weights that this step measures, one step older than printed.
        """
        chi = self.temperatures
        if radius > 0:
            kl = ball_moments(values, base, chi, radius).kl
            chi = temperature_step(chi, kl, radius, temperature_rate)
        batch = ball_moments(values, base, chi, radius)
        moments = moving_average(self.moments, batch.bound, decay)
        step = (self.multipliers, batch.bound, self.floors, multiplier_rate)
        state = replace(
            self,
            multipliers=multiplier_step(*step) if barrier is None else barrier_step(*step, barrier),
            temperatures=chi,
            moments=moments,
            best=torch.fmax(self.best, moments),
            step=self.step + 1,
        )
        return state, batch

    def refresh(self, is_adaptive: Tensor, relaxation: float) -> MultiplierState:
        r"""What a move of the reference changes: adaptive floors follow, the rest is kept.

        Call it when the reference becomes the last snapshot and the policy the new one:
        :math:`b \leftarrow \beta` times what the snapshot had reached.

        Args:
            is_adaptive: ``(C,)`` bool.
            relaxation: in (0, 1].
        """
        floors = torch.where(is_adaptive, relaxation * self.snapshot_moments, self.floors)
        return replace(self, floors=floors, snapshot_moments=self.moments)

    def require_bounded(self, names: Sequence[str], cap: float = 100.0) -> None:
        """Stops a run whose multipliers grow without end, which an unreachable floor makes them.

        Args:
            names: of the C objectives that have a floor.
            cap: largest multiplier, > 0.

        Raises:
            RunError: naming the objective, its floor, its multiplier and the best value seen.
        """
        worst = (~(self.multipliers <= cap)).nonzero()
        if not len(worst):
            return
        at = tuple(worst[0].tolist())
        found, floor, best = (float(t[at]) for t in (self.multipliers, self.floors, self.best))
        raise RunError(
            f"multipliers: found {found:.3g} for {names[at[-1]]} at step {int(self.step)}, "
            f"expected at most {cap:g}: {names[at[-1]]} >= {floor:.4g} is not met, the best "
            f"average seen is {best:.4g}; lower the floor, or the rate if the floor can be met"
        )

    def to_arrays(self) -> dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]]:
        """Every field as an array, to be saved; :meth:`from_arrays` gives the same state."""
        return {f.name: getattr(self, f.name).detach().cpu().numpy() for f in fields(self)}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]]
    ) -> MultiplierState:
        """Inverse of :meth:`to_arrays`.

        Raises:
            InputError: if a field is missing or unknown.
        """
        expected = {f.name for f in fields(cls)}
        if set(arrays) != expected:
            odd = ", ".join(sorted(set(arrays) ^ expected))
            raise InputError(
                f"multipliers: found {', '.join(sorted(arrays))}, expected "
                f"{', '.join(sorted(expected))}: {odd} differ"
            )
        return cls(**{name: torch.as_tensor(np.array(array)) for name, array in arrays.items()})
