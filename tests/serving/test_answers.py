"""Which model answers, what it is told, and what is kept of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tests.serving.conftest import SHAPE, moved, result, service, tokenizer
from transformers import LlamaConfig

from paretune.core.adapter import TradeOffAdapter
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.models import build_model, load_base, save_policy
from paretune.engines.lm.tradeoff_adapter import add_tradeoff_adapter
from paretune.serving.answers import Answers, ServedMethod


def no_load(steering: Steering, folders: Any) -> Any:
    raise AssertionError("this would fix the trade-off of the first request")


def test_a_trade_off_is_not_fixed_for_whoever_comes_next(tmp_path: Path) -> None:
    base = str(tmp_path / "base")
    save_policy(moved(build_model(LlamaConfig(**SHAPE), 0), 9), tokenizer(), tmp_path / "base")
    model = add_tradeoff_adapter(load_base(base, is_frozen=True), TradeOffAdapter(2, 4, 1))
    save_policy(moved(model, 5, "outer"), tokenizer(), tmp_path / "policy")

    def steer(tradeoff: TradeOff) -> Steering:
        return Steering("condition", ("policy",), (1.0,), tradeoff)

    served = ServedMethod("panacea", (), steer, {"policy": tmp_path / "policy"})
    answers = Answers({"panacea": served}, base, no_load)
    found = [answers.answer("panacea", TradeOff(w)) for w in ((1.0, 0.0), (0.0, 1.0))]
    assert found[0].model == found[1].model
    policies = answers.load(found[0].model)
    ids = torch.tensor([[7, 8, 9], [7, 8, 9]])
    policies.steer([row for one in found for row in one.rows])
    with torch.no_grad():
        first, second = policies.model(input_ids=ids).logits
    assert float((first - second).abs().max()) > 1e-3


def test_methods_of_one_base_hold_it_once(tmp_path: Path) -> None:
    made = service(tmp_path)
    soups = made.answers.methods["soups"]
    others = ServedMethod("others", (), soups.steer, dict(soups.folders))
    answers = Answers({"soups": soups, "others": others}, str(tmp_path / "base"), no_load)
    models = [answers.answer(name, TradeOff((0.5, 0.5))).model for name in ("soups", "others")]
    first, second = (answers.load(model).model for model in models)
    mine, its = dict(first.named_parameters()), dict(second.named_parameters())
    assert first is not second and mine.keys() == its.keys()
    assert all(mine[name] is its[name] for name in mine)
    # The steering is each one's own.
    assert first.get_submodule("model.layers.0.mlp.up_proj") is not (
        second.get_submodule("model.layers.0.mlp.up_proj")
    )
    assert made.scheduler.close(30)


def test_a_method_tells_whether_it_serves_what_lies_between() -> None:
    points = result().methods[0].points

    def exactly(tradeoff: TradeOff) -> Steering:
        return Steering("merge", ("one", "other"), tradeoff.weights, tradeoff)

    def nearest(tradeoff: TradeOff) -> Steering:
        kept = min(points, key=lambda p: abs(p.tradeoff[0] - tradeoff.weights[0])).tradeoff
        return Steering("pick", ("one",), (1.0,), TradeOff(kept))

    assert ServedMethod("soups", points, exactly, {}).serves_any
    assert not ServedMethod("dpo", points, nearest, {}).serves_any
    assert ServedMethod("sft", points[:1], nearest, {}).serves_any


def test_trade_offs_that_were_asked_for_are_not_kept(tmp_path: Path) -> None:
    """Whole models: every trade-off is a model of its own, named by its weights to the last bit."""
    for name in ("one", "other"):
        save_policy(build_model(LlamaConfig(**SHAPE), 0), tokenizer(), tmp_path / name)
    folders = {name: tmp_path / name for name in ("one", "other")}

    def steer(tradeoff: TradeOff) -> Steering:
        return Steering("merge", ("one", "other"), tradeoff.weights, tradeoff)

    answers = Answers({"whole": ServedMethod("whole", (), steer, folders)}, "base", no_load)
    weights = [n / 1000 for n in range(1000)] + [0.5 + 1e-12]
    models = {answers.answer("whole", TradeOff((w, 1 - w))).model for w in weights}
    assert len(models) == 1001
    kept = [value for value in vars(answers).values() if isinstance(value, dict)]
    assert kept and all(len(value) <= 2 for value in kept)
