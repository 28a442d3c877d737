from __future__ import annotations

import pytest

from paretune.core.objective import Objectives
from paretune.errors import ConfigError


def test_order_is_kept() -> None:
    axes = Objectives.of("b", "a", "c")
    assert list(axes) == ["b", "a", "c"] and len(axes) == 3
    assert axes.index("a") == 1
    assert axes.select(["c", "b"]) == (2, 0)


@pytest.mark.parametrize("names", [(), ("a", "a"), ("",), ("1a",), ("a b",), ("a" * 33,), (3,)])
def test_refuses_bad_names(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="objectives:"):
        Objectives(names)


def test_unknown_name_proposes_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'harmless'\?"):
        Objectives.of("helpful", "harmless").index("harmles")
