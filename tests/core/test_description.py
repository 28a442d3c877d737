from __future__ import annotations

import json
from functools import partial
from pathlib import PurePosixPath

import numpy as np
import pytest

from paretune.core.description import describe, identity
from paretune.core.tradeoff import TradeOff
from paretune.functional.losses import dpo_loss, ipo_loss


def test_functions_go_by_name() -> None:
    assert describe(dpo_loss) == "paretune.functional.losses.dpo_loss"
    assert describe(partial(dpo_loss, beta=0.5)) == {
        "call": "paretune.functional.losses.dpo_loss",
        "beta": 0.5,
    }


def test_dataclasses_go_by_type_and_fields() -> None:
    assert describe(TradeOff((0.25, 0.75))) == {"type": "TradeOff", "weights": [0.25, 0.75]}


def test_everything_is_json() -> None:
    value = {"b": (1, None), 2: np.float64(0.5), "p": PurePosixPath("x/y"), "a": np.arange(3)}
    described = describe(value)
    assert list(described) == ["2", "a", "b", "p"]
    assert json.loads(json.dumps(described)) == {**described, "a": {**described["a"], "array": [3]}}


@pytest.mark.parametrize("value", [lambda: 0, object(), partial(dpo_loss, None), {1, 2}])
def test_refuses_what_has_no_stable_text(value: object) -> None:
    with pytest.raises(TypeError):
        describe(value)


def test_identity_tells_settings_apart() -> None:
    values = [
        partial(dpo_loss, beta=0.1),
        partial(dpo_loss, beta=0.2),
        partial(ipo_loss, beta=0.1),
        TradeOff((0.1, 0.9)),
        TradeOff((0.9, 0.1)),
        np.array([1.0, 2.0]),
        np.array([2.0, 1.0]),
        "1",
        1,
    ]
    assert len({identity(v) for v in values}) == len(values)


def test_identity_does_not_hang_on_the_order_of_keys() -> None:
    assert identity({"a": 1, "b": 2}) == identity({"b": 2, "a": 1})
    # Frozen: a change here would make every finished run train again.
    assert identity({"a": [1, 0.5, "é", None]}) == "d096e44eee9d41ab"


def test_a_number_is_one_however_it_is_written() -> None:
    assert identity({"epochs": 1}) == identity({"epochs": 1.0}) == identity({"epochs": np.int64(1)})
    assert identity({"epochs": 1}) != identity({"epochs": 1.5})
    assert describe(float("inf")) == float("inf")
    assert describe(True) is True
