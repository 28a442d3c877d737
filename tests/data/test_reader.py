"""Rows in, records out, and the account of every row."""

from __future__ import annotations

import math

import pytest

from paretune.core.record import Message, PreferenceData
from paretune.data.reader import read_all, read_records
from paretune.data.sources import DataSource, RowRules
from paretune.errors import ConfigError, DataError


def test_a_pair_row(write, pair, objectives):
    result = read_records(DataSource(write("a.jsonl", pair())), objectives)
    (record,) = result.records
    assert record.prompt == "How do plants eat?"
    assert [r.text for r in record.responses] == ["They make sugar from light.", "With forks."]
    (comparison,) = record.comparisons
    assert (comparison.first, comparison.second) == (0, 1)
    assert comparison.labels == {"helpful": 1.0, "harmless": 0.0}
    assert (result.counts.read, result.counts.used) == (1, 1)
    assert result.warnings == ()


def test_null_is_not_labelled_and_zero_is_a_tie(write, pair, objectives):
    path = write("a.jsonl", pair(labels={"helpful": None, "harmless": 0}))
    (record,) = read_records(DataSource(path), objectives).records
    assert record.comparisons[0].labels == {"harmless": 0.0}


def test_a_record_row(write, objectives):
    row = {
        "id": "r1",
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "responses": [
            {"text": "Hello", "scores": {"helpful": 4, "harmless": None, "funny": 2}},
            {"text": "Go away", "scores": {"helpful": 1.5}},
            {"text": "..."},
        ],
        "comparisons": [{"first": 2, "second": 0, "labels": {"harmless": -0.5}}],
    }
    (record,) = read_records(DataSource(write("a.jsonl", row)), objectives).records
    assert record.prompt == (Message("system", "Be brief."), Message("user", "Hi"))
    assert [r.scores for r in record.responses] == [{"helpful": 4.0}, {"helpful": 1.5}, {}]
    assert (record.comparisons[0].first, record.comparisons[0].second) == (2, 0)
    assert record.comparisons[0].labels == {"harmless": -0.5}


def test_single_responses_of_a_prompt_are_joined(write, objectives):
    path = write(
        "a.jsonl",
        {"prompt": "p", "response": "x", "scores": {"helpful": 1}},
        {"prompt": "q", "response": "x", "scores": {"helpful": 3}},
        {"prompt": "p", "response": "y", "scores": {"helpful": 2, "harmless": 0}},
    )
    result = read_records(DataSource(path), objectives)
    assert [r.prompt for r in result.records] == ["p", "q"]
    assert [(r.text, dict(r.scores)) for r in result.records[0].responses] == [
        ("x", {"helpful": 1.0}),
        ("y", {"helpful": 2.0, "harmless": 0.0}),
    ]
    assert (result.counts.read, result.counts.used, len(result.records)) == (3, 3, 2)


def test_scores_may_be_columns_with_other_names(write, objectives):
    path = write("a.jsonl", {"question": "p", "answer": "x", "quality": 3, "harmless": 1})
    source = DataSource(
        path,
        labels={"helpful": "quality"},
        columns={"prompt": "question", "response": "answer"},
    )
    result = read_records(source, objectives)
    assert result.records[0].prompt == "p"
    assert result.records[0].responses[0].scores == {"helpful": 3.0, "harmless": 1.0}
    assert result.warnings == ()


def test_faults_name_the_columns_of_the_user(write, objectives):
    path = write("a.jsonl", {"question": 7, "answer": "x"})
    source = DataSource(path, columns={"prompt": "question", "response": "answer"})
    with pytest.raises(DataError) as caught:
        read_records(source, objectives)
    assert caught.value.problems == (f"{path}:1: question: not text, found 7, expected text",)


