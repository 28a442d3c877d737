from __future__ import annotations

import pytest

from paretune.core.method import Method


def test_a_method_without_a_plan_cannot_be_made() -> None:
    class Half(Method):
        def steer(self, tradeoff, trained):
            raise NotImplementedError

    with pytest.raises(TypeError, match="plan"):
        Half()
