from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from paretune.core.record import Message
from paretune.errors import ConfigError, InputError, ScoringError
from paretune.scoring.model import ModelScorer
from paretune.scoring.score import score_responses


def by_hand(folder, *texts, add_special_tokens=True):
    """Logits of one input, straight from transformers, without padding."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # As lists: a single empty second text would be taken for no second text.
    columns = [[text] for text in texts]
    inputs = tokenizer(*columns, add_special_tokens=add_special_tokens, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits[0].double().numpy()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_pair_logits_and_sign(reward_model, texts, kind):
    folder = reward_model(kind)
    expected = np.array([by_hand(folder, p, r) for p, r in zip(*texts, strict=True)])
    assert np.ptp(expected, axis=0).min() > 0.01  # the model tells the texts apart
    for logit in (0, 1):
        scorer = ModelScorer("kind", str(folder), logit=logit)
        np.testing.assert_allclose(scorer.score(*texts), expected[:, logit], atol=1e-5)
    minus = ModelScorer("kind", str(folder), logit=1, sign=-1)
    np.testing.assert_allclose(minus.score(*texts), -expected[:, 1], atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("has_pad", [True, False])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_batch_equals_one_at_a_time(reward_model, texts, tmp_path, kind, has_pad, side):
    folder = shutil.copytree(reward_model(kind, 1, has_pad), tmp_path / "model")
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "padding_side": side}))
    alone = ModelScorer("r", str(folder), batch_tokens=1).score(*texts)
    for batch_tokens in (20, None):
        batched = ModelScorer("r", str(folder), batch_tokens=batch_tokens).score(*texts)
        np.testing.assert_allclose(batched, alone, atol=1e-5)
    assert np.ptp(alone) > 0.01


def test_token_types_of_a_pair_reach_the_model(reward_model):
    scorer = ModelScorer("r", str(reward_model("bert")), logit=0)
    rows, _ = scorer._encoder.encode(["a cat"], ["good"])
    assert rows[0]["token_type_ids"] == [0, 0, 0, 0, 1, 1]


def test_response_alone(reward_model):
    folder = reward_model()
    scorer = ModelScorer("r", str(folder), logit=0, input="response")
    expected = by_hand(folder, "the cat")[0]
    found = scorer.score(["a", "the dog is kind"], ["the cat", "the cat"])
    np.testing.assert_allclose(found, [expected, expected], atol=1e-5)


def test_chat_uses_the_template_and_adds_nothing(reward_model):
    folder = reward_model()
    scorer = ModelScorer("r", str(folder), logit=0, input="chat")
    text = "user : the cat </s> assistant : good </s> "
    expected = by_hand(folder, text, add_special_tokens=False)[0]
    turns = (Message("user", "the cat"),)
    np.testing.assert_allclose(
        scorer.score(["the cat", turns], ["good", "good"]), [expected] * 2, atol=1e-5
    )


def test_a_conversation_is_written_as_the_model_was_trained(reward_model):
    folder = reward_model()
    turns = {"user": "user : {} ", "assistant": "assistant : {} ", "reply": "assistant :"}
    scorer = ModelScorer("r", str(folder), logit=0, turns=turns)
    chat = (Message("user", "the {} cat"), Message("assistant", "is"), Message("user", "kind"))
    text = "user : the {} cat assistant : is user : kind assistant :"
    np.testing.assert_allclose(
        scorer.score([chat, text], ["good", "good"]),
        [by_hand(folder, text, "good")[0]] * 2,
        atol=1e-5,
    )


def test_one_user_turn_is_its_text_and_more_is_an_error(reward_model):
    scorer = ModelScorer("helpful", str(reward_model()), logit=0)
    one = (Message("user", "the cat"),)
    assert scorer.score([one], ["good"]) == scorer.score(["the cat"], ["good"])
    more = (*one, Message("assistant", "is"), Message("user", "kind"))
    with pytest.raises(ScoringError, match=r"^helpful, row 1: found a conversation \(user, assi"):
        scorer.score([one, more], ["good", "good"])


def test_an_empty_text_still_has_a_reward(reward_model):
    folder = reward_model()
    scorer = ModelScorer("r", str(folder), logit=0, input="response")
    tokenizer = scorer._encoder.tokenizer
    tokenizer.backend_tokenizer.post_processor = None  # a tokenizer that adds nothing
    assert np.isfinite(scorer.score(["p"], [""])).all()


def test_long_texts_lose_their_beginning_and_are_counted(reward_model):
    folder = reward_model()
    scorer = ModelScorer("r", str(folder), logit=0, max_length=8)
    prompts = ["the cat", "the dog sat on a mat", "the cat", "is"]
    replies = ["good", "the dog is kind", "the dog sat on a mat is kind", "the dog sat on mat is"]
    rows, cut = scorer._encoder.encode(prompts, replies)
    words = [scorer._encoder.tokenizer.convert_ids_to_tokens(r["input_ids"]) for r in rows]
    assert cut == 3
    assert words[0] == ["<s>", "the", "cat", "</s>", "good", "</s>"]
    # The response fits beside a token of the prompt: only the prompt is cut.
    assert words[1] == ["<s>", "mat", "</s>", "the", "dog", "is", "kind", "</s>"]
    # It does not: the end of the response stays.
    assert words[2][-3:] == ["is", "kind", "</s>"]
    assert [len(w) for w in words] == [6, 8, 8, 8]
    assert scorer.notes(prompts, replies) == (
        "reward r: 3 of 4 texts were longer than 8 tokens and lost their beginning",
    )
    assert scorer.notes(prompts[:1], replies[:1]) == ()


def test_the_models_own_limit_is_the_default(reward_model):
    scorer = ModelScorer("r", str(reward_model("gpt2")), logit=0)
    long = " ".join(["the cat sat"] * 30)
    assert np.isfinite(scorer.score([long], [long])).all()
    assert scorer.notes([long], ["good"])[0].endswith("32 tokens and lost their beginning")


def test_identity_follows_what_sets_the_values(reward_model, tmp_path):
    folder = reward_model()
    base = ModelScorer("r", str(folder), logit=0)
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "README.md").write_text("nothing that matters")
    same = ModelScorer("other name", str(copy), logit=0, batch_tokens=7)
    assert same.identity == base.identity
    others = [
        ModelScorer("r", str(folder), logit=1),
        ModelScorer("r", str(folder), logit=0, sign=-1),
        ModelScorer("r", str(folder), logit=0, input="response"),
        ModelScorer("r", str(folder), logit=0, max_length=8),
        ModelScorer("r", str(folder), logit=0, turns={"user": "{}"}),
        ModelScorer("r", str(folder), logit=0, dtype="bfloat16"),
    ]
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        changed = shutil.copytree(folder, tmp_path / name)
        data = (changed / name).read_bytes()
        (changed / name).write_bytes(data + b" ")
        others.append(ModelScorer("r", str(changed), logit=0))
    identities = {s.identity for s in others}
    assert len(identities) == len(others)
    assert base.identity not in identities


def test_no_gradient_no_dropout_and_no_global_randomness(reward_model, texts):
    state = torch.random.get_rng_state()
    scorer = ModelScorer("r", str(reward_model("bert")), logit=0)
    first, second = scorer.score(*texts), scorer.score(*texts)
    assert first.tolist() == second.tolist()
    assert not any(p.requires_grad for p in scorer._network.parameters())
    assert torch.equal(state, torch.random.get_rng_state())


def test_several_at_once_through_the_cache(reward_model, texts, tmp_path):
    folder = str(reward_model())
    scorers = {f"axis{i}": ModelScorer(f"axis{i}", folder, logit=i) for i in (0, 1)}
    first = score_responses(*texts, scorers, tmp_path)
    again = score_responses(*texts, scorers, tmp_path)
    assert first.tolist() == again.tolist()
    np.testing.assert_allclose(first[:, 1], scorers["axis1"].score(*texts), atol=1e-5)


def without(folder, target, *patterns):
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns(*patterns))
    return str(target)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["tokenizer*"], r"reward r: .* has no tokenizer: found .*config\.json, "
                         r"model\.safetensors, expected tokenizer\.json or another vocabulary"),
        (["*.safetensors"], r"has no weights as safetensors: found .* expected model\.safetensors"),
        (["config.json"], r"is no model: found .* expected config\.json"),
        (["*"], "is no model: found no file"),
    ],
)  # fmt: skip
def test_an_incomplete_folder_is_refused_at_once(reward_model, tmp_path, patterns, message):
    with pytest.raises(InputError, match=message):
        ModelScorer("r", without(reward_model(), tmp_path / "m", *patterns), logit=0)


@pytest.mark.parametrize("model", ["/no/such/folder", "nobody/no-such-reward-model", "plain"])
def test_a_model_that_is_nowhere(model):
    with pytest.raises(InputError, match=r"reward r: .*expected a (model folder|path) or a"):
        ModelScorer("r", model)


def test_a_language_model_is_no_reward_model(reward_model, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = without(reward_model(), tmp_path / "lm", "*.safetensors")
    config = AutoConfig.from_pretrained(reward_model())
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    with pytest.raises(InputError, match=r"found no parameters score\.weight, expected a seq"):
        ModelScorer("r", folder, logit=0).score(["p"], ["r"])


def test_remote_code_is_never_run(reward_model, tmp_path):
    folder = shutil.copytree(reward_model(), tmp_path / "m")
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="remote code is never run"):
        ModelScorer("r", str(folder), logit=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"logit is None, expected 0 to 1 \(the model has 2\)"),
        ({"logit": 2}, "logit is 2, expected 0 to 1"),
        ({"logit": -1}, "logit is -1"),
        ({"logit": 0, "sign": 0}, r"sign is 0, expected 1 or -1"),
        ({"logit": 0, "input": "pair"}, "input is 'pair', expected"),
        ({"logit": 0, "dtype": "int8"}, "dtype is 'int8', expected"),
        ({"logit": 0, "batch_tokens": 0}, "batch_tokens is 0, expected >= 1"),
        ({"logit": 0, "max_length": 33}, r"max_length is 33, expected 1 to 32"),
        ({"logit": 0, "max_length": 0}, r"max_length is 0, expected 1 to 32"),
    ],
)
def test_settings_that_do_not_fit(reward_model, settings, message):
    with pytest.raises(ConfigError, match=message):
        ModelScorer("r", str(reward_model()), **settings)


def test_one_logit_needs_no_index(reward_model, texts):
    folder = reward_model("llama", 1)
    without_index, with_index = ModelScorer("r", str(folder)), ModelScorer("r", str(folder), 0)
    assert without_index.identity == with_index.identity
    assert without_index.score(*texts).tolist() == with_index.score(*texts).tolist()


def test_chat_without_a_template_is_refused(reward_model, tmp_path, texts):
    folder = without(reward_model(), tmp_path / "m", "chat_template.jinja")
    with pytest.raises(ConfigError, match="has no chat template"):
        ModelScorer("r", folder, logit=0, input="chat").score(*texts)