def test_files_of_different_axes_meet_in_one_record(write, pair, objectives):
    helpful = write("h.jsonl", pair(labels={"helpful": 1}))
    turned = pair(response_a="With forks.", response_b="They make sugar from light.")
    harmless = write("s.jsonl", {**turned, "labels": {"harmless": 1}})
    scored = write(
        "r.jsonl",
        {"prompt": "How do plants eat?", "response": "With forks.", "scores": {"helpful": -2}},
    )
    result = read_all([DataSource(p) for p in (helpful, harmless, scored)], objectives)
    (record,) = result.records
    assert [r.text for r in record.responses] == ["They make sugar from light.", "With forks."]
    # The harmless label was given for the pair the other way round.
    assert record.comparisons[0].labels == {"helpful": 1.0, "harmless": -1.0}
    assert record.responses[1].scores == {"helpful": -2.0}
    assert [(path, c.read, c.used) for path, c in result.by_source] == [
        (helpful, 1, 1), (harmless, 1, 1), (scored, 1, 1),
    ]  # fmt: skip
    data = PreferenceData.from_records(result.records, objectives.names)
    assert data.n_prompts == 1
    assert math.isnan(data.rewards.values[1, 1])
    assert data.rewards.values[1, 0] == -2.0


def test_one_axis_files_need_no_label_names(write, pair, objectives):
    path = write("a.jsonl", pair(labels={"quality": -1}), pair(prompt="q", labels=0.5))
    result = read_records(DataSource(path, objective="harmless"), objectives)
    labels = [record.comparisons[0].labels for record in result.records]
    assert labels == [{"harmless": -1.0}, {"harmless": 0.5}]


def test_labels_by_other_names(write, pair, objectives):
    path = write("a.jsonl", pair(labels={"helpfulness": 1, "harmless": -1}))
    source = DataSource(path, labels={"helpful": "helpfulness"})
    (record,) = read_records(source, objectives).records
    assert record.comparisons[0].labels == {"helpful": 1.0, "harmless": -1.0}


def test_a_label_that_no_row_has_is_refused(write, pair, objectives):
    path = write("a.jsonl", pair())
    with pytest.raises(DataError, match=r"found no 'helpfulness'.*expected one of: harmless, he"):
        read_records(DataSource(path, labels={"helpful": "helpfulness"}), objectives)


def test_a_source_names_only_objectives_of_the_run(write, pair, objectives):
    path = write("a.jsonl", pair())
    with pytest.raises(ConfigError, match=r"'helpfull'.*did you mean 'helpful'"):
        read_records(DataSource(path, labels={"helpfull": "helpful"}), objectives)
    with pytest.raises(ConfigError, match="'honest'"):
        read_records(DataSource(path, objective="honest"), objectives)


def test_an_objective_without_any_label_is_a_warning(write, pair, objectives):
    path = write("a.jsonl", pair(labels={"helpful": 1, "harmlessness": 1}))
    (warning,) = read_records(DataSource(path), objectives).warnings
    assert "objective 'harmless' has no label or score" in warning
    assert "did you mean 'harmlessness'" in warning


def test_all_bad_rows_of_all_files_are_reported_at_once(write, pair, objectives):
    one = write("one.jsonl", pair(), b"{", pair(labels={"helpful": 2, "harmless": "no"}))
    two = write("two.jsonl", pair(response_b=None), pair())
    with pytest.raises(DataError) as caught:
        read_all([DataSource(one), DataSource(two)], objectives)
    places = [problem.split(": ")[:2] for problem in caught.value.problems]
    assert places == [
        [f"{one}:2", "row"],
        [f"{one}:3", "labels.helpful"],
        [f"{one}:3", "labels.harmless"],
        [f"{two}:1", "response_b"],
    ]
    assert "4 problems in 5 rows" in str(caught.value)


def test_bad_rows_can_be_skipped_and_are_counted(write, pair, objectives):
    path = write("a.jsonl", pair(), b"[]", pair(response_a=True), pair(prompt=""), pair(prompt="q"))
    result = read_records(DataSource(path), objectives, on_bad="skip")
    assert result.counts.read == 5
    assert result.counts.used == 2
    assert result.counts.skipped == {
        "bad row: not an object": 1,
        "bad row: not text": 1,
        "empty prompt": 1,
    }
    assert [p.split(": ")[0] for p in result.problems] == [f"{path}:2", f"{path}:3"]


