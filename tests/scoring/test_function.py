from __future__ import annotations

import pytest

from paretune.core.record import Message
from paretune.errors import InputError, ScoringError
from paretune.scoring.function import FunctionScorer

GOOD = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Weights:          # a dataclass needs its module to be importable by name
    brevity: float = 2.0

def brevity(prompt, response):
    return -Weights().brevity * len(response)

def many(prompts, responses):
    return [len(p) + 10 * len(r) for p, r in zip(prompts, responses)]

def roles(prompt, response):
    return len([turn["role"] for turn in prompt])

def fails(prompt, response):
    if response == "bad":
        raise KeyError("no such word")
    return 1.0

def fails_all(prompts, responses):
    raise RuntimeError("offline")

def text(prompt, response):
    return "0.5"

def nothing(prompt, response):
    pass

def infinite(prompt, response):
    return float(response)

def too_few(prompts, responses):
    return [1.0]

def swapped(response, prompt):
    return 0.0

def one(response):
    return 0.0

constant = 3.0
"""


@pytest.fixture
def rewards(tmp_path):
    file = tmp_path / "rewards.py"
    file.write_text(GOOD)
    return lambda function: FunctionScorer("quality", file, function)


def test_one_row_at_a_time(rewards):
    assert rewards("brevity").score(["a", "b"], ["abc", ""]).tolist() == [-6.0, 0.0]


def test_many_rows_at_once(rewards):
    assert rewards("many").score(["a", "bb"], ["abc", ""]).tolist() == [31.0, 2.0]


def test_a_slow_function_loses_few_rows_when_killed(rewards):
    assert rewards("brevity").batch_rows < rewards("many").batch_rows


def test_a_conversation_is_given_as_plain_dicts(rewards):
    prompt = (Message("system", "Be kind."), Message("user", "Hi"))
    assert rewards("roles").score([prompt], ["x"]).tolist() == [2.0]


def test_no_compiled_file_is_left_beside_the_users(rewards, tmp_path):
    rewards("brevity").score(["a"], ["b"])
    assert [f.name for f in tmp_path.iterdir()] == ["rewards.py"]


def test_an_edit_within_the_same_second_counts(tmp_path):
    file = tmp_path / "r.py"
    values = []
    for digit in "12":
        file.write_text(f"def f(prompt, response):\n    return {digit}\n")
        scorer = FunctionScorer("r", file, "f")
        values.append((scorer.score(["p"], ["r"]).item(), scorer.identity))
    assert [v for v, _ in values] == [1.0, 2.0]
    assert values[0][1] != values[1][1]


def test_identity_is_content_and_function_not_place_or_name(tmp_path):
    (tmp_path / "a.py").write_text(GOOD)
    (tmp_path / "b.py").write_text(GOOD)
    one = FunctionScorer("x", tmp_path / "a.py", "brevity")
    same = FunctionScorer("y", tmp_path / "b.py", "brevity")
    other = FunctionScorer("x", tmp_path / "a.py", "many")
    assert one.identity == same.identity != other.identity


def test_parse_takes_the_file_relative_to_the_folder(tmp_path):
    (tmp_path / "r.py").write_text(GOOD)
    scorer = FunctionScorer.parse("r", "r.py:brevity", tmp_path)
    assert scorer.score(["p"], ["ab"]).tolist() == [-4.0]


@pytest.mark.parametrize("text", ["r.py", "r:brevity", "r.py:", "r.py:a b", ":brevity", ""])
def test_parse_refuses_other_forms(text, tmp_path):
    with pytest.raises(InputError, match=r"expected 'file\.py:function'"):
        FunctionScorer.parse("r", text, tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.py: No such file"):
        FunctionScorer("r", tmp_path / "nowhere.py", "f")


def test_a_missing_function_proposes_the_nearest(rewards):
    with pytest.raises(InputError, match=r"no function 'brevty' \(did you mean 'brevity'\?\)"):
        rewards("brevty")


def test_a_name_that_is_no_function(rewards):
    with pytest.raises(InputError, match="'constant' is float, expected a function"):
        rewards("constant")


@pytest.mark.parametrize("function", ["one", "swapped"])
def test_other_parameters_are_refused(rewards, function):
    with pytest.raises(InputError, match=r"found parameters \(.*expected def NAME\(prompt, resp"):
        rewards(function)


@pytest.mark.parametrize("source", ["def f(:\n", "import nothing_of_that_name\n", "1 / 0\n"])
def test_a_file_that_does_not_run(tmp_path, source):
    file = tmp_path / "broken.py"
    file.write_text(source)
    with pytest.raises(InputError, match=r"broken\.py: \w+Error: ") as caught:
        FunctionScorer("r", file, "f")
    assert caught.value.__cause__ is not None


def test_an_exception_names_row_function_and_line(rewards):
    with pytest.raises(ScoringError) as caught:
        rewards("fails").score(["p"] * 3, ["ok", "ok", "bad"])
    message = str(caught.value)
    line = GOOD.split("\n").index('        raise KeyError("no such word")') + 1
    assert "rewards.py:fails, row 2: the function raised KeyError: 'no such word'" in message
    assert f"rewards.py:{line}, expected a number" in message
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.row == 2


def test_an_exception_of_a_batch_has_no_row(rewards):
    with pytest.raises(ScoringError, match=r"rewards\.py:fails_all: the function raised Runtime"):
        rewards("fails_all").score(["p"], ["r"])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("text", "row 0: found str '0.5', expected a number"),
        ("nothing", "row 0: found NoneType None, expected a number"),
        ("too_few", r"found shape \(1,\), expected \(2,\)"),
    ],
)
def test_what_is_no_number_is_named(rewards, function, message):
    with pytest.raises(ScoringError, match=message):
        rewards(function).score(["p", "p"], ["1", "2"])


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_value_that_is_not_finite_names_row_and_function(rewards, value):
    with pytest.raises(ScoringError, match=f"rewards.py:infinite, row 1: found {value}"):
        rewards("infinite").score(["p", "p"], ["1", value])
