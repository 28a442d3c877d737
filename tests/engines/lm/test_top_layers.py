"""Adapters on the top blocks only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from paretune.engines.lm.models import add_adapter, load_policy, save_policy, top_modules
from paretune.engines.lm.settings import LoraSettings
from paretune.errors import ConfigError

IDS = torch.tensor([[1, 5, 6, 7, 8]])


def adapted(model: Any) -> set[str]:
    """Blocks with an adapter."""
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    return {next(part for part in name.split(".") if part.isdigit()) for name in names}


@pytest.mark.parametrize(
    ("name", "layers", "blocks"),
    [
        ("llama", "all", {"0", "1", "2", "3"}),
        ("llama", "top-half", {"2", "3"}),
        ("llama", "top-quarter", {"3"}),
        ("gpt2", "top-half", {"2", "3"}),
    ],
)
def test_the_blocks_that_train(lab: Any, name: str, layers: Any, blocks: set[str]) -> None:
    depth = {"n_layer": 4} if name == "gpt2" else {"num_hidden_layers": 4}
    model = add_adapter(lab.model(name, **depth), LoraSettings(rank=2, layers=layers), 0)
    assert adapted(model) == blocks
    assert not any("lm_head" in n for n, p in model.named_parameters() if p.requires_grad)


def test_at_least_one_block_trains(lab: Any) -> None:
    model = add_adapter(lab.model(), LoraSettings(rank=2, layers="top-quarter"), 0)
    assert adapted(model) == {"1"}


def test_names_of_layers_are_kept_to(lab: Any) -> None:
    found = top_modules(lab.model(), ["q_proj", "v_proj"], 2)
    assert found == ["model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"]


def test_names_that_nothing_has_are_told(lab: Any) -> None:
    lora = LoraSettings(target="query,value", layers="top-half")
    with pytest.raises(ConfigError, match=r"train\.lora\.layers: found no layer \['query', 'value"):
        add_adapter(lab.model(), lora, 0)


def test_nothing_is_propagated_below(lab: Any) -> None:
    model = add_adapter(lab.model(num_hidden_layers=4), LoraSettings(rank=2, layers="top-half"), 0)
    states = model(input_ids=IDS, output_hidden_states=True).hidden_states
    assert [s.requires_grad for s in states] == [False, False, False, True, True]


def test_saved_and_loaded_it_is_the_same(lab: Any, tmp_path: Path) -> None:
    base = lab.model()
    save_policy(base, lab.tokenizer(), tmp_path / "base")
    model = add_adapter(base, LoraSettings(rank=2, layers="top-half"), 0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    save_policy(model, lab.tokenizer(), tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy", tmp_path / "base").eval()
    with torch.no_grad():
        assert torch.equal(loaded(IDS).logits, model.eval()(IDS).logits)
