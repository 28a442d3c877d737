"""Heads: policies that share a backbone, saved by themselves and mixed exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from paretune.core.job import Head
from paretune.engines.lm.forward import head_logps, response_states
from paretune.engines.lm.heads import HeadedScorer
from paretune.engines.lm.merge import merge_policies
from paretune.engines.lm.models import add_adapter, load_policy, n_parameters, save_policy
from paretune.engines.lm.reference import reference_logps
from paretune.engines.lm.settings import LoraSettings
from paretune.errors import InputError

ROWS = np.arange(24)[:, None]
LORA = LoraSettings(rank=4, alpha=8)


def scorer(lab: Any, kind: Literal["lm_head", "adapter"], lora: Any = None, tied: Any = False):
    model = lab.model(tie_word_embeddings=tied)
    if lora is not None:
        model = add_adapter(model, lora, seed=0)
    heads = (Head(kind, 3), Head(kind, 3))
    return HeadedScorer(model, heads, lab.encoded(12), ROWS, lab.pad)


@torch.no_grad()
def shaken(policies: HeadedScorer) -> HeadedScorer:
    """Every parameter that trains moved a little."""
    torch.manual_seed(0)
    for parameter in policies.parameters():
        if parameter.requires_grad:
            parameter.add_(0.05 * torch.randn_like(parameter))
    return policies


@pytest.mark.parametrize("kind", ["lm_head", "adapter"])
def test_heads_start_as_the_model_itself(lab: Any, kind: Any) -> None:
    data = lab.encoded(12)
    policies = scorer(lab, kind)
    rows = policies.pack(data, ROWS.reshape(-1, 2), lab.pad)
    alone = reference_logps(lab.model(), data, ROWS[:, 0], lab.pad)
    with torch.no_grad():
        for logps in policies(rows):
            assert logps.numpy() == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize("kind", ["lm_head", "adapter"])
def test_saved_policies_answer_alone_and_mix_exactly(
    lab: Any, tmp_path: Path, kind: Any, lora: Any, tied: bool
) -> None:
    data = lab.encoded(12)
    save_policy(lab.model(tie_word_embeddings=tied), lab.tokenizer(), tmp_path / "base")
    policies = shaken(scorer(lab, kind, lora, tied)).eval()
    rows = policies.pack(data, ROWS, lab.pad)
    folders = [tmp_path / "first", tmp_path / "second"]
    policies.save(lab.tokenizer(), folders)
    with torch.no_grad():
        together = policies(rows).numpy()
        states = response_states(policies.model, rows)
        mixed = head_logps(Mixture(policies.heads, (0.3, 0.7)), states, rows).numpy()
    assert np.abs(together[0] - together[1]).max() > 0.1
    for folder, expected in zip(folders, together, strict=True):
        alone = load_policy(folder, tmp_path / "base")
        found = reference_logps(alone, data, ROWS[:, 0], lab.pad)
        assert found == pytest.approx(expected, abs=1e-4)
    merged = merge_policies(folders, (0.3, 0.7), tmp_path / "base")
    assert reference_logps(merged, data, ROWS[:, 0], lab.pad) == pytest.approx(mixed, abs=1e-4)


class Mixture(torch.nn.Module):
    """Weighted logits of heads: what mixing log-probabilities means token by token."""

    def __init__(self, heads: Any, weights: tuple[float, ...]) -> None:
        super().__init__()
        self.heads, self.mix = heads, weights
        self.out_features = heads[0].out_features

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return sum(w * head(states) for w, head in zip(self.mix, self.heads, strict=True))


def test_an_adapter_head_trains_few_parameters(lab: Any) -> None:
    own, low = scorer(lab, "lm_head", LORA), scorer(lab, "adapter", LORA)
    backbone = n_parameters(add_adapter(lab.model(), LORA, 0), trainable=True)
    assert n_parameters(own, trainable=True) == backbone + 2 * 40 * 16
    assert n_parameters(low, trainable=True) == backbone + 2 * 3 * (40 + 16)


def test_one_policy_needs_no_head(lab: Any, tmp_path: Path) -> None:
    data, model = lab.encoded(12), lab.model()
    alone = HeadedScorer(model, (None,), data, ROWS, lab.pad)
    logps = alone(alone.pack(data, ROWS, lab.pad)).detach().numpy()
    assert logps.shape == (1, 24)
    assert logps[0] == pytest.approx(reference_logps(model, data, ROWS[:, 0], lab.pad), abs=1e-5)
    alone.save(lab.tokenizer(), [tmp_path / "one"])
    assert (tmp_path / "one" / "model.safetensors").exists()


def test_architectures_that_bend_their_logits_share_nothing(lab: Any) -> None:
    data, model = lab.encoded(12), lab.model("gemma2")
    with pytest.raises(InputError, match="not one layer applied to its last hidden state"):
        HeadedScorer(model, (Head(), Head()), data, ROWS, lab.pad)
    assert HeadedScorer(model, (None,), data, ROWS, lab.pad).n_policies == 1
