"""Public formats on hand-made rows with the fields of the real ones."""

from __future__ import annotations

import pytest

from paretune.core.objective import Objectives
from paretune.core.record import Message
from paretune.data.formats import detect
from paretune.data.reader import read_records
from paretune.data.sources import DataSource
from paretune.errors import ConfigError, DataError


def ultrafeedback(**changes):
    def rated(**ratings):
        return {
            aspect: {"Rating": rating, "Rationale": "Because."}
            for aspect, rating in ratings.items()
        }

    row = {
        "source": "made_by_hand",
        "instruction": "Name a color.",
        "models": ["model-1", "model-2"],
        "completions": [
            {
                "annotations": rated(
                    instruction_following="5", truthfulness="4", honesty="N/A", helpfulness="3"
                ),
                "custom_system_prompt": "Be kind.",
                "model": "model-1",
                "principle": "helpfulness",
                "response": "Blue.",
                "critique": "Good.",
                "fine-grained_score": 4.0,
                "overall_score": 8.0,
            },
            {
                "annotations": rated(
                    instruction_following="1", truthfulness="2", honesty="2", helpfulness="1"
                ),
                "model": "model-2",
                "response": "Seven.",
            },
        ],
        "correct_answers": ["None"],
        "incorrect_answers": ["None"],
    }
    return {**row, **changes}


ASPECTS = Objectives.of("instruction_following", "truthfulness", "honesty", "helpfulness")


def test_ultrafeedback(write):
    result = read_records(DataSource(write("u.jsonl", ultrafeedback())), ASPECTS)
    (record,) = result.records
    assert record.prompt == "Name a color."
    assert [(r.text, dict(r.scores)) for r in record.responses] == [
        ("Blue.", {"instruction_following": 5, "truthfulness": 4, "helpfulness": 3}),
        ("Seven.", {"instruction_following": 1, "truthfulness": 2, "honesty": 2, "helpfulness": 1}),
    ]
    assert result.warnings == ()


def test_ultrafeedback_by_other_names(write):
    source = DataSource(
        write("u.jsonl", ultrafeedback()), labels={"useful": "helpfulness", "true": "truthfulness"}
    )
    (record,) = read_records(source, Objectives.of("true", "useful")).records
    assert record.responses[0].scores == {"true": 4.0, "useful": 3.0}


@pytest.mark.parametrize(
    ("completion", "field", "kind"),
    [
        ({"response": None}, "completions[0].response", "not text"),
        (
            {"response": "x", "annotations": {"honesty": {"Rating": "good"}}},
            "completions[0].annotations.honesty.Rating",
            "not a number",
        ),
        (
            {"response": "x", "annotations": {"honesty": {"Rating": "nan"}}},
            "completions[0].annotations.honesty.Rating",
            "not finite",
        ),
        (
            {"response": "x", "annotations": {"honesty": 4}},
            "completions[0].annotations.honesty",
            "not an object",
        ),
        ({"response": "x", "annotations": []}, "completions[0].annotations", "not an object"),
        ("text", "completions[0]", "not an object"),
    ],
)
def test_ultrafeedback_faults(completion, field, kind, write):
    path = write("u.jsonl", ultrafeedback(), ultrafeedback(completions=[completion]))
    with pytest.raises(DataError) as caught:
        read_records(DataSource(path), ASPECTS)
    assert caught.value.problems[0].startswith(f"{path}:2: {field}: {kind}, found ")


def test_ultrafeedback_without_completions_or_ratings(write):
    path = write(
        "u.jsonl",
        ultrafeedback(),
        ultrafeedback(instruction="q", completions=[]),
        ultrafeedback(instruction="r", completions=[{"response": "x", "annotations": None}]),
        ultrafeedback(
            instruction="s", completions=[{"response": "x", "annotations": {"honesty": [{}]}}]
        ),
    )
    result = read_records(DataSource(path), ASPECTS)
    assert result.counts.skipped == {"no response": 1}
    assert [dict(r.scores) for record in result.records[1:] for r in record.responses] == [{}, {}]
    with pytest.raises(DataError, match="completions: not a list, found null"):
        read_records(
            DataSource(write("v.jsonl", ultrafeedback(completions=None))), ASPECTS
        )  # fmt: skip


def helpsteer2(**changes):
    row = {
        "prompt": "Add 2 and 2.",
        "response": "4",
        "helpfulness": 4,
        "correctness": 4,
        "coherence": 4,
        "complexity": 0,
        "verbosity": 1,
    }
    return {**row, **changes}


def test_helpsteer2_joins_the_two_rows_of_a_prompt(write):
    path = write("h.jsonl", helpsteer2(), helpsteer2(response="5", correctness=0, helpfulness=1))
    source = DataSource(path, labels={"right": "correctness"})
    result = read_records(source, Objectives.of("right", "helpfulness"))
    (record,) = result.records
    assert [(r.text, dict(r.scores)) for r in record.responses] == [
        ("4", {"right": 4.0, "helpfulness": 4.0}),
        ("5", {"right": 0.0, "helpfulness": 1.0}),
    ]
    assert result.warnings == ()


def test_helpsteer2_faults(write):
    path = write("h.jsonl", helpsteer2(), helpsteer2(helpfulness="high", response=4))
    with pytest.raises(DataError) as caught:
        read_records(DataSource(path), Objectives.of("helpfulness"))
    assert sorted(p.split(": ")[1] for p in caught.value.problems) == ["helpfulness", "response"]


