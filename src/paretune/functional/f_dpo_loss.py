"""f-DPO: the pairwise loss whose optimum is penalized by another divergence than the reverse KL."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from paretune.core.constrained import Divergence
from paretune.errors import InputError
from paretune.functional.generators import Generator, generator
from paretune.functional.losses import PairBatch

FLOOR = -30.0
"""Log-ratio below which the slope of f goes on as a straight line, nats."""


def f_dpo_loss(
    batch: PairBatch, beta: float, divergence: Divergence = "reverse_kl", alpha: float = 0.5
) -> Tensor:
    r"""f-DPO: :math:`-\log\sigma(\beta\,[f'(u^+) - f'(u^-)])`, u the ratio :math:`\pi/\pi_{ref}`.

    Where labels are Bradley-Terry in a reward r, its optimum maximizes
    :math:`E_\pi[r] - \beta D_f(\pi\|\pi_{ref})`, because there :math:`\beta f'(u)` is the reward up
    to a constant of the prompt. The ratio is that of whole responses; with the reverse KL the loss
    is :func:`paretune.functional.losses.dpo_loss`. The slopes of forward KL, JSD and alpha are
    bounded above: the pull on a chosen response fades as its ratio grows.

    Args:
        batch: B preference pairs.
        beta: strength of the penalty, > 0.
        divergence: one whose slope falls to minus infinity at ratio 0: ``reverse_kl``,
            ``forward_kl``, ``jsd``, ``alpha`` or ``jeffrey``.
        alpha: parameter of ``alpha``, in (0, 1); others ignore it.

    Returns:
        ``(B,)`` losses, >= 0.

    Raises:
        InputError: if ``beta`` is not a finite number > 0, the divergence is unknown or has no
            barrier, or ``alpha`` is out of range.

    Source:
        Wang et al. 2023, "Beyond reverse KL" (f-DPO), arXiv:2309.16240; Shi et al. 2024 (MOD),
        arXiv:2406.18853, which trains its experts so. Deviation: below -30 nats, where the ratio
        of a long response would overflow, :math:`f'` goes on as its tangent in the log-ratio.

    Example:
        >>> from torch import ones, zeros
        >>> batch = PairBatch(ones(1), zeros(1), zeros(1), zeros(1), ones(1), ones(1), ones(1, 2))
        >>> f_dpo_loss(batch, beta=1.0), f_dpo_loss(batch, beta=1.0, divergence="forward_kl")
        (tensor([0.3133]), tensor([0.4262]))
    """
    if not 0 < beta < math.inf:
        raise InputError(f"f-DPO: found beta {beta}, expected a finite number > 0")
    f = generator(divergence, alpha)
    if not f.has_barrier:
        raise InputError(
            f"f-DPO: found {divergence}, whose optimum gives some responses no mass, which no "
            "log-ratio reaches; expected reverse_kl, forward_kl, jsd, alpha or jeffrey"
        )
    chosen = _slack(batch.chosen - batch.ref_chosen, f)
    rejected = _slack(batch.rejected - batch.ref_rejected, f)
    # The offset of f' falls out of the difference.
    return -logsigmoid(beta * (rejected - chosen))


def _slack(log_ratios: Tensor, f: Generator) -> Tensor:
    # Each branch sees arguments that it can take: a gradient of 0 * inf would be NaN.
    is_low = log_ratios < FLOOR
    floor = log_ratios.new_tensor(FLOOR)
    tangent = f.slack(floor) + f.slack_slope(floor) * (log_ratios - floor)
    return torch.where(is_low, tangent, f.slack(torch.where(is_low, floor, log_ratios)))
