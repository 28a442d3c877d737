"""Heads on a frozen trunk, from a configuration to a front."""

from __future__ import annotations

import pytest
import torch

from paretune.core.tradeoff import TradeOff
from paretune.functional.simplex import lattice
from paretune.methods import build
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.replies import load_steered
from paretune.pipeline.run import execute
from paretune.safety.files import read_json

OPTIONS = {"labels": "mixed", "beta": 0.5, "backbone": "frozen", "head_rank": 4}


def test_one_task_trains_a_head_a_tradeoff(tmp_path, tiny_config) -> None:
    # What the run says about adapters is not for heads: their trunk is the base itself.
    train = {"epochs": 1, "batch_size": 16, "lora": {"rank": 2, "alpha": 4}}
    modpo = {"method": "modpo", "margins": "policies", "beta": 0.5, "backbone": "frozen"}
    config = tiny_config(methods=[{"method": "dpo", **OPTIONS}, modpo], train=train)
    finished = execute(config, tmp_path / "tiny")
    assert finished.failed == {}
    dpo, mixed = finished.result.methods
    assert [p.policy for p in dpo.points] == ["dpo-0-1", "dpo-0.5-0.5", "dpo-1-0"]
    assert [p.policy for p in mixed.points] == ["expert-1", "modpo-0.5-0.5", "expert-0"]
    policies = RunFolder(tmp_path / "tiny").stage(4)
    group = policies / "dpo" / "dpo"
    found = {p.name: p for p in group.iterdir() if p.is_dir()}
    assert sorted(found) == ["dpo-0-1", "dpo-0.5-0.5", "dpo-1-0"]
    files = {path.suffix for path in found["dpo-0-1"].iterdir()}
    assert ".safetensors" in files and not (found["dpo-0-1"] / "config.json").exists()
    assert not list(group.glob(".trunk*")), "states were left behind"
    base = read_json(found["dpo-0-1"] / "state_head.json")["base"]

    def logps(weights: tuple[float, float]) -> torch.Tensor:
        steering = build("dpo", OPTIONS).steer(TradeOff(weights), lattice(2, 2))
        model = load_steered(steering, found, base)
        with torch.no_grad():
            return torch.log_softmax(model(torch.tensor([[3, 5, 7]])).logits, -1)

    between = torch.log_softmax(0.4 * logps((1, 0)) + 0.6 * logps((0.5, 0.5)), -1)
    assert torch.allclose(logps((0.7, 0.3)), between, atol=1e-5)
    assert float((logps((1, 0)) - logps((0, 1))).abs().max()) > 1e-4
    before = [path.stat().st_mtime_ns for path in sorted(group.rglob("*.safetensors"))]
    assert execute(config, tmp_path / "tiny").result == finished.result
    assert [p.stat().st_mtime_ns for p in sorted(group.rglob("*.safetensors"))] == before


@pytest.mark.parametrize("memory", [0.0, 2.0])
def test_the_cost_of_the_trunk_is_counted_once(tmp_path, tiny_config, memory) -> None:
    train = {"epochs": 2, "batch_size": 16, "trunk_memory_gb": memory}
    config = tiny_config(methods=[{"method": "dpo", **OPTIONS}], train=train)
    (found,) = execute(config, tmp_path / "tiny").result.methods
    manifest = read_json(RunFolder(tmp_path / "tiny").stage(4) / "dpo" / "dpo" / "manifest.json")
    facts = manifest.get("facts", manifest)
    assert facts["steps"] == 6
    assert facts["rows"] == 48
    assert found.cost.policies == 3
    assert found.cost.train_tokens == facts["tokens"]
