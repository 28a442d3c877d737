"""Replies: the tokens and the distribution of Hugging Face's own generation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from paretune.engines.lm.encode import Ragged
from paretune.engines.lm.generate import Decoding, generate
from paretune.engines.lm.models import add_adapter
from paretune.engines.lm.settings import LoraSettings
from paretune.errors import ConfigError

EOS, PAD = 2, 0
PROMPTS = Ragged.of([[5, 6, 7], [8], [9, 10, 11, 12, 13, 14], [15, 16], [17, 18, 19, 20]])
GREEDY = Decoding(max_new_tokens=12, temperature=0.0)


def loud(model: Any) -> Any:
    """A model with opinions: a random one is nearly uniform, and ties hide mistakes."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6.0)
    return model.eval()


def likes_to_end(model: Any, factor: float) -> Any:
    """A model whose replies end after a few tokens, some at once."""
    head = model.get_output_embeddings()
    bias = torch.zeros(head.out_features)
    bias[EOS] = factor
    head.register_forward_hook(lambda module, args, out: out + bias.to(out.dtype))
    return model


def by_hugging_face(model: Any, prompts: Ragged, max_new_tokens: int) -> list[list[int]]:
    width = int(prompts.lengths.max())
    ids = torch.full((len(prompts), width), PAD)
    for row in range(len(prompts)):
        ids[row, width - len(prompts[row]) :] = torch.from_numpy(prompts[row].astype(np.int64))
    mask = torch.zeros_like(ids)
    for row, n in enumerate(prompts.lengths):
        mask[row, width - n :] = 1
    out = model.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=max_new_tokens,
        eos_token_id=EOS, pad_token_id=PAD,
    )  # fmt: skip
    replies = out[:, width:].tolist()
    return [r[: r.index(EOS)] if EOS in r else r for r in replies]


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("llama", 8), ("gpt2", 8), ("qwen2", 8), ("mistral_window", 8), ("gpt_neox", 8),
        ("gemma2", 1), ("bloom", 12), ("mamba", 8),
    ],
)  # fmt: skip
def test_greedy_equals_hugging_face(lab: Any, name: str, factor: float) -> None:
    model = likes_to_end(loud(lab.model(name)), factor)
    expected = by_hugging_face(model, PROMPTS, 12)
    found = generate(model, PROMPTS, EOS, PAD, GREEDY)
    assert [r[0] for r in found] == expected
    assert len({len(r) for r in expected}) > 1, "replies of one length would not test the end"


def test_greedy_with_an_adapter(lab: Any) -> None:
    model = add_adapter(lab.model(), LoraSettings(rank=4), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    model.eval()
    expected = by_hugging_face(model, PROMPTS, 12)
    assert [r[0] for r in generate(model, PROMPTS, EOS, PAD, GREEDY)] == expected
    with model.disable_adapter():
        assert by_hugging_face(model, PROMPTS, 12) != expected


def exact_pairs(model: Any, prompt: Any, warpers: list[Any]) -> np.ndarray:
    """``(V, V)`` chance of each first and second token under Hugging Face's own warpers."""
    ids = torch.from_numpy(prompt.astype(np.int64))[None]
    n = model.config.vocab_size

    def chances(tokens: torch.Tensor) -> torch.Tensor:
        logits = model(input_ids=tokens).logits[:, -1].float()
        for warper in warpers:
            logits = warper(tokens, logits)
        return logits.softmax(-1)

    with torch.no_grad():
        first = chances(ids)[0]
        second = chances(torch.cat([ids.expand(n, -1), torch.arange(n)[:, None]], 1))
    return (first[:, None] * second).double().numpy()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.3, 0.8)])
def test_draws_follow_hugging_faces_distribution(
    lab: Any, temperature: float, top_p: float
) -> None:
    model = loud(lab.model())
    prompt = Ragged.of([[5, 6, 7]])
    warpers: list[Any] = [TemperatureLogitsWarper(temperature)]
    warpers += [TopPLogitsWarper(top_p)] if top_p < 1 else []
    expected = exact_pairs(model, prompt[0], warpers)
    expected[EOS] = 0  # a reply that ends at once has no second token
    decoding = Decoding(2, temperature, top_p, seed=3, rows=30_000)
    drawn = generate(model, prompt, EOS, PAD, decoding, draws=30_000)[0]
    counts = np.zeros_like(expected)
    for reply in drawn:
        if reply:
            counts[reply[0], reply[1] if len(reply) > 1 else EOS] += 1
    assert counts[expected == 0].sum() == 0, "a token outside of the nucleus"
    expected *= counts.sum() / expected.sum()
    often = expected >= 5
    statistic = ((counts - expected)[often] ** 2 / expected[often]).sum()
    assert statistic < chi2.ppf(1 - 1e-4, often.sum() - 1)
    assert often.sum() > 20


