"""Stacked adapters, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from paretune.engines.lm.adapter_rows import RowLora, can_stack, stack_adapters


def test_every_block_has_its_own_update() -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 10.0]]))
        inner = torch.tensor([[[1.0], [0.0]], [[0.0], [2.0]]])
        outer = torch.tensor([[[100.0]], [[1000.0]]])
        found = RowLora(layer, inner, outer, n_blocks=3)(torch.tensor([[1.0, 2.0]] * 3))
    # 1 + 20, plus 1 * 100, plus 2 * 2 * 1000, and the base alone.
    assert found.tolist() == [[121.0], [4021.0], [21.0]]


@pytest.fixture
def two(lab: Any) -> Any:
    """A model with two adapters: one of rank 2 on two layers, one of rank 3 on one of them."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        lab.model(), LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "v_proj"]), "first"
    )
    model.add_adapter("second", LoraConfig(r=3, lora_alpha=3, target_modules=["q_proj"]))
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=noise))
    return model.eval()


@torch.no_grad()
def test_blocks_are_the_adapters_one_by_one(lab: Any, two: Any) -> None:
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    expected = []
    for name in ("second", "first"):
        two.set_adapter(name)
        expected.append(two(input_ids=ids).logits)
    expected.append(lab.model()(input_ids=ids).logits)
    assert can_stack(two)
    stacked = stack_adapters(two, ["second", "first"], n_blocks=3).eval()
    found = stacked(input_ids=ids.repeat(3, 1)).logits
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 0.01


@pytest.mark.filterwarnings("ignore::peft.utils.warning.PeftWarning")
@pytest.mark.parametrize(
    "more",
    [{"use_dora": True}, {"lora_bias": True}, {"modules_to_save": ["lm_head"]},
     {"target_modules": ["embed_tokens"]}],
)  # fmt: skip
def test_what_cannot_be_stacked(lab: Any, more: dict[str, Any]) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, **({"target_modules": ["q_proj"]} | more))
    assert not can_stack(get_peft_model(lab.model(), config))


def test_a_plain_model_has_nothing_to_stack(lab: Any) -> None:
    assert not can_stack(lab.model())
