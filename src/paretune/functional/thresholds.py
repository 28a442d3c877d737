"""Floors taken from a known front, and the constrained choice among its points."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from paretune.errors import InfeasibleError, InputError, ShapeError

Floats = npt.NDArray[np.float64]


def insertion_index(ascending: npt.ArrayLike, value: float) -> int:
    """How many of the listed values are below a value: where it would be inserted.

    Args:
        ascending: ``(N,)`` values in ascending order.
        value: in the same units.

    Returns:
        0 to N; N if the value is above all of them.

    Raises:
        InputError: if the list is not ascending.

    Source:
        Agnihotri et al. 2025 (MOPO), Prop. A.3.3, whose indices start at 1.

    Example:
        >>> insertion_index([0.2, 0.5, 0.5, 0.9], 0.5)
        1
    """
    listed = np.asarray(ascending, dtype=np.float64)
    if listed.ndim != 1 or (np.diff(listed) < 0).any():
        raise InputError("insertion index: found a list that does not ascend, expected ascending")
    return int(np.searchsorted(listed, value, side="left"))


def floor_ranges(front: Floats, row: int) -> tuple[Floats, Floats]:
    r"""Floors that keep a point of a front and rule out everything worse on an objective.

    A floor :math:`b_i` with ``low`` :math:`< b_i \le` ``high`` admits the same points of the
    front as the point's own value, ``high``. Whether a constrained optimum under such floors is on
    the front is another question: inside the range it need not be where points tie, because a
    dominated point may share the best primary value. With :math:`b_i` = ``high`` it always is,
    and so it is for any floors with the tie-break of :func:`constrained_row`.

    Args:
        front: ``(N, M)`` points none of which dominates another.
        row: of the point that should stay allowed, in [0, N).

    Returns:
        ``low`` and ``high``, each ``(M,)``; ``low`` is ``-inf`` where no point is worse.

    Source:
        Agnihotri et al. 2025 (MOPO), Prop. A.3.3, restated as intervals; its claim fails in about
        1 of 40 random sets with ties when floors are strictly inside.

    Example:
        >>> front = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]])
        >>> floor_ranges(front, 1)
        (array([0.1, 0.1]), array([0.5, 0.5]))
    """
    if front.ndim != 2 or not 0 <= row < len(front):
        raise ShapeError(f"floors: found front {front.shape} and row {row}, expected a row of it")
    high = front[row]
    columns = [np.append(-np.inf, np.sort(column)) for column in front.T]
    low = [
        column[insertion_index(column[1:], value)]
        for column, value in zip(columns, high, strict=True)
    ]
    return np.asarray(low), high.copy()


def constrained_row(points: Floats, floors: npt.ArrayLike, primary: int) -> int:
    """Best point for one objective under floors for the others, never a dominated one.

    Several points may share the best primary value, and some of them may be dominated by others;
    among them the largest sum of the other objectives decides, which no dominated point has.

    Args:
        points: ``(N, M)``, larger is better.
        floors: ``(M,)``; the one at ``primary`` is not read.
        primary: column that is maximized, in [0, M).

    Returns:
        Its row; the first of equal points.

    Raises:
        ShapeError: if the shapes do not agree.
        InfeasibleError: if no point keeps the floors.

    Source:
        The epsilon-constraint theorem with a lexicographic second level; deviates from
        Agnihotri et al. 2025 (MOPO), Prop. A.3.3, which leaves ties open.

    Example:
        >>> constrained_row(np.array([[1.0, 0.3], [1.0, 0.6], [0.2, 0.9]]), [0.0, 0.2], primary=0)
        1
    """
    bounds = np.asarray(floors, dtype=np.float64).copy()
    if points.ndim != 2 or bounds.shape != points.shape[1:] or not 0 <= primary < len(bounds):
        raise ShapeError(
            f"constrained choice: found points {points.shape}, floors {bounds.shape} and primary "
            f"{primary}, expected (N, M), (M,) and a column"
        )
    bounds[primary] = -np.inf
    rows = np.flatnonzero((points >= bounds).all(axis=1))
    if not len(rows):
        raise InfeasibleError(
            f"constrained choice: none of {len(points)} points keeps the floors {bounds.tolist()}"
        )
    value = points[rows, primary]
    rows = rows[value == value.max()]
    return int(rows[np.delete(points[rows], primary, axis=1).sum(axis=1).argmax()])
