"""Packed rows give the log-probabilities of separate rows; where they cannot, they are not used."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from paretune.engines.lm.batches import pack_rows
from paretune.engines.lm.forward import (
    ResponseScorer,
    autocast,
    fast_dtype,
    is_exact,
    own_logps,
    response_logps,
    scorer_for,
)
from paretune.errors import ConfigError

PACKED = ["llama", "gpt2", "qwen2", "mistral", "gpt_neox"]
NOT_PACKED = ["mistral_window", "gemma2", "bloom", "mamba"]
PAIRS = np.arange(12).reshape(6, 2)


def by_hand(model: Any, data: Any, response: int) -> float:
    """One response through the model's own forward, token log-probabilities picked and added."""
    prompt = data.prompts[int(data.prompt_of[response])]
    reply = data.responses[response]
    ids = torch.from_numpy(np.concatenate([prompt, reply]).astype(np.int64))[None]
    with torch.no_grad():
        logps = log_softmax(model(input_ids=ids).logits[0], dim=-1)
    places = range(len(prompt) - 1, ids.shape[1] - 1)
    return float(sum(logps[t, ids[0, t + 1]] for t in places))


@pytest.mark.parametrize("name", PACKED)
def test_packed_pairs_equal_separate_rows(lab: Any, name: str) -> None:
    model, data = lab.model(name).eval(), lab.encoded(6)
    scorer = scorer_for(model, data, PAIRS, lab.pad)
    assert scorer.is_packed
    rows = scorer.pack(data, PAIRS, lab.pad)
    assert len(rows.input_ids) == 6
    expected = [by_hand(model, data, n) for n in range(12)]
    torch.testing.assert_close(scorer(rows).detach(), torch.tensor(expected), atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("name", NOT_PACKED)
def test_other_architectures_fall_back_to_their_own_forward(lab: Any, name: str) -> None:
    model, data = lab.model(name).eval(), lab.encoded(6)
    scorer = scorer_for(model, data, PAIRS, lab.pad)
    assert not scorer.is_packed
    rows = scorer.pack(data, PAIRS, lab.pad)
    assert len(rows.input_ids) == 12
    expected = [by_hand(model, data, n) for n in range(12)]
    torch.testing.assert_close(scorer(rows).detach(), torch.tensor(expected), atol=1e-5, rtol=1e-6)


def test_a_window_that_no_row_reaches_does_not_matter(lab: Any) -> None:
    data = lab.encoded(6)
    model = lab.model("mistral_window", sliding_window=60).eval()
    assert scorer_for(model, data, PAIRS, lab.pad).is_packed


def test_soft_capping_is_seen_though_fresh_logits_are_small(lab: Any) -> None:
    rows = pack_rows(lab.encoded(6), PAIRS, lab.pad)
    assert not is_exact(lab.model("gemma2").eval(), rows)
    uncapped = lab.model("gemma2", final_logit_softcapping=None, sliding_window=64).eval()
    assert is_exact(uncapped, rows)


def test_the_probe_leaves_the_model_as_it_was(lab: Any) -> None:
    model, data = lab.model().train(), lab.encoded(6)
    ids = torch.tensor([[5, 6, 7]])
    before = model(input_ids=ids).logits
    scorer_for(model, data, PAIRS, lab.pad)
    assert model.training
    assert torch.equal(model(input_ids=ids).logits, before)


@pytest.mark.parametrize("is_packed", [True, False])
def test_gradients_equal_those_of_separate_rows(lab: Any, is_packed: bool) -> None:
    model, data = lab.model(), lab.encoded(6)
    pairs, singles = pack_rows(data, PAIRS, lab.pad), pack_rows(data, PAIRS.reshape(-1, 1), lab.pad)
    weight = torch.linspace(-1, 1, 12)
    (own_logps(model, singles) * weight).sum().backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    logps = response_logps(model, pairs) if is_packed else response_logps(model, singles)
    (logps * weight).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4)


def test_a_pair_never_sees_its_other_response(lab: Any) -> None:
    model, data = lab.model().eval(), lab.encoded(6)
    scorer = ResponseScorer(model, is_packed=True)
    base = scorer(scorer.pack(data, PAIRS, lab.pad))
    swapped = scorer(scorer.pack(data, PAIRS[:, ::-1].copy(), lab.pad))
    torch.testing.assert_close(swapped.view(6, 2).flip(1).flatten(), base, atol=1e-5, rtol=1e-6)


def test_the_head_in_pieces_gives_the_same(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = lab.model().eval(), pack_rows(lab.encoded(6), PAIRS, lab.pad)
    whole = response_logps(model, rows)
    monkeypatch.setattr("paretune.engines.lm.forward._HEAD_CELLS", 7 * lab.vocabulary)
    torch.testing.assert_close(response_logps(model, rows), whole, atol=1e-6, rtol=1e-6)


def test_bfloat16_masks_are_finite(lab: Any) -> None:
    model, rows = lab.model().eval(), pack_rows(lab.encoded(6), PAIRS, lab.pad)
    exact = response_logps(model, rows)
    with autocast("cpu", torch.bfloat16):
        rough = response_logps(model, rows)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, atol=0.3, rtol=0.02)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_model_in_half_precision_is_packed_too(lab: Any, attention: str) -> None:
    model, data = lab.model().eval(), lab.encoded(6)
    exact = response_logps(model, pack_rows(data, PAIRS, lab.pad))
    model.set_attn_implementation(attention)
    scorer = scorer_for(model.bfloat16(), data, PAIRS, lab.pad)
    assert scorer.is_packed
    found = scorer(scorer.pack(data, PAIRS, lab.pad))
    torch.testing.assert_close(found, exact, atol=0.3, rtol=0.02)
    capped = lab.model("gemma2").bfloat16().eval()
    assert not scorer_for(capped, data, PAIRS, lab.pad).is_packed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_compiled_blocks_give_the_same_numbers(lab: Any) -> None:
    model, data = lab.model(), lab.encoded(12)
    names = [n for n, _ in model.named_parameters()]
    weight = torch.linspace(-1, 1, 24)

    def run(is_compiled: bool, pairs: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
        scorer = scorer_for(model, data, pairs, lab.pad, is_compiled)
        assert [n for n, _ in scorer.named_parameters()] == [f"model.{n}" for n in names]
        logps = scorer(scorer.pack(data, pairs, lab.pad))
        gradients = torch.autograd.grad((logps * weight[: len(logps)]).sum(), model.parameters())
        return logps.detach(), list(gradients)

    pairs = np.arange(24).reshape(12, 2)
    for part in (pairs, pairs[:5], pairs[3:11]):  # batches of several shapes
        for found, expected in zip(run(True, part), run(False, part), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_compiling_needs_a_compiler(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"train\.compile: found no C\+\+ compiler"):
        scorer_for(lab.model(), lab.encoded(6), PAIRS, lab.pad, is_compiled=True)


def test_fast_dtype_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    assert fast_dtype("cpu") is torch.bfloat16
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True}, raising=False)
    assert fast_dtype("cpu") is torch.float32
