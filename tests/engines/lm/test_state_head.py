"""Heads as policies: attached, saved, loaded, mixed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.engines.lm.encode import Ragged
from paretune.engines.lm.generate import Decoding, generate
from paretune.engines.lm.merge import merge_policies
from paretune.engines.lm.models import load_policy, save_policy
from paretune.engines.lm.reference import reference_logps
from paretune.engines.lm.state_head import (
    CONFIG,
    HEAD,
    StateHead,
    attach_head,
    load_head,
    mix_heads,
    save_head,
    start_factors,
)
from paretune.errors import ConfigError, InputError

IDS = torch.tensor([[1, 5, 6, 7, 8]])


def head(seed: int, width: int = 16, rank: int = 3) -> StateHead:
    generator = torch.Generator().manual_seed(seed)
    inner = torch.randn(rank, width, generator=generator)
    return StateHead(inner, torch.randn(width, rank, generator=generator) / 4)


def logps(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return torch.log_softmax(model(input_ids=IDS).logits, -1)


@pytest.fixture
def base(lab: Any, tmp_path: Path) -> Path:
    save_policy(lab.model(), lab.tokenizer(), tmp_path / "base")
    return tmp_path / "base"


def saved(folder: Path, seed: int) -> Path:
    save_head(head(seed), "the base", folder)
    return folder


def test_by_hand() -> None:
    # One direction: silu(2) = 2 / (1 + exp(-2)) goes onto the second coordinate, three times.
    one = StateHead(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0], [3.0]]))
    moved = one(torch.tensor([2.0, 5.0]))
    assert moved.tolist() == pytest.approx([2.0, 5.0 + 3 * 2 / (1 + np.exp(-2))])


def test_a_head_that_has_not_moved_is_the_trunk(lab: Any) -> None:
    plain, model = lab.model(), lab.model()
    inner, outer = start_factors(16, 4, 0, torch.float32)
    assert float(inner.abs().max()) <= 0.25
    attach_head(model, StateHead(inner, outer))
    assert torch.equal(logps(model), logps(plain))


def test_saved_it_is_two_small_files_and_loads_as_it_was(base: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path / "policy", 0)
    assert sorted(f.name for f in folder.iterdir()) == [CONFIG, HEAD]
    model = load_policy(folder, base)
    expected = attach_head(load_policy(base, base), head(0))
    assert torch.equal(logps(model), logps(expected))
    assert not torch.allclose(logps(model), logps(load_policy(base, base)), atol=1e-2)


def test_it_generates_and_is_scored_like_any_policy(lab: Any, base: Path, tmp_path: Path) -> None:
    model = load_policy(saved(tmp_path / "policy", 0), base)
    prompts = Ragged.of([[5, 6], [7, 8, 9]])
    fast = generate(model, prompts, lab.eos, lab.pad, Decoding(6, temperature=0.0))
    slow = model.generate(
        torch.tensor([[7, 8, 9]]), max_new_tokens=6, do_sample=False, pad_token_id=lab.pad
    )
    reply = slow[0, 3:].tolist()
    assert fast[1][0] == (reply[: reply.index(lab.eos)] if lab.eos in reply else reply)
    data = lab.encoded(6)
    found = reference_logps(model, data, np.arange(12), lab.pad)
    for row in (0, 7):
        ids = [*data.prompts[int(data.prompt_of[row])], *data.responses[row]]
        with torch.no_grad():
            own = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], -1)
        at = len(ids) - len(data.responses[row])
        expected = sum(float(own[n - 1, ids[n]]) for n in range(at, len(ids)))
        assert found[row] == pytest.approx(expected, abs=1e-4)


def test_a_mixture_of_heads_is_the_mixture_of_policies(base: Path, tmp_path: Path) -> None:
    folders = [saved(tmp_path / str(seed), seed) for seed in (0, 1, 2)]
    weights = (0.5, 0.2, 0.3)
    mixed = logps(merge_policies(folders, weights, base))
    apart = torch.stack([logps(load_policy(f, base)) for f in folders])
    expected = torch.log_softmax((torch.tensor(weights)[:, None, None, None] * apart).sum(0), -1)
    assert torch.allclose(mixed, expected, atol=1e-5)
    alone = merge_policies(folders, (0.0, 1.0, 0.0), base)
    assert torch.equal(logps(alone), apart[1])


def test_weights_of_a_mixture_sum_to_one() -> None:
    with pytest.raises(ConfigError, match=r"found weights \[0.5, 0.4\], expected a sum of 1"):
        mix_heads([head(0), head(1)], (0.5, 0.4))


def test_heads_and_whole_models_do_not_merge(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found heads and other policies together"):
        merge_policies([saved(tmp_path / "one", 0), base], (0.5, 0.5), base)


def test_a_head_does_not_go_on_training(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found a head on a frozen trunk"):
        load_policy(saved(tmp_path / "one", 0), base, train=True)


def test_what_does_not_fit_is_told(lab: Any, tmp_path: Path) -> None:
    folder = saved(tmp_path / "one", 0)
    with pytest.raises(InputError, match=r"found a head of width 16, expected 32.*'the base'"):
        load_head(folder, lab.model(hidden_size=32))
    facts = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(facts | {"activation": "gelu"}))
    with pytest.raises(InputError, match="activation 'gelu'; expected 'state', 1, 'silu'"):
        load_head(folder, lab.model())
    (folder / HEAD).write_bytes(b"torn")
    with pytest.raises(InputError, match="one: cannot load a head"):
        load_head(folder, lab.model())
