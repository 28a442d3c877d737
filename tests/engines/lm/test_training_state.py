"""What a training keeps to go on: the log line that is not full yet."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch

from paretune.engines.lm.training_state import PlainState


def state(device: str = "cpu") -> PlainState:
    made = PlainState()
    made.args, made.window = SimpleNamespace(device=torch.device(device)), {}
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_log_line_goes_on_to_the_last_bit(dtype: torch.dtype) -> None:
    values = [torch.tensor(v, dtype=dtype) for v in (1 / 3, 1e-30, math.nan, math.inf)]
    before, after = state(), state()
    before.window |= {"loss": values, "empty": []}
    after.set_log_state(json.loads(json.dumps(before.log_state())))
    assert list(after.window) == ["loss"]
    assert torch.equal(torch.stack(after.window["loss"])[:2], torch.stack(values)[:2])
    assert [v.dtype for v in after.window["loss"]] == [dtype] * 4
    assert torch.stack(after.window["loss"]).isfinite().tolist() == [True, True, False, False]


def test_numbers_come_back_where_those_that_follow_them_are() -> None:
    # As on a GPU: a mean of numbers on two devices is an error.
    saved = {"window": {"loss": ["float32", "meta", [1.0]], "kl": ["float32", "cpu", [2.0]]}}
    after = state("meta")
    after.set_log_state(saved)
    assert after.window["loss"][0].device.type == "meta"
    assert after.window["kl"][0].device.type == "cpu"
