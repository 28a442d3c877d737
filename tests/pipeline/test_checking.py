"""What ``check`` and the start of a run refuse before anything is trained or written."""

import json

import pytest

from paretune.errors import InputError
from paretune.pipeline.checking import check_run
from paretune.pipeline.config import parse_config
from paretune.pipeline.run import execute

CODE = "def f(prompt, response):\n    return len(response)\n"
ZERO = "def g(prompt, response):\n    return 0\n"
BUILD = {
    "build": {"hidden": 8, "layers": 1, "heads": 2, "feed_forward": 8, "vocabulary": 260},
    "train": {"steps": 1},
}


@pytest.fixture
def config(tmp_path):
    """A run on 40 scored records with functions as judges; keyword arguments replace keys."""
    (tmp_path / "mine.py").write_text(CODE + ZERO)

    def build(as_messages=False, scores=True, n=40, judge="f", **changes):
        rows = [
            {
                "prompt": (
                    [{"role": "user", "content": f"Say {i}"}] if as_messages else f"Say {i}:"
                ),
                "responses": [
                    {"text": t, "scores": {"a": -len(t) / 9, "b": len(t) / 9} if scores else {}}
                    for t in ("one two three", f"four five six {i}")
                ],
            }
            for i in range(n)
        ]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        judges = {n: {"function": f"{tmp_path / 'mine.py'}:{judge}"} for n in ("a", "b")}
        values = {
            "name": "mine",
            "objectives": ["a", "b"],
            "data": {"path": str(tmp_path / "rows.jsonl")},
            "base": BUILD,
            "tradeoffs": {"grid": 1},
            "methods": [{"method": "dpo"}],
            "evaluate": {"rewards": judges, "resamples": 100},
            "workers": 1,
        }
        return parse_config(values | changes)

    return build


def test_a_sound_run_is_accepted(config):
    summary, notes = check_run(config())
    assert "the run trains 2 policies and evaluates 2 points" in notes
    assert summary.to_json()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": {}}, "base: found neither path nor build"),
        ({"scores": False}, "rewards: a, b has no score in the records"),
        ({"n": 1}, "split 'test': found none of 1 prompts"),
        ({"methods": [{"method": "best_of_n"}]}, "best_of_n rewards replies of its own, and a, b"),
        ({"methods": [{"method": "pareto_hqd", "k": 4}]}, "pareto_hqd rewards replies of its own"),
        (
            {"methods": [{"method": "morlhf"}]},
            r"morlhf rewards replies of its own.*content with these: dpo, mod_decoding, modpo "
            r"\(margins: policies\), .*sft; where every response .* also: .*ham, modpo, mopo$",
        ),
        (
            {"methods": [{"method": "pareto_hqd", "k": 999, "stages": 1}]},
            "pareto_hqd/stage-1-0-1: select: found .* expected at least k=999",
        ),
        ({"as_messages": True}, "no chat template"),
    ],
)
def test_what_check_refuses(config, changes, message):
    with pytest.raises(InputError, match=message):
        check_run(config(**changes))


def test_a_judge_that_never_varies_is_refused_before_anything_is_trained(config, tmp_path):
    with pytest.raises(InputError, match="a constant reward cannot be traded"):
        execute(config(judge="g"), tmp_path / "runs" / "mine")
    assert not (tmp_path / "runs" / "mine" / "4-policies").exists()


def test_four_bits_without_a_gpu_are_refused(config, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    lora = {"lora": {"quantize": "4bit"}}
    with pytest.raises(InputError, match=r"train\.lora\.quantize: found 4bit"):
        check_run(config(train=lora))


def test_a_base_whose_tokenizer_cannot_end_a_reply_is_refused(config, tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(tmp_path / "base")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**sizes, intermediate_size=8, vocab_size=4))
    model.save_pretrained(tmp_path / "base")
    with pytest.raises(InputError, match="end-of-sequence token"):
        check_run(config(base={"path": str(tmp_path / "base")}))
    (tmp_path / "base" / "tokenizer.json").unlink()
    (tmp_path / "base" / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match="lacks a tokenizer"):
        check_run(config(base={"path": str(tmp_path / "base")}))