def pku(**changes):
    row = {
        "prompt": "How do I open a jar?",
        "prompt_source": "made by hand",
        "response_0_source": "a",
        "response_1_source": "b",
        "response_0": "Twist the lid.",
        "response_1": "Break it.",
        "is_response_0_safe": True,
        "is_response_1_safe": False,
        "response_0_harm_category": {"violence": False},
        "response_1_harm_category": {"violence": True},
        "response_0_severity_level": 0,
        "response_1_severity_level": 1,
        "better_response_id": 1,
        "safer_response_id": 0,
        "response_0_sha256": "0",
        "response_1_sha256": "1",
    }
    return {**row, **changes}


PKU_LABELS = {"helpful": "better_response_id", "harmless": "safer_response_id"}


def test_pku_saferlhf(write, objectives):
    result = read_records(DataSource(write("p.jsonl", pku()), labels=PKU_LABELS), objectives)
    (record,) = result.records
    assert [r.text for r in record.responses] == ["Twist the lid.", "Break it."]
    assert record.comparisons[0].labels == {"helpful": -1.0, "harmless": 1.0}
    assert result.warnings == ()


@pytest.mark.parametrize("value", [2, -1, True, "0", 0.5, [0]])
def test_pku_saferlhf_faults(value, write, objectives):
    path = write("p.jsonl", pku(), pku(safer_response_id=value))
    with pytest.raises(DataError) as caught:
        read_records(DataSource(path, labels=PKU_LABELS), objectives)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}:2: safer_response_id: no such response, found ")


def test_pku_saferlhf_without_a_choice_is_not_labelled(write, objectives):
    path = write("p.jsonl", pku(better_response_id=None))
    (record,) = read_records(DataSource(path, labels=PKU_LABELS), objectives).records
    assert record.comparisons[0].labels == {"harmless": 1.0}


START = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why is grass green?\n\nAssistant:"


def hh(chosen=" It holds chlorophyll.", rejected=" I like red.", start=START):
    return {"chosen": start + chosen, "rejected": start + rejected}


def test_hh_rlhf_keeps_every_character_as_text(write, objectives):
    source = DataSource(write("h.jsonl", hh()), format="hh_rlhf", objective="helpful")
    (record,) = read_records(source, objectives).records
    assert record.prompt == START
    assert [r.text for r in record.responses] == [" It holds chlorophyll.", " I like red."]
    assert record.comparisons[0].labels == {"helpful": 1.0}


def test_hh_rlhf_as_messages(write, objectives):
    source = DataSource(write("h.jsonl", hh()), objective="helpful", turns="messages")
    (record,) = read_records(source, objectives).records
    assert record.prompt == (
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "Why is grass green?"),
    )
    assert [r.text for r in record.responses] == ["It holds chlorophyll.", "I like red."]


def test_hh_rlhf_splits_at_the_last_common_assistant(write, objectives):
    # The replies begin alike, and one of them goes on for another turn.
    row = hh(" It is so.\n\nHuman: Sure?\n\nAssistant: Yes.", " It is not.")
    source = DataSource(write("h.jsonl", row), objective="helpful")
    (record,) = read_records(source, objectives).records
    assert record.prompt == START
    assert record.responses[0].text.endswith("Assistant: Yes.")
    assert record.responses[1].text == " It is not."


def test_hh_rlhf_with_a_prompt_of_its_own(write, objectives):
    row = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
    source = DataSource(write("h.jsonl", row), objective="harmless")
    (record,) = read_records(source, objectives).records
    assert (record.prompt, record.responses[0].text) == ("Why?", "So.")
    assert record.comparisons[0].labels == {"harmless": 1.0}


def test_hh_rlhf_needs_an_objective(write, objectives):
    path = write("h.jsonl", hh(), hh(" x"))
    with pytest.raises(DataError, match="objective: found none") as caught:
        read_records(DataSource(path), objectives)
    assert len(caught.value.problems) == 1  # said once, not for every row
    with pytest.raises(ConfigError, match="objective: found none"):
        DataSource(path, format="hh_rlhf")


@pytest.mark.parametrize(
    ("row", "turns", "field", "kind"),
    [
        ({"chosen": "a", "rejected": "b"}, "text", "rejected", "another dialogue"),
        ({"chosen": START, "rejected": None}, "text", "rejected", "not text"),
        ({"chosen": "x" + START + "a", "rejected": "x" + START + "b"}, "messages", "prompt",
         "not a dialogue"),
        ({"prompt": "Why?", "chosen": "a", "rejected": "b"}, "messages", "prompt",
         "not a dialogue"),
    ],
)  # fmt: skip
def test_hh_rlhf_faults(row, turns, field, kind, write, objectives):
    path = write("h.jsonl", hh(), row)
    with pytest.raises(DataError) as caught:
        read_records(DataSource(path, objective="helpful", turns=turns), objectives)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}:2: {field}: {kind}, found ")


def test_empty_and_identical_replies_are_counted(write, objectives):
    path = write("h.jsonl", hh(), hh(rejected=""), hh(" same", " same"))
    counts = read_records(DataSource(path, objective="helpful"), objectives).counts
    assert counts.skipped == {"empty response": 1, "identical responses": 1}


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (ultrafeedback(), "ultrafeedback"),
        (helpsteer2(), "helpsteer2"),
        (pku(), "pku_saferlhf"),
        (hh(), "hh_rlhf"),
        ({"prompt": "p", "response": "x"}, "responses"),
        ({"prompt": "p", "responses": []}, "records"),
        ({"prompt": "p", "response_a": "x", "response_b": "y"}, "pairs"),
    ],
)
def test_formats_are_told_apart(row, name):
    assert detect(row).name == name


def test_no_format():
    assert detect({"prompt": "p"}) is None
