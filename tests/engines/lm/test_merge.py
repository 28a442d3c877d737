"""Merged policies are exact weighted sums of updates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from paretune.engines.lm.merge import merge_policies
from paretune.engines.lm.models import add_adapter, save_policy
from paretune.engines.lm.settings import LoraSettings
from paretune.errors import ConfigError

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def random_update(model: Any, seed: int, part: str) -> Any:
    """The model with noise on the parameters named by ``part``."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if part in name:
                parameter.add_(torch.randn(parameter.shape, generator=noise) * 0.1)
    return model


def adapter(lab: Any, seed: int) -> Any:
    return random_update(add_adapter(lab.model(), LoraSettings(rank=4), seed), seed, "lora_B")


@pytest.fixture(params=["full", "lora"])
def experts(request: pytest.FixtureRequest, lab: Any, tmp_path: Path) -> list[Path]:
    """Two experts and their base, saved; the last folder is the base."""
    folders = [tmp_path / name for name in ("one", "two", "base")]
    for seed, folder in enumerate(folders[:2], start=1):
        is_full = request.param == "full"
        model = random_update(lab.model(), seed, "") if is_full else adapter(lab, seed)
        save_policy(model, lab.tokenizer(), folder)
    save_policy(lab.model(), lab.tokenizer(), folders[2])
    return folders


def logits(folders: list[Path], weights: Sequence[float]) -> torch.Tensor:
    merged = merge_policies(folders[:-1], weights, folders[-1])
    assert not merged.training
    with torch.no_grad():
        return merged(input_ids=IDS).logits


def update(model: Any, base: Any) -> dict[str, torch.Tensor]:
    """What a policy adds to each matrix of its base."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    after, before = model.state_dict(), base.state_dict()
    return {name: after[name] - before[name] for name in before}


def test_a_corner_is_its_expert_to_the_bit(lab: Any, experts: list[Path]) -> None:
    from paretune.engines.lm.models import load_policy

    for corner, folder in (((1.0, 0.0), experts[0]), ((0.0, 1.0), experts[1])):
        with torch.no_grad():
            expert = load_policy(folder, experts[-1]).eval()(input_ids=IDS).logits
        assert torch.equal(logits(experts, corner), expert)


def test_weights_change_the_policy(experts: list[Path]) -> None:
    one, half, two = (logits(experts, (w, 1 - w)) for w in (1.0, 0.5, 0.0))
    assert (half - one).abs().max() > 1e-3
    assert (half - two).abs().max() > 1e-3


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.3, 0.7), (0.9, 0.1)])
def test_the_update_is_the_weighted_sum_of_updates(
    lab: Any, experts: list[Path], weights: tuple[float, float]
) -> None:
    from paretune.engines.lm.models import load_policy

    base = lab.model()
    one, two = (update(load_policy(f, experts[-1]), base) for f in experts[:2])
    merged = update(merge_policies(experts[:2], weights, experts[-1]), base)
    for name in one:
        expected = weights[0] * one[name] + weights[1] * two[name]
        error = (merged[name] - expected).norm()
        assert error < 1e-6 * (1 + expected.norm()), name
    assert any(delta.abs().max() > 1e-2 for delta in merged.values())


def test_three_experts(lab: Any, tmp_path: Path) -> None:
    from paretune.engines.lm.models import load_policy

    folders = [tmp_path / name for name in ("one", "two", "three", "base")]
    for seed, folder in enumerate(folders[:3]):
        save_policy(adapter(lab, seed), lab.tokenizer(), folder)
    save_policy(lab.model(), lab.tokenizer(), folders[3])
    weights, base = (0.2, 0.0, 0.8), lab.model()
    updates = [update(load_policy(f, folders[-1]), base) for f in folders[:3]]
    merged = update(merge_policies(folders[:3], weights, folders[-1]), base)
    for name in merged:
        expected = sum(w * u[name] for w, u in zip(weights, updates, strict=True))
        torch.testing.assert_close(merged[name], expected, atol=1e-6, rtol=0)


def test_averaging_factors_would_be_wrong(lab: Any, experts: list[Path]) -> None:
    # Why factors are stacked and not averaged: the mean of B_i A_i is not mean(B) mean(A).
    first, second = adapter(lab, 1), adapter(lab, 2)
    layers = [m.base_model.model.model.layers[0].self_attn.q_proj for m in (first, second)]  # type: ignore[union-attr]
    a, b = ([getattr(x, f"lora_{f}")["default"].weight for x in layers] for f in "AB")
    exact = (b[0] @ a[0] + b[1] @ a[1]) / 2
    naive = (b[0] + b[1]) / 2 @ ((a[0] + a[1]) / 2)
    assert (naive - exact).norm() > 0.5 * exact.norm()


@pytest.mark.filterwarnings("ignore::peft.utils.warning.PeftWarning")
@pytest.mark.parametrize("flaw", ["use_rslora", "use_dora", "lora_bias"])
def test_adapters_without_an_exact_sum_are_refused(lab: Any, tmp_path: Path, flaw: str) -> None:
    from peft import LoraConfig, get_peft_model

    folders = [tmp_path / name for name in ("one", "two", "base")]
    for folder, is_flawed in ((folders[0], False), (folders[1], True)):
        config = LoraConfig(r=4, target_modules=["q_proj"], **({flaw: True} if is_flawed else {}))
        save_policy(get_peft_model(lab.model(), config), lab.tokenizer(), folder)
    save_policy(lab.model(), lab.tokenizer(), folders[2])
    with pytest.raises(ConfigError, match=f"two: found {flaw}, expected plain LoRA"):
        merge_policies(folders[:2], (0.5, 0.5), folders[2])


def test_adapters_that_train_more_than_factors_are_refused(lab: Any, tmp_path: Path) -> None:
    from peft import IA3Config, LoraConfig, get_peft_model

    save_policy(adapter(lab, 1), lab.tokenizer(), tmp_path / "plain")
    modules = {"target_modules": ["q_proj", "down_proj"]}
    kinds = {
        "bias 'all'": LoraConfig(bias="all", **modules),
        "modules_to_save": LoraConfig(modules_to_save=["norm"], **modules),
        "IA3": IA3Config(feedforward_modules=["down_proj"], **modules),
    }
    for name, config in kinds.items():
        folder = tmp_path / "other"
        save_policy(get_peft_model(lab.model(), config), lab.tokenizer(), folder)
        with pytest.raises(ConfigError, match=f"found {name}, expected plain LoRA"):
            merge_policies([tmp_path / "plain", folder], (0.5, 0.5), tmp_path)


def test_adapters_and_full_models_do_not_mix(lab: Any, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    save_policy(adapter(lab, 1), lab.tokenizer(), one)
    save_policy(lab.model(), lab.tokenizer(), two)
    with pytest.raises(ConfigError, match="adapters and full models together"):
        merge_policies([one, two], (0.5, 0.5), two)


def test_policies_of_different_bases_are_refused(lab: Any, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    save_policy(lab.model(), lab.tokenizer(), one)
    save_policy(lab.model("gpt2"), lab.tokenizer(), two)
    with pytest.raises(ConfigError, match=r"merge: found policies of different bases: kind and si"):
        merge_policies([one, two], (0.5, 0.5), one)
