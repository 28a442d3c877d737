"""Reply tables refuse what cannot be measured."""

import numpy as np
import pytest

from paretune.errors import InputError, NotScoredError, ShapeError
from paretune.evaluation.replies import ReplyTable


def test_an_empty_table_is_an_error() -> None:
    with pytest.raises(InputError, match="found none"):
        ReplyTable(np.zeros(0, dtype=np.int64), [], np.zeros((0, 2)))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_unscored_cell_is_named(bad: float) -> None:
    with pytest.raises(NotScoredError, match=r"reply 1 \(prompt 7\), objective 0"):
        ReplyTable(np.array([0, 7]), ["a", "b"], np.array([[0.0, 1.0], [bad, 1.0]]))


@pytest.mark.parametrize(
    "prompt_of, rewards, well_formed, named",
    [
        (np.zeros(3, dtype=np.int64), np.zeros((2, 2)), None, "prompt_of"),
        (np.zeros(2, dtype=np.int64), np.zeros((3, 2)), None, "rewards"),
        (np.zeros(2, dtype=np.int64), np.zeros((2, 2)), np.ones(1, dtype=bool), "well_formed"),
    ],
)
def test_columns_must_fit(prompt_of, rewards, well_formed, named) -> None:
    with pytest.raises(ShapeError, match=named):
        ReplyTable(prompt_of, ["a", "b"], rewards, well_formed)
