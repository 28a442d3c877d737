"""One conditioned policy answers each request for the trade-off of that request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tests.serving.conftest import SHAPE, moved, tokenizer
from transformers import LlamaConfig

from paretune.core.adapter import TradeOffAdapter
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.models import build_model, load_base, save_policy
from paretune.engines.lm.tradeoff_adapter import add_tradeoff_adapter
from paretune.serving.answers import Answers, ServedMethod


def test_a_trade_off_is_not_fixed_for_whoever_comes_next(tmp_path: Path) -> None:
    base = str(tmp_path / "base")
    save_policy(moved(build_model(LlamaConfig(**SHAPE), 0), 9), tokenizer(), tmp_path / "base")
    model = add_tradeoff_adapter(load_base(base, is_frozen=True), TradeOffAdapter(2, 4, 1))
    save_policy(moved(model, 5, "outer"), tokenizer(), tmp_path / "policy")

    def steer(tradeoff: TradeOff) -> Steering:
        return Steering("condition", ("policy",), (1.0,), tradeoff)

    def load(steering: Steering, folders: Any) -> Any:
        raise AssertionError("this would fix the trade-off of the first request")

    served = ServedMethod("panacea", (), steer, {"policy": tmp_path / "policy"})
    answers = Answers({"panacea": served}, base, load)
    found = [answers.answer("panacea", TradeOff(w)) for w in ((1.0, 0.0), (0.0, 1.0))]
    assert found[0].model == found[1].model
    policies = answers.load(found[0].model)
    ids = torch.tensor([[7, 8, 9], [7, 8, 9]])
    policies.steer([row for one in found for row in one.rows])
    with torch.no_grad():
        first, second = policies.model(input_ids=ids).logits
    assert float((first - second).abs().max()) > 1e-3
