"""A base from nothing: a tokenizer trained on text, a model built from a config."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from transformers import LlamaConfig, PreTrainedTokenizerFast

from paretune.errors import ConfigError

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"


@final
@dataclass(frozen=True)
class ModelSize:
    """A Llama-shaped model built from a config.

    Args:
        hidden: width, a multiple of ``heads``.
        layers: transformer blocks.
        heads: attention heads.
        feed_forward: width of the feed-forward layer.
        max_positions: longest row in tokens.
        vocabulary: tokens of a tokenizer trained from scratch.
    """

    hidden: int = 96
    layers: int = 2
    heads: int = 3
    feed_forward: int = 256
    max_positions: int = 512
    vocabulary: int = 4096

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 1 or self.hidden % self.heads:
            raise ConfigError(
                f"base.build: found {vars(self)}, expected positive numbers and hidden divisible "
                "by heads"
            )


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: every text has tokens, nothing is unknown.

    Args:
        texts: what to learn merges from.
        vocabulary: number of tokens, at least 256 + 3.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if vocabulary < 259:
        raise ConfigError(f"base.build.vocabulary: found {vocabulary}, expected at least 259")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS
    )


def llama_config(size: ModelSize, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """Config of a model of this size for this tokenizer, embeddings tied."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        intermediate_size=size.feed_forward,
        max_position_embeddings=size.max_positions,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
