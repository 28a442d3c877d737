"""The frozen trunk: what one pass reads, where it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.engines.lm.encode import Encoded, Ragged
from paretune.engines.lm.models import add_adapter
from paretune.engines.lm.reference import reference_logps
from paretune.engines.lm.settings import LoraSettings
from paretune.engines.lm.trunk import Trunk, read_trunk
from paretune.errors import InputError


def several(counts: tuple[int, ...] = (1, 2, 5, 9), seed: int = 0) -> Encoded:
    """Prompts with that many responses each."""
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(5, 40, rng.integers(1, 7)) for _ in counts]
    replies = [[*rng.integers(5, 40, rng.integers(0, 9)), 2] for _ in range(sum(counts))]
    return Encoded(
        Ragged.of(prompts), Ragged.of(replies), np.repeat(np.arange(len(counts)), counts)
    )


def read(lab: Any, model: Any, data: Encoded, folder: Path, **more: Any) -> Trunk:
    options = {"dtype": torch.float32, "memory": 1e9, "folder": folder} | more
    responses = options.pop("responses", np.arange(len(data.responses)))
    return read_trunk(model, data, responses, lab.pad, **options)


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen2", "gpt_neox"])
def test_the_pass_gives_the_reference(lab: Any, tmp_path: Path, name: str) -> None:
    model, data = lab.model(name), several()
    found = read(lab, model, data, tmp_path, tokens_per_batch=40)
    expected = reference_logps(model, data, np.arange(17), lab.pad)
    assert np.abs(found.logps - expected).max() < 1e-4


def test_states_are_those_before_the_output_layer(lab: Any, tmp_path: Path) -> None:
    model, data = lab.model(), several()
    found = read(lab, model, data, tmp_path)
    for row in (0, 4, 16):
        prompt, reply = data.prompts[int(data.prompt_of[row])], data.responses[row]
        ids = torch.tensor([[*prompt, *reply]])
        with torch.no_grad():
            states = model.model(input_ids=ids).last_hidden_state[0, len(prompt) - 1 : -1]
        start = found.start[row]
        assert torch.allclose(found.states[start : start + len(reply)], states, atol=1e-5)


def test_only_what_is_needed_is_read(lab: Any, tmp_path: Path) -> None:
    data, some = several(), np.array([0, 3, 4, 16])
    found = read(lab, lab.model(), data, tmp_path, responses=some)
    assert np.array_equal(np.flatnonzero(found.start >= 0), some)
    assert np.array_equal(np.flatnonzero(~np.isnan(found.logps)), some)
    assert len(found.states) == data.responses.lengths[some].sum()
    # Prompts 0, 2 (twice over) and 3: responses 3 and 4 share theirs.
    prompts = data.prompts.lengths[[0, 2, 3]].sum()
    assert found.tokens == prompts + data.responses.lengths[some].sum()


def test_on_disk_the_same_numbers_and_no_file_is_left(lab: Any, tmp_path: Path) -> None:
    model = lab.model()
    # Two data sets, or the second would be given what the first has read.
    inside = read(lab, model, several(), tmp_path)
    outside = read(lab, model, several(), tmp_path / "map", memory=0.0)
    assert torch.equal(inside.states, outside.states)
    assert np.array_equal(inside.logps, outside.logps)
    assert not any((tmp_path / "map").iterdir())


def test_a_group_with_the_same_rows_finds_it_read(lab: Any, tmp_path: Path) -> None:
    model, data = lab.model(), several()
    first = read(lab, model, data, tmp_path)
    assert read(lab, lab.model(), data, tmp_path) is first
    assert read(lab, model, data, tmp_path, responses=np.arange(5)) is not first
    again = read(lab, model, data, tmp_path)
    with torch.no_grad():
        model.model.norm.weight += 1
    moved = read(lab, model, data, tmp_path)
    assert moved is not again
    assert not torch.equal(moved.states, again.states)


def test_half_precision_is_kept_in_full_on_a_cpu(lab: Any, tmp_path: Path) -> None:
    found = read(lab, lab.model(), several(), tmp_path, dtype=torch.bfloat16)
    assert found.states.dtype is torch.float32
    assert found.weight.dtype is torch.bfloat16
    exact = read(lab, lab.model(), several(), tmp_path)
    assert np.abs(found.logps - exact.logps).max() < 0.1


@pytest.mark.parametrize("name", ["gemma2", "mamba"])
def test_other_outputs_are_refused(lab: Any, tmp_path: Path, name: str) -> None:
    shape = {"final_logit_softcapping": 1.0} if name == "gemma2" else {}
    with pytest.raises(InputError, match="whose logits are not one plain layer applied"):
        read(lab, lab.model(name, **shape), several(), tmp_path)


def test_adapters_are_refused(lab: Any, tmp_path: Path) -> None:
    model = add_adapter(lab.model(), LoraSettings(rank=2), 0)
    with pytest.raises(InputError, match="expected a base without adapters"):
        read(lab, model, several(), tmp_path)


def test_double_precision_stays(lab: Any, tmp_path: Path) -> None:
    found = read(lab, lab.model().double(), several(), tmp_path)
    assert found.states.dtype is torch.float64
    exact = reference_logps(lab.model().double(), several(), np.arange(17), lab.pad)
    # Llama turns its positions in float32.
    assert np.abs(found.logps - exact).max() < 1e-7
