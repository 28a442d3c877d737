"""Tokenizer and model shape of Handy: one word, one token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paretune.bench.handy.text import vocabulary

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast

SPECIALS = ("<pad>", "<bos>", "<eos>", "<user>", "<bot>", "<unk>")
CONDITIONS = (
    *(f"<rm{i}_score>" for i in range(1, 5)),
    *(f"<w{i}>" for i in range(1, 5)),
    *(f"{tenths / 10:.1f}" for tenths in range(-44, 45)),
)
"""Words of prompts that tell a policy rewards or weights, which no reply says."""
MAX_TOKENS = 1024
"""Positions of the model: requests and replies need 80, prompts that show pairs several hundred."""

_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<user> ' + message['content'] + ' ' }}"
    "{% elif message['role'] == 'assistant' %}{{ '<bot> ' + message['content'] + ' <eos> ' }}"
    "{% else %}{{ raise_exception('Handy knows user and assistant turns only') }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<bot>' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer with 210 tokens and a chat template.

    A conversation reads ``<user> prompt <bot> reply <eos>``; there is no ``<bos>`` in it.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate((*SPECIALS, *vocabulary(), *CONDITIONS))}
    core = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<bot>"],
        model_max_length=MAX_TOKENS,
        # Cleaning would glue the full stop to the word before it, and no reply would parse.
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer


def build_config() -> LlamaConfig:
    """The shape of the base model: a Llama with 241,824 parameters."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(SPECIALS) + len(vocabulary()) + len(CONDITIONS),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=3,
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        pad_token_id=SPECIALS.index("<pad>"),
        bos_token_id=SPECIALS.index("<bos>"),
        eos_token_id=SPECIALS.index("<eos>"),
    )
