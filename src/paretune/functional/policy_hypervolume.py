"""Hypervolume of K policies as a differentiable number, and a pull for those without a share."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from paretune.errors import ConfigError, ShapeError
from paretune.functional.draws import hash_keys, uniform
from paretune.functional.hypervolume_facets import contributions_and_facets
from paretune.functional.indicators import volumes

_FEW = 5
"""Policies up to which every subset is walked: 31 boxes. A sweep takes over where they double."""

_DIRECTIONS = 7
"""Names the draw of directions."""


def policy_hypervolume(points: Tensor) -> Tensor:
    r"""Volume that K points dominate above 0, exactly.

    .. math:: V = \sum_{\emptyset\ne S\subseteq[K]} (-1)^{|S|-1} \prod_{j=1}^M \min_{k\in S} p_{kj}

    with a sub-gradient through the smallest :math:`p_{kj}` of each box; where points tie they
    share it, so that copies move as one. Above five points the same number comes from a sweep,
    and copies have no gradient there. A point that is not above 0 everywhere adds nothing and has
    no gradient, and neither has one that is dominated: see :func:`hypervolume_pull`.

    Args:
        points: ``(K, M)``, larger is better, usually in [0, 1]; what exceeds 1 counts in full.

    Returns:
        Scalar, >= 0.

    Raises:
        ShapeError: if there is no point.

    Source:
        Inclusion and exclusion of boxes; the derivatives are those of Emmerich and Deutz 2014,
        "Time Complexity and Zeros of the Hypervolume Indicator Gradient Field", Sec. 3.

    Example:
        >>> points = torch.tensor([[0.5, 1.0], [1.0, 0.5]], requires_grad=True)
        >>> volume = policy_hypervolume(points)
        >>> volume.backward()
        >>> float(volume.detach()), points.grad.tolist()
        (0.75, [[0.5, 0.5], [0.5, 0.5]])
    """
    _require_points(points)
    if len(points) > _FEW:
        swept: Tensor = _Swept.apply(points)  # type: ignore[no-untyped-call]
        return swept
    inside = points.clamp(min=0)
    total = inside.new_zeros(())
    for size in range(1, len(points) + 1):
        boxes = [
            inside[list(some)].amin(0).prod() for some in combinations(range(len(points)), size)
        ]
        total = total + (-1) ** (size - 1) * torch.stack(boxes).sum()
    return total


def sampled_hypervolume(points: Tensor, directions: Tensor) -> Tensor:
    r"""The same volume, estimated along rays from 0.

    .. math:: V \approx c_M\,\frac1D\sum_v \max_k \min_j (p_{kj} / v_j)_+^M,\qquad
        c_M = \frac{\pi^{M/2}}{2^M\,\Gamma(M/2 + 1)}

    Costs K D M whatever the front, and each ray has one active policy and objective.

    Args:
        points: ``(K, M)``, larger is better.
        directions: ``(D, M)`` unit vectors with positive coordinates, as
            :func:`positive_directions` draws them.

    Returns:
        Scalar, >= 0; 4e5 directions leave an error of about 1e-3.

    Raises:
        ShapeError: if there is no point, or directions have another number of objectives.

    Source:
        Deng and Zhang 2019, "Approximating Hypervolume and Hypervolume Contributions Using Polar
        Coordinate", Eq. 7; Zhang and Golovin 2020, "Random Hypervolume Scalarizations", Lemma 5.

    Example:
        >>> value = sampled_hypervolume(torch.tensor([[0.5, 0.5]]), positive_directions(20_000, 2))
        >>> abs(float(value) - 0.25) < 0.005
        True
    """
    _require_points(points)
    n_objectives = points.shape[1]
    if directions.ndim != 2 or directions.shape[1] != n_objectives:
        raise ShapeError(
            f"hypervolume: found directions of shape {tuple(directions.shape)}, expected "
            f"(D, {n_objectives})"
        )
    scale: float = math.pi ** (n_objectives / 2) / (
        2**n_objectives * math.gamma(n_objectives / 2 + 1)
    )
    # The clamp comes before the power: a negative length to an even power would be a volume.
    lengths = (points[:, None] / directions.to(points)).amin(-1).amax(0).clamp(min=0)
    mean: Tensor = (lengths**n_objectives).mean()
    return scale * mean


def positive_directions(n: int, n_objectives: int, seed: int = 0) -> Tensor:
    """Unit vectors with positive coordinates, uniform on their part of the sphere.

    Args:
        n: how many, >= 1.
        n_objectives: M, >= 1.
        seed: of the draw, which is a hash of the seed and the place: the first ones stay the same
            however many are asked for.

    Returns:
        ``(n, M)`` float64, on the CPU.

    Raises:
        ConfigError: if a number is below 1.

    Example:
        >>> positive_directions(2, 3).norm(dim=1)
        tensor([1., 1.], dtype=torch.float64)
    """
    if n < 1 or n_objectives < 1:
        raise ConfigError(f"directions: found {n} of {n_objectives} objectives, expected both >= 1")
    cells = np.arange(n * n_objectives)
    draws = uniform(hash_keys(seed, _DIRECTIONS, n_objectives, cells))
    # The upper half of a normal distribution, from its lower tail: draws are below 1.
    normal = torch.from_numpy(-ndtri(0.5 * (1 - draws)).reshape(n, n_objectives))
    directions: Tensor = normal / normal.norm(dim=1, keepdim=True)
    return directions


def hypervolume_pull(points: Tensor) -> Tensor:
    r"""How far points are from having a share in the hypervolume; 0 for all that have one.

    .. math:: \sum_k \Big[\max_{i \ne k} \min_j (p_{ij} - p_{kj})_+ + \sum_j (-p_{kj})_+\Big]

    The first term is the additive distance of a dominated point to the front, along the objective
    in which it is shortest; the second that of a point below the reference 0. Only the point that
    lacks a share is pulled, never the front towards it. It is continuous, so that line searches
    work on it.

    Args:
        points: ``(K, M)``, larger is better.

    Returns:
        Scalar, >= 0.

    Raises:
        ShapeError: if there is no point.

    Source:
        Ours: the paper's treatment of dominated heads could not be read. The distance is the
        additive epsilon indicator of Zitzler et al. 2003, point by point.

    Example:
        >>> points = torch.tensor([[0.5, 0.75], [0.25, 0.25]], requires_grad=True)
        >>> pull = hypervolume_pull(points)
        >>> pull.backward()
        >>> float(pull.detach()), points.grad.tolist()
        (0.25, [[0.0, 0.0], [-1.0, 0.0]])
    """
    _require_points(points)
    shortest = (points.detach()[:, None] - points).amin(-1)  # (i, k)
    shortest = shortest.masked_fill(
        torch.eye(len(points), dtype=torch.bool, device=points.device), 0
    )
    return shortest.amax(0).clamp(min=0).sum() + (-points).clamp(min=0).sum()


class _Swept(torch.autograd.Function):
    """The volume forward, the facets that points own backward."""

    @staticmethod
    def forward(ctx: Any, points: Tensor) -> Tensor:
        values = points.detach().double().cpu().numpy()
        origin = np.zeros(values.shape[1])
        _, facets = contributions_and_facets(values, origin)
        ctx.save_for_backward(torch.from_numpy(facets).to(points))
        return points.new_tensor(float(volumes([values], origin)[0]))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (facets,) = ctx.saved_tensors
        return gradients[0] * facets


def _require_points(points: Tensor) -> None:
    if points.ndim != 2 or not points.numel():
        raise ShapeError(
            f"hypervolume: found points of shape {tuple(points.shape)}, expected (K, M) with at "
            "least one point"
        )
