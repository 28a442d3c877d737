"""What is refused for want of scores, and what the message offers instead."""

import json

import pytest

from paretune.errors import ConfigError, InputError
from paretune.methods import load_methods
from paretune.pipeline.checking import check_run
from paretune.pipeline.config import parse_config
from paretune.pipeline.needs import without_scores
from paretune.pipeline.run import execute

CODE = "def f(prompt, response):\n    return len(response) + 1 / len(prompt)\n"


@pytest.fixture
def config(tmp_path):
    """40 compared pairs, one of them without scores; b says the opposite of its labels."""
    (tmp_path / "mine.py").write_text(CODE)

    def build(method, gap=True, b=1.0, **options):
        rows = []
        for i in range(40):
            sides = [f"one two {i}", "three"]
            scores = [{"a": float(k), "b": (k - 0.5) * b * (1 + i % 3)} for k in (0, 1)]
            rows.append(
                {
                    "prompt": f"Say {i}:",
                    "responses": [
                        {"text": t, "scores": {} if gap and i == 7 else s}
                        for t, s in zip(sides, scores, strict=True)
                    ],
                    "comparisons": [
                        {"first": 0, "second": 1,
                         "labels": {"a": -1 if i % 4 else 1, "b": -1 if i % 3 else 1}}
                    ],
                }
            )  # fmt: skip
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        judge = {"function": f"{tmp_path / 'mine.py'}:f"}
        sizes = {"hidden": 8, "layers": 1, "heads": 2, "feed_forward": 8, "vocabulary": 260}
        return parse_config(
            {
                "name": "mine",
                "objectives": ["a", "b"],
                "data": {"path": str(tmp_path / "rows.jsonl")},
                "base": {"build": sizes, "train": {"steps": 1}},
                "tradeoffs": {"grid": 2},
                "methods": [{"method": method, **options}],
                "train": {"steps": 2, "batch_size": 4},
                "generate": {"max_new_tokens": 4},
                "evaluate": {"rewards": {"a": judge, "b": judge}, "resamples": 100},
                "workers": 1,
            }
        )

    return build


MESSAGE = (
    r"methods: modpo needs a score of every response, and a, b has gaps; expected rewards\.a with "
    r"a function, a model, or trained: \{\}; or a method that learns from these data: "
    r".*dpo, .*modpo \(margins: policies\), .*rewarded_soups, .*sft"
)


def test_check_names_the_methods_that_do_without(config):
    with pytest.raises(ConfigError, match=MESSAGE):
        check_run(config("modpo"))
    assert check_run(config("modpo", margins="policies"))
    assert check_run(config("modpo", gap=False))


@pytest.mark.parametrize("name", [n for n, m in load_methods().items() if "scores" in m().needs])
def test_every_method_that_needs_scores_is_refused_with_those_that_do_not(config, name):
    options = {"k": 2} if name == "pareto_hqd" else {}
    learn = r"dpo, mod_decoding, modpo \(margins: policies\), .*panacea, rewarded_soups, .*sft"
    with pytest.raises(ConfigError, match=rf"methods: {name} (needs a|rewards replies).*: {learn}"):
        check_run(config(name, **options))


def test_a_run_names_them_before_anything_is_trained(config, tmp_path):
    with pytest.raises(ConfigError, match=MESSAGE):
        execute(config("modpo"), tmp_path / "run")
    assert not (tmp_path / "run" / "4-policies").exists()


def test_scores_with_the_wrong_sign_are_refused_before_anything_is_trained(config, tmp_path):
    message = "modpo/modpo-0.5-0.5: calibration: b: found labels that agree with the rewards in"
    wrong = config("modpo", gap=False, b=-1.0)
    with pytest.raises(InputError, match=message):
        check_run(wrong)
    with pytest.raises(InputError, match=message):
        execute(wrong, tmp_path / "run")
    assert not (tmp_path / "run" / "4-policies").exists()


def test_without_comparisons_only_few_are_left():
    assert without_scores(has_pairs=False) == ["sft"]
    assert "rewarded_soups" in without_scores(has_pairs=True)
    assert not {"pareto_hqd", "modpo"} & set(without_scores(has_pairs=True))
