"""Tokenizer and model shape of Advice: one word, one token."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from paretune.bench.advice.generator import FRAGMENTS
from paretune.bench.advice.parts import DIGITS, KINDS, TOPICS, sentence_table
from paretune.bench.advice.requests import PHRASINGS, Request, questions
from paretune.bench.advice.scorers import AXES

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast

SPECIALS = ("<pad>", "<bos>", "<eos>", "<system>", "<user>", "<bot>", "<unk>")
MAX_TOKENS = 2048
"""Positions of the model: eight shots of two replies each are about 900 tokens."""

_FEW_SHOT_TEXT = """
## ### # Example Question Preferred Other response Response: User description: : ' . , - %
You answer each question the way this user prefers Answer next would prefer judging by examples
above First describe after then new line on a What counts for This user cares most about least more
than nothing else alike and
"""
FEW_SHOT_WORDS = tuple(dict.fromkeys(_FEW_SHOT_TEXT.split()))
"""Words of few-shot prompts: headings, instructions, users in words. None is unknown."""

_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ '<system> ' + message['content'] + ' ' }}"
    "{% elif message['role'] == 'user' %}{{ '<user> ' + message['content'] + ' ' }}"
    "{% elif message['role'] == 'assistant' %}{{ '<bot> ' + message['content'] + ' <eos> ' }}"
    "{% else %}{{ raise_exception('Advice knows system, user and assistant turns only') }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<bot>' }}{% endif %}"
)
# The marks of a described reply keep their colon, so that they decode as they are looked for.
_PIECES = r"(?:description|Response):|[A-Za-z_]+|[0-9]|#+|\S"


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """The words of the world and of few-shot prompts, in order of appearance."""
    asked = [
        Request(topic, KINDS[i:], questions()[0], phrasing).text
        for topic in TOPICS
        for i in (0, 2)
        for phrasing in range(PHRASINGS)
    ]
    texts = [*asked, *(q.text for q in questions()), *sentence_table(), *FRAGMENTS]
    words = [word for text in texts for word in text.split()]
    return tuple(dict.fromkeys((*words, *DIGITS, *AXES, *FEW_SHOT_WORDS)))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer with a chat template.

    A conversation reads ``<system> text <user> prompt <bot> reply <eos>``; line breaks are white
    space, digits and signs are tokens of their own, and case is kept.
    """
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate((*SPECIALS, *vocabulary()))}
    core = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    core.pre_tokenizer = Split(Regex(_PIECES), "removed", invert=True)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=["<system>", "<user>", "<bot>"],
        model_max_length=MAX_TOKENS,
        # Cleaning would glue the full stop to the word before it; replies would still parse, but
        # a decoded reply would not be the reply.
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer


def build_config() -> LlamaConfig:
    """The shape of the base model: a small Llama, a quarter of a million parameters."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(SPECIALS) + len(vocabulary()),
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
