"""Fields out of range are refused by name."""

import math
from dataclasses import dataclass
from typing import Any

import pytest

from paretune.errors import ConfigError
from paretune.functional.ranges import require_number, require_word


@dataclass(frozen=True)
class Knob:
    value: Any


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_numbers_in_range_pass(value):
    require_number(Knob(value), "value", at_least=0, below=1.5)
    require_number(Knob(value), "value", above=-1)


@pytest.mark.parametrize(
    ("value", "limits", "expected"),
    [
        (0, {"above": 0}, "found value 0, expected a number > 0"),
        (-0.1, {"at_least": 0}, "expected a number >= 0"),
        (2, {"above": 0, "below": 2}, "expected a number > 0 and < 2"),
        (math.nan, {}, "expected a number that is finite"),
        (math.inf, {"above": 0}, "> 0"),
        (True, {}, "found value True"),
        ("1", {}, "found value '1'"),
        (None, {}, "found value None"),
    ],
)
def test_other_values_are_refused(value, limits, expected):
    with pytest.raises(ConfigError, match="Knob: .*" + expected):
        require_number(Knob(value), "value", **limits)


def test_words():
    require_word(Knob("left"), "value", ("left", "right"))
    with pytest.raises(ConfigError, match=r"Knob: found value 'lefty'.*did you mean 'left'"):
        require_word(Knob("lefty"), "value", ("left", "right"))
