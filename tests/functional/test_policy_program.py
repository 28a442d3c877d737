"""Column generation against one big linear program and by hand."""

import numpy as np
import pytest
from scipy.optimize import linprog

from paretune.errors import InputError, ShapeError
from paretune.functional.policy_program import PolicyProgram


def whole_program(values, weights, allowed):
    """Everything linprog needs about all probabilities, one variable each."""
    n_contexts, n_actions, n = values.shape
    worth = (values * weights[:, None, None]).reshape(-1, n)
    sums = np.kron(np.eye(n_contexts), np.ones(n_actions))
    bounds = [(0, None if is_allowed else 0) for is_allowed in allowed.ravel()]
    return worth, sums, bounds


@pytest.mark.parametrize("seed", range(40))
def test_against_the_whole_program(seed):
    generator = np.random.default_rng(seed)
    shape = generator.integers((1, 2, 2), (5, 7, 5))
    values = generator.random(shape)
    if seed % 3 == 0:
        values = values.round(1)  # ties
    weights = generator.dirichlet(np.ones(shape[0]))
    allowed = generator.random(shape[:2]) < 0.8
    allowed[:, 0] = True
    floors = 0.8 * generator.random(shape[2])
    program = PolicyProgram.of(values, weights, allowed)
    worth, sums, bounds = whole_program(values, weights, allowed)
    ones, n = np.ones(shape[0]), len(worth)
    margin = linprog(
        np.append(np.zeros(n), -1),
        A_ub=np.column_stack([-worth.T, np.ones(shape[2])]),
        b_ub=-floors,
        A_eq=np.column_stack([sums, 0 * ones]),
        b_eq=ones,
        bounds=[*bounds, (None, None)],
    )
    assert program.margin(floors) == pytest.approx(-margin.fun, abs=1e-9)
    is_kept = np.arange(shape[2]) > 0
    goal = np.eye(shape[2])[0]
    best = linprog(
        -worth[:, 0],
        A_ub=-worth.T[is_kept],
        b_ub=-floors[is_kept],
        A_eq=sums,
        b_eq=ones,
        bounds=bounds,
    )
    policy = program.maximize(goal, is_kept, floors)
    if best.status == 2:
        assert policy is None
        return
    assert program.mean(policy)[0] == pytest.approx(-best.fun, abs=1e-9)
    assert (program.mean(policy)[is_kept] >= floors[is_kept] - 1e-9).all()
    assert policy.sum(axis=1) == pytest.approx(1)
    assert (policy[~allowed] == 0).all()


def test_best_actions_by_hand():
    values = np.array([[[1.0, 0.0], [0.0, 3.0]], [[2.0, 0.0], [0.0, 1.0]]])
    program = PolicyProgram.of(values, None, None)
    assert program.best_actions(np.array([1.0, 1.0])).tolist() == [1, 0]
    assert program.worth(np.array([1, 0])).tolist() == [1.0, 1.5]
    only = PolicyProgram.of(values, None, np.array([[True, False], [True, True]]))
    assert only.best_actions(np.array([0.0, 1.0])).tolist() == [0, 1]


def test_negative_values_and_forbidden_actions():
    values = np.array([[[-5.0], [-1.0], [9.0]]])
    program = PolicyProgram.of(values, None, np.array([[True, True, False]]))
    assert program.margin(np.array([-2.0])) == pytest.approx(1)


def test_bad_tables():
    with pytest.raises(ShapeError):
        PolicyProgram.of(np.zeros((2, 2)), None, None)
    with pytest.raises(ShapeError):
        PolicyProgram.of(np.zeros((2, 2, 1)), np.ones(3), None)
    with pytest.raises(InputError, match="without an allowed action"):
        PolicyProgram.of(np.zeros((1, 2, 1)), None, np.zeros((1, 2), dtype=bool))
    with pytest.raises(InputError, match="not finite"):
        PolicyProgram.of(np.full((1, 2, 1), np.nan), None, None)
