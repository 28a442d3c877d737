"""Trade-offs as vectors on the token embeddings: told, trained, saved and loaded."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from paretune.core.adapter import TradeOffEmbedding
from paretune.core.job import ConditionedRows, Pool, TrainingJob
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.generate import Decoding, generate
from paretune.engines.lm.jobs import train_jobs
from paretune.engines.lm.merge import merge_policies
from paretune.engines.lm.mix import mix_policies
from paretune.engines.lm.models import add_adapter, load_base, load_policy, save_policy
from paretune.engines.lm.settings import LoraSettings, TrainSettings
from paretune.engines.lm.tradeoff_embedding import (
    add_tradeoff_embedding,
    has_tradeoff_embedding,
    tell,
)
from paretune.errors import ConfigError, InputError

ABOUT = TradeOffEmbedding(((1.0, 0.0), (0.0, 1.0)))
IDS = torch.tensor([[5, 6, 7, 8], [9, 8, 7, 6]])


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_untold_the_model_is_itself(lab):
    model = lab.model()
    before = logits(model)
    add_tradeoff_embedding(model, ABOUT)
    assert has_tradeoff_embedding(model) and not has_tradeoff_embedding(lab.model())
    torch.testing.assert_close(logits(model), before, rtol=0, atol=0)


def test_a_vector_is_added_to_every_token_of_its_row(lab):
    model = add_tradeoff_embedding(lab.model(), ABOUT)
    vectors = model.tradeoff_embedding.weight
    tokens = model.get_input_embeddings()
    tell(model, torch.tensor([1, 0]))
    expected = tokens.weight[IDS] + vectors[[1, 0]][:, None]
    torch.testing.assert_close(tokens(IDS), expected)
    mixed = logits(model)
    tell(model, 1)
    torch.testing.assert_close(logits(model)[0], mixed[0])
    tell(model, 0)
    torch.testing.assert_close(logits(model)[1], mixed[1])
    length = tokens.weight.detach().norm(dim=1).mean() * 1.5
    torch.testing.assert_close(vectors.norm(dim=1), length.expand(2))


def halves(pool):
    """The first response of each prompt for one trade-off, the second for the other."""
    n = len(pool.rewards)
    first, second = np.arange(0, n, 2), np.arange(1, n, 2)
    given = np.repeat(np.array(ABOUT.tradeoffs), [len(first), len(second)], axis=0)
    return ConditionedRows(np.concatenate([first, second]), given)


JOB = TrainingJob("front", "sft", TradeOff.even(2), halves, adapter=ABOUT)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)])
def test_one_policy_learns_what_each_trade_off_is_told(lab, tmp_path, lora):
    base, data = tmp_path / "base", lab.preferences(6)
    lab.model().save_pretrained(base)
    inputs = lab.job_data(data, load_base(base))
    model = load_base(base, is_frozen=lora is not None)
    model = model if lora is None else add_adapter(model, lora, 0)
    add_tradeoff_embedding(model, ABOUT)
    start = model.tradeoff_embedding.weight.detach().clone()
    settings = TrainSettings(learning_rate=0.02, steps=120, batch_size=6, lora=lora,
                             checkpoint_minutes=0)  # fmt: skip
    save, cost = train_jobs([JOB], inputs, model, lab.pad, settings, tmp_path / "work")
    assert cost.rows == 12
    # Told what the last batch was told, it would answer no batch of another size.
    assert logits(model.eval()).isfinite().all(), "trained, the model is told nothing"
    save(lab.tokenizer(), [tmp_path / "policy"])
    loaded = load_policy(tmp_path / "policy", base)
    decoding = Decoding(max_new_tokens=12, temperature=0)
    for told, offset in ((0, 0), (1, 1)):
        tell(model.eval(), told)
        tell(loaded, told)
        torch.testing.assert_close(logits(loaded), logits(model))
        replies = generate(loaded, inputs.encoded.prompts, lab.eos, lab.pad, decoding)
        wanted = [inputs.encoded.responses[2 * i + offset].tolist()[:-1] for i in range(6)]
        hits = sum(reply[0] == want for reply, want in zip(replies, wanted, strict=True))
        # A frozen random model with small updates learns little in so few steps.
        assert hits >= 5 or lora is not None, (told, hits)
    assert cost.steps == 120 and not torch.equal(model.tradeoff_embedding.weight, start)


def test_the_files_are_plain_for_others(lab, tmp_path):
    model = add_tradeoff_embedding(lab.model(), ABOUT)
    save_policy(model, lab.tokenizer(), tmp_path)
    plain = load_base(tmp_path)
    torch.testing.assert_close(logits(plain), logits(model))
    assert not has_tradeoff_embedding(plain)


def test_vectors_of_another_model_are_refused(lab, tmp_path):
    save_policy(add_tradeoff_embedding(lab.model(), ABOUT), lab.tokenizer(), tmp_path)
    save_file({"weight": torch.zeros(2, 5)}, tmp_path / "tradeoff_embedding.safetensors")
    with pytest.raises(InputError, match="vectors of trade-offs that do not fit"):
        load_policy(tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["tradeoff_embedding.safetensors", "tradeoff_embedding.json"])
def test_damaged_files_are_told(lab, tmp_path, name):
    save_policy(add_tradeoff_embedding(lab.model(), ABOUT), lab.tokenizer(), tmp_path)
    (tmp_path / name).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="vectors of trade-offs that do not fit"):
        load_policy(tmp_path, tmp_path)


@pytest.mark.parametrize("combine", [merge_policies, mix_policies])
@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)])
def test_conditioned_policies_are_not_combined(lab, tmp_path, combine, lora):
    base, folder = tmp_path / "base", tmp_path / "policy"
    save_policy(lab.model(), lab.tokenizer(), base)
    model = lab.model() if lora is None else add_adapter(lab.model(), lora, 0)
    save_policy(add_tradeoff_embedding(model, ABOUT), lab.tokenizer(), folder)
    with pytest.raises(ConfigError, match="conditioned on the trade-off"):
        combine([folder, folder], (0.5, 0.5), base)


def train_two_steps(lab, folder, model, **job):
    inputs = lab.job_data(lab.preferences(6), lab.model())
    settings = TrainSettings(learning_rate=0.02, steps=2, batch_size=6, checkpoint_minutes=0)
    made = dataclasses.replace(JOB, **job)
    return train_jobs([made], inputs, model, lab.pad, settings, folder)


def test_it_goes_on_training_from_its_folder(lab, tmp_path):
    model = add_tradeoff_embedding(lab.model(), ABOUT)
    save_policy(model, lab.tokenizer(), tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy", tmp_path / "policy", train=True)
    for one in (model, loaded):
        train_two_steps(lab, tmp_path / "work", one.train())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, loaded.get_parameter(name)), name
    start = add_tradeoff_embedding(lab.model(), ABOUT).tradeoff_embedding.weight
    assert not torch.equal(loaded.tradeoff_embedding.weight, start)


def test_rows_vectors_and_jobs_that_do_not_belong_together(lab, tmp_path):
    told = add_tradeoff_embedding(lab.model(), ABOUT)
    with pytest.raises(InputError, match="found a model without vectors"):
        train_two_steps(lab, tmp_path, lab.model())
    with pytest.raises(InputError, match="found rows that are told nothing"):
        train_two_steps(lab, tmp_path, told, rows=lambda pool: np.arange(4))
    with pytest.raises(InputError, match="found rows that are told something"):
        train_two_steps(lab, tmp_path, told, adapter=None)


def test_a_row_that_is_told_something_else_is_an_error(lab, tmp_path):
    def odd(pool):
        return ConditionedRows(np.array([0]), np.array([[0.5, 0.5]]))

    model = add_tradeoff_embedding(lab.model(), ABOUT)
    inputs = lab.job_data(lab.preferences(2), lab.model())
    settings = TrainSettings(steps=1, checkpoint_minutes=0)
    with pytest.raises(InputError, match="row 0 is told"):
        train_jobs([dataclasses.replace(JOB, rows=partial(odd))], inputs, model, lab.pad, settings,
                   tmp_path)  # fmt: skip


@pytest.mark.parametrize("accumulate", [1, 2])
def test_rows_in_their_own_order_are_trained_in_it(lab, tmp_path, accumulate):
    inputs = lab.job_data(lab.preferences(6), lab.model())
    whole = dataclasses.replace(halves(Pool.of(inputs.data)), is_ordered=True)
    # Two steps of two rows see the first four of twelve; every random order would see others.
    first = ConditionedRows(whole.index[:4], whole.given[:4], is_ordered=True)
    size = 2 // accumulate
    settings = TrainSettings(learning_rate=0.02, steps=2, batch_size=size, accumulate=accumulate,
                             checkpoint_minutes=0)  # fmt: skip
    trained = []
    for rows in (whole, first):
        job = dataclasses.replace(JOB, rows=lambda pool, rows=rows: rows)
        model = add_tradeoff_embedding(lab.model(), ABOUT).train()
        _, cost = train_jobs([job], inputs, model, lab.pad, settings, tmp_path / "work")
        assert cost.rows == 4
        trained.append(model)
    for name, parameter in trained[0].named_parameters():
        assert torch.equal(parameter, trained[1].get_parameter(name)), name