def test_the_nucleus_is_the_smallest_set_that_reaches_its_mass(lab: Any) -> None:
    # Chances of .5, .25, .15, .1: mass .75 needs two tokens, anything above needs the third.
    model = lab.model()
    chances = torch.full((lab.vocabulary,), -1e9)
    chances[5:9] = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
    model.get_output_embeddings().register_forward_hook(lambda m, a, out: out * 0 + chances)
    seen = {}
    for top_p in (0.3, 0.7, 0.76, 0.91, 1.0):
        replies = generate(
            model, Ragged.of([[5]]), EOS, PAD, Decoding(1, 1.0, top_p, rows=2000), draws=2000
        )[0]
        seen[top_p] = {r[0] for r in replies}
    assert seen == {0.3: {5}, 0.7: {5, 6}, 0.76: {5, 6, 7}, 0.91: {5, 6, 7, 8}, 1.0: {5, 6, 7, 8}}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_replies_do_not_depend_on_the_batch(lab: Any, temperature: float) -> None:
    model = likes_to_end(loud(lab.model()), 4.0)
    decoding = Decoding(10, temperature, top_p=0.9, seed=1)
    whole = generate(model, PROMPTS, EOS, PAD, decoding, draws=6)
    for rows in (1, 4, 7, 12):
        assert generate(model, PROMPTS, EOS, PAD, replace(decoding, rows=rows), draws=6) == whole
    few = generate(model, PROMPTS, EOS, PAD, decoding, draws=2)
    assert few == [r[:2] for r in whole]
    second = Ragged.of([PROMPTS[1].tolist(), PROMPTS[3].tolist()])
    some = generate(model, second, EOS, PAD, decoding, draws=6, prompt_numbers=[1, 3])
    assert some == [whole[1], whole[3]]


def test_seeds_draws_and_prompts_differ(lab: Any) -> None:
    model, decoding = lab.model(), Decoding(10, seed=1)
    same = Ragged.of([[5, 6], [5, 6]])
    one, two = generate(model, same, EOS, PAD, decoding, draws=3)
    assert one != two
    assert one[0] != one[1]
    assert generate(model, same, EOS, PAD, replace(decoding, seed=2), draws=3)[0] != one
    assert generate(model, same, EOS, PAD, decoding, draws=3)[0] == one


def test_finished_rows_leave_the_batch(lab: Any) -> None:
    model = likes_to_end(loud(lab.model()), 6.0)
    sizes: list[int] = []
    model.get_input_embeddings().register_forward_pre_hook(
        lambda module, args: sizes.append(args[0].shape[0])
    )
    replies = generate(model, PROMPTS, EOS, PAD, Decoding(30, seed=0), draws=40)
    lengths = np.array([len(r) for rs in replies for r in rs])
    # Prompts are read once each; then only rows that are still open, up to a finished share.
    assert sizes[0] == 5
    assert sizes[1] <= 200 and sizes[-1] < 100
    for step, size in enumerate(sizes[1:], start=1):
        is_open = (lengths >= step).sum()
        assert is_open <= size <= max(1, is_open / 0.84)


def test_no_batch_is_larger_than_asked(lab: Any) -> None:
    model = lab.model()
    sizes: list[int] = []
    model.get_input_embeddings().register_forward_pre_hook(
        lambda module, args: sizes.append(args[0].shape[0])
    )
    seen: list[tuple[int, int]] = []
    generate(
        model, PROMPTS, EOS, PAD, Decoding(3, rows=4), draws=6,
        progress=lambda done, of: seen.append((done, of)),
    )  # fmt: skip
    assert max(sizes) <= 4
    assert seen[-1] == (30, 30)
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_length_is_a_limit_and_training_mode_comes_back(lab: Any) -> None:
    model = lab.model().train()
    replies = generate(model, PROMPTS, EOS, PAD, Decoding(1, seed=0), draws=2)
    assert all(len(r) <= 1 for rs in replies for r in rs)
    assert model.training
    assert generate(model, Ragged.of([]), EOS, PAD, GREEDY) == []


@pytest.mark.parametrize(
    "wrong",
    [{"max_new_tokens": 0}, {"rows": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}],
)
def test_wrong_decoding_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="generate"):
        Decoding(**wrong)
