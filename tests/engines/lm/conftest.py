"""Tiny random models, tokenizers and data for the tests of the language-model engine."""

from __future__ import annotations

import os

# Nothing in these tests may reach a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from typing import Any, final

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoConfig, PreTrainedTokenizerFast

from paretune.core.record import Comparison, PreferenceData, Record, Response
from paretune.engines.lm.encode import Encoded, Encoder, Ragged
from paretune.engines.lm.job_data import JobData
from paretune.engines.lm.models import build_model
from paretune.engines.lm.reference import reference_logps

VOCABULARY = 40
PAD, BOS, EOS, USER, BOT = 0, 1, 2, 3, 4

_SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2}
_GROUPED = _SHAPE | {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
_ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _GROUPED),
    "gpt2": (
        "gpt2",
        {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    ),
    "qwen2": ("qwen2", _GROUPED | {"use_sliding_window": False}),
    "mistral": ("mistral", _GROUPED | {"sliding_window": None}),
    "gpt_neox": ("gpt_neox", _SHAPE | {"num_attention_heads": 2, "intermediate_size": 32}),
    # Attention of 8 tokens back only: a packed row must not pretend otherwise.
    "mistral_window": ("mistral", _GROUPED | {"sliding_window": 8}),
    "gemma2": ("gemma2", _GROUPED | {"head_dim": 4, "query_pre_attn_scalar": 4}),
    "bloom": ("bloom", {"vocab_size": VOCABULARY, "hidden_size": 16, "n_layer": 2, "n_head": 2}),
    "mamba": (
        "mamba",
        {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
    ),
}


@final
class Lab:
    """What the tests make things with."""

    vocabulary, pad, eos = VOCABULARY, PAD, EOS

    @staticmethod
    def model(name: str = "llama", seed: int = 0, **shape: Any) -> Any:
        """A tiny random model of an architecture."""
        kind, usual = _ARCHITECTURES[name]
        marks = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
        return build_model(AutoConfig.for_model(kind, **(usual | shape), **marks), seed)

    @staticmethod
    def tokenizer(template: str | None = None) -> PreTrainedTokenizerFast:
        """One token a word ``w5`` .. ``w39``."""
        words = ["<pad>", "<bos>", "<eos>", "<user>", "<bot>"]
        words += [f"w{i}" for i in range(len(words), VOCABULARY)]
        inner = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="w5"))
        inner.pre_tokenizer = WhitespaceSplit()
        made = PreTrainedTokenizerFast(
            tokenizer_object=inner,
            pad_token="<pad>",
            bos_token="<bos>",
            eos_token="<eos>",
            additional_special_tokens=["<user>", "<bot>"],
        )
        made.chat_template = template
        return made

    @staticmethod
    def encoded(n_pairs: int, seed: int = 0, longest: int = 12) -> Encoded:
        """``n_pairs`` random prompts with two responses each, all of random lengths."""
        rng = np.random.default_rng(seed)
        prompts = [rng.integers(5, VOCABULARY, rng.integers(1, 7)) for _ in range(n_pairs)]
        replies = [
            [*rng.integers(5, VOCABULARY, rng.integers(0, longest)), EOS]
            for _ in range(2 * n_pairs)
        ]
        return Encoded(Ragged.of(prompts), Ragged.of(replies), np.repeat(np.arange(n_pairs), 2))

    @staticmethod
    def preferences(n_pairs: int, seed: int = 0) -> PreferenceData:
        """Random word texts, two a prompt; the first is always the ``good`` one."""
        rng = np.random.default_rng(seed)

        def text(low: int, high: int) -> str:
            return " ".join(f"w{i}" for i in rng.integers(5, VOCABULARY, rng.integers(low, high)))

        def labels() -> dict[str, float]:
            return {"good": 1.0, "short": float(rng.choice([-1, 1]))}

        records = [
            Record(
                text(4, 8),
                (Response(text(1, 10)), Response(text(1, 10))),
                (Comparison(0, 1, labels()),),
            )
            for _ in range(n_pairs)
        ]
        return PreferenceData.from_records(records, ("good", "short"))

    @staticmethod
    def job_data(data: PreferenceData, model: Any) -> JobData:
        """The data encoded as plain text, with the model's own reference log-probabilities."""
        encoded = Encoder(Lab.tokenizer(), 64, 64).encode(data.prompts, data.texts, data.prompt_of)
        logps = reference_logps(model, encoded, np.arange(len(data.texts)), PAD)
        return JobData(data, encoded, logps)


@pytest.fixture
def lab() -> type[Lab]:
    """Maker of tiny models and data."""
    return Lab


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
