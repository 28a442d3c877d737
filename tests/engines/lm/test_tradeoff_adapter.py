"""The adapter that holds the trade-off: from the reference on, to disk, merged and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn

from paretune.core.adapter import TradeOffAdapter
from paretune.engines.lm.merge import merge_policies
from paretune.engines.lm.mix import mix_policies
from paretune.engines.lm.models import add_adapter, load_base, load_policy, quiet_peft, save_policy
from paretune.engines.lm.settings import LoraSettings
from paretune.engines.lm.tradeoff_adapter import (
    ConditionedLinear,
    add_tradeoff_adapter,
    as_lora,
    export_lora,
    fix_tradeoff,
    merge_tradeoff,
    set_tradeoff,
)
from paretune.errors import ConfigError, InputError

ADAPTER = TradeOffAdapter(3, rank=2)
TRADEOFFS = [(0.2, 0.3, 0.5), (1.0, 0.0, 0.0), (0.0, 0.75, 0.25)]
IDS = torch.tensor([[5, 9, 30, 12, 7], [8, 8, 21, 39, 2]])


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def conditioned(lab: Any, name: str = "llama", adapter: TradeOffAdapter = ADAPTER) -> Any:
    """A model whose adapter does something."""
    model = add_tradeoff_adapter(lab.model(name), adapter)
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, ConditionedLinear):
            for own in (module.outer, module.shared, module.scale):
                own.data += 0.3 * torch.randn(own.shape, generator=generator)
    return model


def test_a_layer_by_hand() -> None:
    base = nn.Linear(2, 2, bias=False)
    layer = ConditionedLinear(base, TradeOffAdapter(2, rank=1, scale=3.0), torch.Generator())
    with torch.no_grad():
        base.weight.copy_(torch.eye(2))
        layer.outer.copy_(torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
        layer.inner.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        layer.scale.fill_(2.0)
    layer.tradeoff = torch.tensor([0.25, 0.75])
    # sigma = 3, s lambda = (.5, 1.5): 3 e1 (1 0) + .5 e1 (0 1) + 1.5 e2 (1 1).
    torch.testing.assert_close(layer.update, torch.tensor([[3.0, 0.5], [1.5, 1.5]]))
    torch.testing.assert_close(layer(torch.tensor([[1.0, 2.0]])), torch.tensor([[5.0, 6.5]]))
    torch.testing.assert_close(layer.weight, torch.tensor([[4.0, 0.5], [1.5, 2.5]]))


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen2", "gpt_neox", "gemma2", "bloom", "mamba"])
def test_starts_as_the_reference_for_every_tradeoff(lab: Any, name: str) -> None:
    expected, model = logits(lab.model(name)), add_tradeoff_adapter(lab.model(name), ADAPTER)
    for tradeoff in TRADEOFFS:
        set_tradeoff(model, tradeoff)
        torch.testing.assert_close(logits(model), expected)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "gemma2", "mamba"])
@pytest.mark.parametrize("tradeoff", TRADEOFFS)
def test_merged_is_the_conditioned_policy(lab: Any, name: str, tradeoff: tuple[float, ...]) -> None:
    model = conditioned(lab, name).double()
    set_tradeoff(model, tradeoff)
    expected = logits(model)
    assert (expected - logits(lab.model(name).double())).abs().max() > 1e-3
    merged = merge_tradeoff(model, tradeoff)
    assert not any(isinstance(m, ConditionedLinear) for m in merged.modules())
    torch.testing.assert_close(logits(merged), expected, atol=1e-9, rtol=0)
    assert merged.state_dict().keys() == lab.model(name).state_dict().keys()


def test_merged_in_single_precision(lab: Any) -> None:
    model = conditioned(lab)
    set_tradeoff(model, TRADEOFFS[0])
    expected = logits(model)
    torch.testing.assert_close(
        logits(fix_tradeoff(model, TRADEOFFS[0])), expected, atol=1e-6, rtol=0
    )


def test_half_precision_keeps_the_update_beside_the_weights(lab: Any) -> None:
    model = lab.model().to(torch.bfloat16)
    fixed = fix_tradeoff(add_tradeoff_adapter(model, ADAPTER), TRADEOFFS[0])
    layer = next(m for m in fixed.modules() if isinstance(m, ConditionedLinear))
    assert layer.outer.dtype == torch.float32 and logits(fixed).dtype == torch.bfloat16
    torch.testing.assert_close(layer.tradeoff, torch.tensor(TRADEOFFS[0]))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_exported_as_lora(lab: Any, tmp_path: Path, name: str) -> None:
    model = conditioned(lab, name)
    export_lora(model, TRADEOFFS[0], tmp_path)
    with quiet_peft():
        found = PeftModel.from_pretrained(lab.model(name), str(tmp_path))
    torch.testing.assert_close(logits(found), logits(model), atol=1e-6, rtol=0)
    factors = as_lora(model, TRADEOFFS[1])
    for key, (inner, outer) in factors.items():
        layer = model.get_submodule(key)
        change = outer @ inner
        expected = layer.update.T if name == "gpt2" else layer.update
        torch.testing.assert_close(change, expected, atol=1e-6, rtol=1e-5)


def test_updates_are_linear_in_the_tradeoff(lab: Any) -> None:
    layer = next(m for m in conditioned(lab).modules() if isinstance(m, ConditionedLinear))
    updates = []
    for tradeoff in (*torch.eye(3), torch.tensor(TRADEOFFS[0])):
        layer.tradeoff = tradeoff
        updates.append(layer.update.detach())
    mixed = sum(w * u for w, u in zip(TRADEOFFS[0], updates[:3], strict=True))
    torch.testing.assert_close(updates[3], mixed)


def test_several_directions_share_the_weight_of_their_objective(lab: Any) -> None:
    adapter = TradeOffAdapter(2, rank=1, directions=2, scale=1.0)
    layer = ConditionedLinear(nn.Linear(3, 3), adapter, torch.Generator())
    layer.tradeoff = torch.tensor([0.25, 0.75])
    assert layer.values.tolist() == [1.0, 0.25, 0.25, 0.75, 0.75]
    assert layer.outer.shape == (3, 5) and adapter.width == 5


def test_only_the_adapter_trains_and_never_the_output_layer(lab: Any) -> None:
    model = add_tradeoff_adapter(lab.model(), ADAPTER)
    moving = {n.rpartition(".")[2] for n, p in model.named_parameters() if p.requires_grad}
    assert moving == {"inner", "outer", "shared", "scale"}
    assert isinstance(model.lm_head, nn.Linear)
    layers = [m for m in model.modules() if isinstance(m, ConditionedLinear)]
    assert len(layers) == 2 * 7
    # LoRA's rule finds the same layers.
    lora = add_adapter(lab.model(), LoraSettings(rank=1), 0)
    assert sum("lora_A" in n for n, _ in lora.named_parameters()) == len(layers)


def test_layers_by_name(lab: Any) -> None:
    model = add_tradeoff_adapter(lab.model(), ADAPTER, "q_proj, v_proj")
    found = [n for n, m in model.named_modules() if isinstance(m, ConditionedLinear)]
    assert len(found) == 4 and all(n.endswith(("q_proj", "v_proj")) for n in found)


def test_a_seed_repeats_the_start(lab: Any) -> None:
    def inner(seed: int) -> torch.Tensor:
        model = add_tradeoff_adapter(lab.model(), ADAPTER, seed=seed)
        return torch.cat([p.flatten() for n, p in model.named_parameters() if "inner" in n])

    assert torch.equal(inner(0), inner(0)) and not torch.equal(inner(0), inner(1))


def test_comes_back_from_disk(lab: Any, tmp_path: Path) -> None:
    base, folder = tmp_path / "base", tmp_path / "policy"
    save_policy(lab.model(), lab.tokenizer(), base)
    model = conditioned(lab)
    save_policy(model, lab.tokenizer(), folder)
    assert not (folder / "model.safetensors").exists()
    for train in (False, True):
        found = load_policy(folder, base, train=train)
        trains = [n for n, p in found.named_parameters() if p.requires_grad]
        assert len(trains) == (14 * 4 if train else 0)
        for tradeoff in TRADEOFFS:
            set_tradeoff(model, tradeoff)
            set_tradeoff(found, tradeoff)
            assert torch.equal(logits(found), logits(model))


def test_another_base_is_refused(lab: Any, tmp_path: Path) -> None:
    base, folder = tmp_path / "base", tmp_path / "policy"
    save_policy(lab.model("gpt2"), lab.tokenizer(), base)
    save_policy(conditioned(lab), lab.tokenizer(), folder)
    with pytest.raises(InputError, match="does not fit the base"):
        load_policy(folder, base)
    wider = tmp_path / "wider"
    save_policy(lab.model(intermediate_size=48), lab.tokenizer(), wider)
    with pytest.raises(InputError, match="does not fit the base"):
        load_policy(folder, wider)


def test_damaged_files_are_told(lab: Any, tmp_path: Path) -> None:
    base, folder = tmp_path / "base", tmp_path / "policy"
    save_policy(lab.model(), lab.tokenizer(), base)
    for name, text in (("tradeoff_adapter.safetensors", "?"), ("tradeoff_adapter.json", "{")):
        save_policy(conditioned(lab), lab.tokenizer(), folder)
        (folder / name).write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match="cannot load a trade-off adapter"):
            load_policy(folder, base)


def test_conditioned_policies_are_neither_merged_nor_mixed(lab: Any, tmp_path: Path) -> None:
    base, folder = tmp_path / "base", tmp_path / "policy"
    save_policy(lab.model(), lab.tokenizer(), base)
    save_policy(conditioned(lab), lab.tokenizer(), folder)
    for folders in ([folder, folder], [base, folder]):
        with pytest.raises(ConfigError, match=r"merge: found .*conditioned on the trade-off"):
            merge_policies(folders, (0.5, 0.5), base)
        with pytest.raises(ConfigError, match=r"mix: found .*conditioned on the trade-off"):
            mix_policies(folders, (0.5, 0.5), base)


def test_bad_input(lab: Any, tmp_path: Path) -> None:
    model = conditioned(lab)
    for call in (set_tradeoff, merge_tradeoff, fix_tradeoff, as_lora):
        with pytest.raises(ConfigError, match="found 2 weights, expected 3"):
            call(model, (0.5, 0.5))
    with pytest.raises(InputError, match="found a model with adapters"):
        add_tradeoff_adapter(model, ADAPTER)
    with pytest.raises(InputError, match="found a model with adapters"):
        add_tradeoff_adapter(add_adapter(lab.model(), LoraSettings(), 0), ADAPTER)
    with pytest.raises(InputError, match="found no linear layer named 'no_such'"):
        add_tradeoff_adapter(lab.model(), ADAPTER, "no_such")
    layer = next(m for m in model.modules() if isinstance(m, ConditionedLinear))
    layer.base.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(ConfigError, match="found a quantized layer"):
        merge_tradeoff(model, TRADEOFFS[0])


def test_a_plain_base_has_nothing_to_set(lab: Any, tmp_path: Path) -> None:
    save_policy(lab.model(), lab.tokenizer(), tmp_path)
    assert not hasattr(load_base(tmp_path), "tradeoff_adapter")