def test_the_message_shows_a_hundred_problems_and_keeps_all(write, objectives):
    path = write("a.jsonl", *[b"1"] * 110)
    with pytest.raises(DataError) as caught:
        read_records(DataSource(path), objectives)
    assert len(caught.value.problems) == 110
    lines = str(caught.value).splitlines()
    assert sum(line.startswith(f"  {path}:") for line in lines) == 100
    assert lines[-2:] == [
        "  and 10 more",
        "  note: to leave the 110 bad rows out, counted: --set data.on_bad=skip",
    ]


def test_no_usable_row_is_an_error_even_when_skipping(write, pair, objectives):
    path = write("a.jsonl", pair(prompt=" "), pair(response_a=""))
    for on_bad in ("error", "skip"):
        with pytest.raises(DataError, match=r"no row is left of 2 read.*1 empty prompt"):
            read_records(DataSource(path), objectives, on_bad=on_bad)


def test_an_empty_file_is_an_error(write, objectives):
    with pytest.raises(DataError, match="no rows"):
        read_records(DataSource(write("a.jsonl")), objectives, on_bad="skip")


def test_a_missing_file_is_named(tmp_path, objectives):
    with pytest.raises(DataError, match=r"nothing\.jsonl: file: not found"):
        read_records(DataSource(tmp_path / "nothing.jsonl"), objectives)


def test_a_limit_stops_reading_and_says_so(write, pair, objectives):
    path = write("a.jsonl", pair(), pair(prompt="q"), b"not looked at")
    result = read_records(DataSource(path, limit=2), objectives)
    assert result.counts.read == 2
    assert any("limit of 2 rows reached" in warning for warning in result.warnings)
    whole = write("b.jsonl", pair(), pair(prompt="q"))
    assert read_records(DataSource(whole, limit=2), objectives).warnings == ()


def test_unknown_fields_are_counted_once_and_metadata_is_silent(write, pair, objectives):
    path = write("a.jsonl", pair(id=1, meta={}, mood="x"), pair(prompt="q", flags=[], mood="y"))
    result = read_records(DataSource(path), objectives)
    assert result.warnings == (
        f'{path}: unknown field "mood" in 2 rows, ignored: {path}:1, {path}:2',
    )


def test_the_shape_is_that_of_the_first_readable_row(write, pair, objectives):
    path = write("a.jsonl", b"{", pair(), {"prompt": "p", "response": "x"})
    with pytest.raises(DataError) as caught:
        read_records(DataSource(path), objectives)
    assert [p.split(": ")[1] for p in caught.value.problems] == ["row", "response_a", "response_b"]


def test_the_shape_can_be_forced(write, objectives):
    path = write("a.jsonl", {"prompt": "p", "chosen": "x", "response": "y"})
    with pytest.raises(DataError, match="responses: missing"):
        read_records(DataSource(path, format="records"), objectives)


def test_a_row_of_no_shape_names_what_is_known(write, objectives):
    path = write("a.jsonl", {"instruction": "p", "output": "y"})
    with pytest.raises(DataError) as caught:
        read_records(DataSource(path), objectives)
    (problem,) = caught.value.problems
    assert '"instruction", "output"' in problem
    assert "response_a + response_b" in problem


def test_sources_are_needed(objectives):
    with pytest.raises(ConfigError, match="no source"):
        read_all([], objectives)


def test_on_bad_is_checked(write, pair, objectives):
    with pytest.raises(ConfigError, match="on_bad: unknown value 'ignore'"):
        read_records(DataSource(write("a.jsonl", pair())), objectives, on_bad="ignore")


def test_every_count_together(write, pair, objectives):
    path = write(
        "a.jsonl",
        pair(),
        pair(),
        pair(response_b="They make sugar from light."),
        pair(response_a="x" * 50),
        b"{}x",
        pair(response_b=" "),
    )
    rules = RowRules(response_chars=40, repeated="skip")
    counts = read_records(DataSource(path), objectives, on_bad="skip", rules=rules).counts
    assert (counts.read, counts.used) == (6, 1)
    assert counts.skipped == {
        "repeats an earlier row": 1,
        "identical responses": 1,
        "bad row: not JSON": 1,
        "empty response": 1,
    }
    assert counts.cut == {"longer than 40 characters: response": 1}
    assert counts.read == counts.used + counts.n_skipped + counts.n_cut
