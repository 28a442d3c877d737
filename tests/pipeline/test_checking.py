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


@pytest.fixture
def base(tmp_path):
    """A base that knows the words of the rows."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"[UNK]": 0, "<eos>": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", unk_token="[UNK]")
    made.save_pretrained(tmp_path / "base")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**sizes, intermediate_size=8, vocab_size=4))
    model.save_pretrained(tmp_path / "base")
    return {"path": str(tmp_path / "base")}


def test_what_is_cut_is_counted_before_anything_is_trained(config, base, tmp_path, monkeypatch):
    # "Say 7:" is two tokens; "one two three" with its end four, "four five six 7" five.
    _, notes = check_run(config(base=base, train={"max_prompt_tokens": 2}))
    assert not [note for note in notes if "lose their" in note]
    limits = {"max_prompt_tokens": 1, "max_response_tokens": 4}
    _, notes = check_run(config(base=base, train=limits))
    assert "40 of all 40 prompts lose their beginning, to fit train.max_prompt_tokens" in notes
    assert "40 of all 80 responses lose their end, to fit train.max_response_tokens" in notes
    data = {"path": str(tmp_path / "rows.jsonl"), "rules": {"too_long": "error"}}
    with pytest.raises(InputError, match="found 40 prompts over 1 and 40 responses over 4 tokens"):
        check_run(config(base=base, train=limits, data=data))
    # Of a large file, the first ones are looked at.
    monkeypatch.setattr("paretune.pipeline.checking._TEXT", 300)
    _, notes = check_run(config(base=base, train=limits))
    assert (
        "11 of the first 11 prompts lose their beginning, to fit train.max_prompt_tokens" in notes
    )


def test_large_data_are_looked_at_in_part_and_checked_in_full(config, monkeypatch, tmp_path):
    whole, notes = check_run(config(n=2000))
    assert not [note for note in notes if "drawn by their hash" in note]
    monkeypatch.setattr("paretune.pipeline.checking._BUDGET", 1_000_000)
    summary, notes = check_run(config(n=2000))
    assert any("comes from 1 of 4 prompts, drawn by their hash" in note for note in notes)
    assert summary.counts == whole.counts
    assert 400 < summary.n_prompts < 600 < whole.n_prompts == 2000
    values = config(n=2000)
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"prompt": 1, "responses": []}\n')
    with pytest.raises(InputError, match=r"rows.jsonl:2001: prompt: not text, found 1"):
        check_run(values)


def test_a_run_refuses_to_cut_when_told_so(config, base, tmp_path):
    limits = {"max_prompt_tokens": 1}
    data = {"path": str(tmp_path / "rows.jsonl"), "rules": {"too_long": "error"}}
    with pytest.raises(InputError, match=r"prompts over 1 and 0 responses.*too_long: error"):
        execute(config(base=base, train=limits, data=data), tmp_path / "run", "data")
    assert not (tmp_path / "run" / "3-comparisons").exists()
