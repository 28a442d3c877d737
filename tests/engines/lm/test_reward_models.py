"""Reward models learn an order that can be learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from paretune.engines.lm.encode import Ragged
from paretune.engines.lm.models import save_policy
from paretune.engines.lm.reward_models import (
    PairTexts,
    new_reward_model,
    pair_accuracy,
    train_reward_model,
)
from paretune.engines.lm.settings import TrainSettings

SETTINGS = TrainSettings(learning_rate=1e-2, batch_size=16, steps=40, precision="float32")


def toy_pairs(n: int, seed: int) -> PairTexts:
    """The chosen side has more of token 7 than the rejected one."""
    rng = np.random.default_rng(seed)

    def side(count: int) -> list[int]:
        others = rng.integers(8, 40, rng.integers(3, 9)).tolist()
        return [*rng.permutation([*others, *[7] * count]).tolist(), 2]

    return PairTexts(
        Ragged.of([side(int(rng.integers(2, 5))) for _ in range(n)]),
        Ragged.of([side(int(rng.integers(0, 2))) for _ in range(n)]),
    )


@pytest.fixture
def base(lab: Any, tmp_path: Path) -> str:
    save_policy(lab.model(), lab.tokenizer(), tmp_path / "base")
    return str(tmp_path / "base")


def test_accuracy_on_unseen_pairs_rises_above_chance(lab: Any, base: str, tmp_path: Path) -> None:
    model, unseen = new_reward_model(base, lab.pad, seed=0), toy_pairs(64, seed=1)
    before = pair_accuracy(model, unseen, lab.pad)
    lines: list[dict[str, float]] = []
    train_reward_model(
        model, toy_pairs(160, seed=0), lab.pad, SETTINGS, tmp_path,
        lambda step, steps, numbers: lines.append(dict(numbers)),
    )  # fmt: skip
    after = pair_accuracy(model, unseen, lab.pad)
    assert after > 0.9 > before
    assert lines[-1]["accuracy"] > lines[0]["accuracy"]
    assert lines[-1]["loss"] < np.log(2) < lines[0]["loss"] + 0.2


def test_a_reward_model_starts_as_its_base(lab: Any, base: str) -> None:
    model, again, other = (new_reward_model(base, lab.pad, seed) for seed in (0, 0, 1))
    for name, parameter in lab.model().model.named_parameters():
        assert torch.equal(model.model.get_parameter(name), parameter)
    assert torch.equal(model.score.weight, again.score.weight)
    assert not torch.equal(model.score.weight, other.score.weight)
    assert model.config.num_labels == 1


def test_the_same_seed_gives_the_same_reward_model(lab: Any, base: str, tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        model = new_reward_model(base, lab.pad, seed=0)
        train_reward_model(model, toy_pairs(32, seed=0), lab.pad, SETTINGS, tmp_path)
        found.append(model)
    for one, other in zip(found[0].parameters(), found[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_padding_does_not_change_a_reward(lab: Any, base: str) -> None:
    model = new_reward_model(base, lab.pad, seed=0)
    pairs = toy_pairs(9, seed=2)
    assert pair_accuracy(model, pairs, lab.pad, batch_size=1) == pair_accuracy(
        model, pairs, lab.pad, batch_size=9
    )


def test_a_tie_counts_half(lab: Any, base: str) -> None:
    model = new_reward_model(base, lab.pad, seed=0)
    same = toy_pairs(4, seed=3).chosen
    assert pair_accuracy(model, PairTexts(same, same), lab.pad) == 0.5


def test_a_reward_model_comes_back_from_disk(lab: Any, base: str, tmp_path: Path) -> None:
    model = new_reward_model(base, lab.pad, seed=0)
    save_policy(model, lab.tokenizer(), tmp_path / "rm")
    found = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm")
    assert torch.equal(found.score.weight, model.score.weight)
    assert found.config.pad_token_id == lab.pad
