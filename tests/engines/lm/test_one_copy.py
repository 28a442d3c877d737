"""Equal parameters are kept once, others are left alone, and nothing outlives its models."""

from __future__ import annotations

import copy
import gc

import torch
from torch import nn
from transformers import LlamaConfig

from paretune.engines.lm.models import build_model
from paretune.engines.lm.one_copy import OneCopy

SHAPE = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "intermediate_size": 32, "tie_word_embeddings": True,
}  # fmt: skip


def test_what_differs_in_one_number_is_another_parameter() -> None:
    base = build_model(LlamaConfig(**SHAPE), 0)
    other = copy.deepcopy(base)
    with torch.no_grad():
        # Not one of the numbers that parameters are looked up by.
        other.model.layers[0].mlp.up_proj.weight[0, 1] += 1e-6
    before = {name: p.detach().clone() for name, p in other.named_parameters()}
    copies = OneCopy()
    copies.share(base)
    copies.share(other)
    mine, others = dict(base.named_parameters()), dict(other.named_parameters())
    assert [n for n in mine if mine[n] is not others[n]] == ["model.layers.0.mlp.up_proj.weight"]
    assert all(torch.equal(before[name], p) for name, p in others.items())
    assert other.lm_head.weight is other.model.embed_tokens.weight, "what is tied stays tied"


def test_nothing_is_kept_that_no_model_uses() -> None:
    copies = OneCopy()
    copies.share(nn.Linear(4, 4))
    gc.collect()
    assert not copies._kept
