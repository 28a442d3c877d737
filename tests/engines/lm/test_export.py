"""What is exported is loaded by transformers and PEFT alone, and answers the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from paretune.core.adapter import TradeOffAdapter, TradeOffEmbedding
from paretune.engines.lm.export import export_policy
from paretune.engines.lm.merge import merge_policies
from paretune.engines.lm.mix import mix_policies
from paretune.engines.lm.models import add_adapter, load_base, load_policy, save_policy
from paretune.engines.lm.settings import LoraSettings
from paretune.engines.lm.state_head import StateHead, save_head
from paretune.engines.lm.tradeoff_adapter import add_tradeoff_adapter, set_tradeoff
from paretune.engines.lm.tradeoff_embedding import add_tradeoff_embedding, tell
from paretune.errors import ConfigError

IDS = torch.tensor([[5, 9, 11, 7, 30], [6, 6, 8, 39, 12]])
WEIGHTS = (0.3, 0.7)


def moved(model: Any, seed: int, part: str = "") -> Any:
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if part in name:
                parameter.add_(torch.randn(parameter.shape, generator=noise) * 0.3)
    return model.eval()


def base_of(lab: Any, folder: Path, **shape: Any) -> str:
    save_policy(moved(lab.model(**shape), 9), lab.tokenizer(), folder / "base")
    return str(folder / "base")


def picked(lab: Any, folder: Path) -> tuple[Any, str]:
    base = base_of(lab, folder)
    model = add_adapter(load_base(base, is_frozen=True), LoraSettings(4, 32.0), 0)
    save_policy(moved(model, 1, "lora_B"), lab.tokenizer(), folder / "expert-0")
    return load_policy(folder / "expert-0", base).eval(), base


def merged(lab: Any, folder: Path) -> tuple[Any, str]:
    _, base = picked(lab, folder)
    model = add_adapter(load_base(base, is_frozen=True), LoraSettings(2, 16.0), 1)
    save_policy(moved(model, 2, "lora_B"), lab.tokenizer(), folder / "expert-1")
    return merge_policies([folder / f"expert-{i}" for i in range(2)], WEIGHTS, base), base


def steered(lab: Any, folder: Path) -> tuple[Any, str]:
    base = base_of(lab, folder)
    model = add_tradeoff_adapter(load_base(base, is_frozen=True), TradeOffAdapter(2, 4, 1))
    set_tradeoff(moved(model, 5, "outer"), WEIGHTS)
    return model, base


def told(lab: Any, folder: Path) -> tuple[Any, str]:
    base = base_of(lab, folder, tie_word_embeddings=True)
    grid = ((1.0, 0.0), (0.3, 0.7))
    model = add_tradeoff_embedding(load_base(base).eval(), TradeOffEmbedding(grid, 3.0), 0)
    tell(model, 1)
    return model, base


MAKERS: dict[str, Callable[..., tuple[Any, str]]] = {
    "picked": picked, "merged": merged, "steered": steered, "told": told
}  # fmt: skip


@pytest.mark.parametrize("is_merged", [True, False])
@pytest.mark.parametrize("name", MAKERS)
@torch.no_grad()
def test_the_same_logits(lab: Any, tmp_path: Path, name: str, is_merged: bool) -> None:
    model, base = MAKERS[name](lab, tmp_path)
    expected = model(input_ids=IDS).logits.clone()
    plain = load_base(base).eval()(input_ids=IDS).logits
    assert (expected - plain).abs().max() > 1e-2
    out = tmp_path / "out"
    kind = export_policy(model, lab.tokenizer(), base, out, is_merged=is_merged, weights=WEIGHTS)
    assert kind == ("model" if is_merged or name == "told" else "adapter")
    if kind == "model":
        loaded: Any = AutoModelForCausalLM.from_pretrained(out)
    else:
        loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out)
    found = loaded.eval()(input_ids=IDS).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not [f for f in out.rglob("*") if f.suffix in (".bin", ".pt")]
    assert not [f for f in out.iterdir() if f.is_dir() or "tradeoff" in f.name]
    assert (out / "tokenizer.json").exists()


def test_what_no_plain_model_says_is_refused(lab: Any, tmp_path: Path) -> None:
    _, base = merged(lab, tmp_path)
    mixed = mix_policies([tmp_path / f"expert-{i}" for i in range(2)], WEIGHTS, base)
    with pytest.raises(ConfigError, match="mixed at decoding"):
        export_policy(mixed, lab.tokenizer(), base, tmp_path / "out", is_merged=True)
    width = lab.model().config.hidden_size
    save_head(StateHead(torch.zeros(3, width), torch.zeros(width, 3)), base, tmp_path / "head")
    headed = load_policy(tmp_path / "head", base)
    with pytest.raises(ConfigError, match="a head on a frozen trunk"):
        export_policy(headed, lab.tokenizer(), base, tmp_path / "out", is_merged=False)
