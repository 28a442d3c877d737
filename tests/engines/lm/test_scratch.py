"""Tokenizers and models from nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from paretune.engines.lm.models import (
    build_model,
    load_base,
    load_tokenizer,
    n_parameters,
    save_policy,
)
from paretune.engines.lm.scratch import ModelSize, llama_config, train_tokenizer
from paretune.errors import ConfigError, InputError

TEXTS = ["how do i fix the lamp ?", "wipe the lamp . rinse the lamp .", "ünïcødé 漢字 🙂\n\ttabs"]


def test_any_text_comes_back() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    for text in (*TEXTS, "never seen: Ωμέγα \x00 \r\n  two  spaces "):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert len(tokenizer("the lamp")["input_ids"]) < len("the lamp")


def test_a_tokenizer_is_a_function_of_its_texts() -> None:
    first, again = (train_tokenizer(TEXTS, 300).get_vocab() for _ in range(2))
    assert first == again


def test_a_tokenizer_needs_room_for_all_bytes() -> None:
    with pytest.raises(ConfigError, match="found 258, expected at least 259"):
        train_tokenizer(TEXTS, 258)
    assert len(train_tokenizer([], 259)) == 259


def test_the_tiny_size_has_the_parameters_of_its_page() -> None:
    # 210 x 96 embeddings, and two blocks of 4 x 96^2 + 3 x 96 x 256 + 2 x 96, and the last norm.
    tokenizer = train_tokenizer(TEXTS, 300)
    config = llama_config(ModelSize(), tokenizer)
    config.vocab_size = 210
    by_hand = 210 * 96 + 2 * (4 * 96**2 + 3 * 96 * 256 + 2 * 96) + 96
    assert n_parameters(build_model(config, seed=0)) == by_hand == 241_824


def test_a_model_and_its_tokenizer_come_back_from_disk(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    model = build_model(llama_config(ModelSize(32, 1, 2, 64), tokenizer), seed=0)
    save_policy(model, tokenizer, tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    found = load_base(tmp_path)
    for (name, one), other in zip(model.named_parameters(), found.parameters(), strict=True):
        assert one.equal(other), name
    assert load_tokenizer(tmp_path).get_vocab() == tokenizer.get_vocab()
    assert found.config.eos_token_id == tokenizer.eos_token_id


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no tokenizer in"):
        load_tokenizer(tmp_path)
    with pytest.raises(InputError, match="cannot load a causal language model from"):
        load_base(tmp_path)
    with pytest.raises(ConfigError, match=r"hidden divisible\s+by heads"):
        ModelSize(hidden=10, heads=3)
