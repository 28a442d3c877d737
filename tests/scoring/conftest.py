"""Tiny reward models of several architectures, saved like published ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
WORDS = (
    *("the", "a", "cat", "dog", "sat", "ran", "on", "mat", "is", "good", "bad", "kind", "rude"),
    *("user", "assistant", ":"),
)
CHAT = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} </s> {% endfor %}"


def word_tokenizer(has_pad: bool = True, has_types: bool = False) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", 2), ("</s>", 3)],
    )
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if has_types else [])]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_input_names=names,
        chat_template=CHAT,
        **({"pad_token": "<pad>"} if has_pad else {}),
    )


def _config(kind: str, n_logits: int, pad: int | None) -> Any:
    from transformers import BertConfig, GPT2Config, LlamaConfig

    common = {"vocab_size": len(SPECIAL) + len(WORDS), "num_labels": n_logits, "pad_token_id": pad}
    if kind == "llama":
        sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
        return LlamaConfig(
            hidden_size=16, intermediate_size=32, max_position_embeddings=32, **sizes, **common
        )
    if kind == "gpt2":
        return GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=32, **common)
    return BertConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        **common,
    )


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a tiny random reward model once per setting: (kind, n_logits, has_pad) -> folder."""
    import torch
    from transformers import AutoModelForSequenceClassification

    made: dict[tuple[str, int, bool], Path] = {}

    def make(kind: str = "llama", n_logits: int = 2, has_pad: bool = True) -> Path:
        if (kind, n_logits, has_pad) not in made:
            folder = tmp_path_factory.mktemp(kind)
            generator_state = torch.random.get_rng_state()
            torch.manual_seed(0)
            config = _config(kind, n_logits, 0 if has_pad else None)
            model = AutoModelForSequenceClassification.from_config(config)
            # Random initial parameters are small: larger ones make different texts differ.
            for parameters in model.parameters():
                parameters.data += 0.3 * torch.randn_like(parameters)
            torch.random.set_rng_state(generator_state)
            model.save_pretrained(folder)
            word_tokenizer(has_pad, kind == "bert").save_pretrained(folder)
            made[kind, n_logits, has_pad] = folder
        return made[kind, n_logits, has_pad]

    return make


@pytest.fixture
def texts() -> tuple[Sequence[str], Sequence[str]]:
    """Prompts and responses of many lengths."""
    prompts = ["the cat", "a dog ran on the mat", "is", "the dog is kind", "a cat sat on a mat"]
    replies = ["good", "the cat is rude and bad", "the dog sat on the mat", "", "kind kind kind"]
    return prompts, replies
