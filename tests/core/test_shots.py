from __future__ import annotations

import numpy as np
import pytest

from paretune.core.description import describe
from paretune.core.shots import Examples, FewShot
from paretune.errors import ConfigError, ShapeError


def test_a_setting_can_be_described() -> None:
    found = describe(FewShot(n_shots=(0, 8), label_noise=6.0))
    assert found["n_shots"] == [0, 8] and found["label_noise"] == 6.0
    assert describe(FewShot()) != found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_shots": (4, 2)}, r"found n_shots \(4, 2\), expected two integers"),
        ({"n_shots": (-1, 2)}, "0 <= low <= high"),
        ({"n_shots": (0, 2.5)}, "expected two integers"),
        ({"n_shots": (4,)}, "expected two integers"),
        ({"description": "generated"}, "did you mean 'generate'"),
        ({"layout": "dialog"}, "did you mean 'dialogue'"),
        ({"max_prompt_tokens": 0}, "max_prompt_tokens 0, expected >= 1"),
        ({"min_gap": 1.5}, "min_gap 1.5, expected 0 to 1"),
        ({"min_gap": float("nan")}, "min_gap nan"),
        ({"label_noise": 0.0}, "label_noise 0.0, expected a slope > 0"),
        ({"label_noise": float("inf")}, "expected a slope > 0"),
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FewShot(**change)  # type: ignore[arg-type]


def test_a_list_becomes_a_tuple() -> None:
    assert FewShot(n_shots=[1, 3]).n_shots == (1, 3)  # type: ignore[arg-type]


def test_examples_have_a_user_and_a_comparison_each() -> None:
    assert len(Examples(np.array([0, 0]), np.array([4, 5]))) == 2
    with pytest.raises(ShapeError, match=r"users \(2,\) and comparisons \(1,\)"):
        Examples(np.array([0, 0]), np.array([4]))
