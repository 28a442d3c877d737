"""A policy that is conditioned through its adapter: from a configuration to replies."""

import pytest
import torch

from paretune.core.adapter import TradeOffAdapter
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.models import build_model, save_policy
from paretune.engines.lm.tradeoff_adapter import (
    ConditionedLinear,
    add_tradeoff_adapter,
    set_tradeoff,
)
from paretune.errors import ConfigError
from paretune.pipeline.replies import load_steered
from paretune.pipeline.run import execute
from paretune.pipeline.sweep import in_words
from paretune.safety.files import read_json


@pytest.fixture
def saved(tmp_path):
    """A base, a policy on it whose adapter does something, and that policy in memory."""
    from paretune.bench.handy.tokenizer import build_config, build_tokenizer

    tokenizer = build_tokenizer()
    save_policy(build_model(build_config(), 0), tokenizer, tmp_path / "base")
    model = add_tradeoff_adapter(build_model(build_config(), 0), TradeOffAdapter(2, rank=1))
    for module in model.modules():
        if isinstance(module, ConditionedLinear):
            torch.nn.init.normal_(module.outer, generator=torch.Generator().manual_seed(0))
    save_policy(model, tokenizer, tmp_path / "policy")
    return str(tmp_path / "base"), tmp_path / "policy", model


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[3, 20, 40, 4]])).logits


@pytest.mark.parametrize("weights", [(0.3, 0.7), (1.0, 0.0)])
def test_the_steering_sets_the_tradeoff(saved, weights):
    base, folder, model = saved
    steering = Steering("condition", ("panacea",), (1.0,), TradeOff(weights))
    found = load_steered(steering, {"panacea": folder}, base)
    set_tradeoff(model, weights)
    torch.testing.assert_close(logits(found), logits(model), atol=1e-5, rtol=0)
    assert not any(isinstance(m, ConditionedLinear) for m in found.modules()), "merged for speed"
    assert in_words(steering) == f"panacea({weights[0]:g}, {weights[1]:g})"


def test_two_of_them_are_not_merged(saved):
    base, folder, _ = saved
    steering = Steering("merge", ("one", "two"), (0.5, 0.5), TradeOff((0.5, 0.5)))
    with pytest.raises(ConfigError, match="conditioned on the trade-off"):
        load_steered(steering, {"one": folder, "two": folder}, base)


def test_a_tradeoff_of_other_objectives_is_refused(saved):
    base, folder, _ = saved
    steering = Steering("condition", ("panacea",), (1.0,), TradeOff((0.2, 0.3, 0.5)))
    with pytest.raises(ConfigError, match="found 3 weights, expected 2"):
        load_steered(steering, {"panacea": folder}, base)


@pytest.mark.parametrize("lora", [None, {"rank": 2, "alpha": 4, "target": "q_proj, v_proj"}])
def test_runs_from_nothing_to_a_report(tmp_path, tiny_config, lora):
    methods = [{"method": "panacea", "rank": 2, "steps": 3}]
    train = {"learning_rate": 5e-3, "epochs": 1, "batch_size": 16, "lora": lora}
    finished = execute(tiny_config(methods=methods, train=train), tmp_path / "tiny")
    assert finished.failed == {}
    (method,) = finished.result.methods
    assert [p.policy for p in method.points] == ["panacea(0, 1)", "panacea(0.5, 0.5)",
                                                 "panacea(1, 0)"]  # fmt: skip
    assert method.cost.policies == 1
    folder = tmp_path / "tiny" / "4-policies" / "panacea" / "panacea"
    layers = read_json(folder / "tradeoff_adapter.json")["layers"]
    assert len(layers) == (14 if lora is None else 4)
    assert not (folder / "model.safetensors").exists(), "the base is not written again"
    assert "set_tradeoff(model, (0.5, 0.5))" in (tmp_path / "tiny" / "README.md").read_text()
