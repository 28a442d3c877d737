"""Every kind of bad row is reported as ``file:line: field: reason``, all of them in one pass."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from paretune.data.jsonl import read_jsonl
from paretune.data.reader import read_records
from paretune.data.sources import DataSource, RowRules
from paretune.errors import DataError

GOOD = {
    "prompt": "What is rain?",
    "response_a": "Water that falls.",
    "response_b": "A kind of dog.",
    "labels": {"helpful": 1, "harmless": None},
    "scores_a": {"helpful": 4.5},
}


def pair(**changes: object) -> bytes:
    row = {**GOOD, **changes}
    return json.dumps({k: v for k, v in row.items() if v is not ...}).encode()


def raw(old: str, new: str) -> bytes:
    """The good row with a piece of its text replaced by something ``json`` would not write."""
    line = json.dumps(GOOD)
    assert old in line
    return line.replace(old, new, 1).encode()


TURN = {"role": "user", "content": "Hi"}

# name -> (line, field, kind)
BAD: dict[str, tuple[bytes, str, str]] = {
    "response missing": (pair(response_b=...), "response_b", "missing"),
    "response null": (pair(response_b=None), "response_b", "not text"),
    "response int": (pair(response_a=3), "response_a", "not text"),
    "response bool": (pair(response_a=True), "response_a", "not text"),
    "response list": (pair(response_a=["x"]), "response_a", "not text"),
    "response object": (pair(response_a={"text": "x"}), "response_a", "not text"),
    "response NaN": (raw('"A kind of dog."', "NaN"), "response_b", "not text"),
    "prompt missing": (pair(prompt=...), "prompt", "missing"),
    "prompt null": (pair(prompt=None), "prompt", "not text"),
    "prompt object": (pair(prompt=TURN), "prompt", "not text"),
    "prompt without turns": (pair(prompt=[]), "prompt", "no turns"),
    "turn is text": (pair(prompt=["Hi"]), "prompt[0]", "not a message"),
    "turn with unknown role": (
        pair(prompt=[TURN, {"role": "robot", "content": ""}]), "prompt[1].role", "unknown role",
    ),
    "turn with a list as role": (
        pair(prompt=[{"role": [], "content": "x"}]), "prompt[0].role", "unknown role",
    ),
    "turn without content": (pair(prompt=[{"role": "user"}]), "prompt[0].content", "missing"),
    "turn with null content": (
        pair(prompt=[{"role": "user", "content": None}]), "prompt[0].content", "not text",
    ),
    "score NaN": (raw("4.5", "NaN"), "scores_a.helpful", "not finite"),
    "score Infinity": (raw("4.5", "Infinity"), "scores_a.helpful", "not finite"),
    "score -Infinity": (raw("4.5", "-Infinity"), "scores_a.helpful", "not finite"),
    "score 1e999": (raw("4.5", "1e999"), "scores_a.helpful", "not finite"),
    "score of 400 digits": (raw("4.5", "9" * 400), "scores_a.helpful", "not finite"),
    "score of 5000 digits": (raw("4.5", "9" * 5000), "row", "number too large"),
    "score text": (pair(scores_a={"helpful": "4"}), "scores_a.helpful", "not a number"),
    "score bool": (pair(scores_a={"helpful": True}), "scores_a.helpful", "not a number"),
    "score list": (pair(scores_a={"helpful": [1]}), "scores_a.helpful", "not a number"),
    "scores as a list": (pair(scores_a=[1, 2]), "scores_a", "not an object"),
    "label above 1": (pair(labels={"helpful": 1.01}), "labels.helpful", "out of range"),
    "label below -1": (pair(labels={"harmless": -2}), "labels.harmless", "out of range"),
    "label NaN": (raw('"helpful": 1,', '"helpful": NaN,'), "labels.helpful", "not finite"),
    "label text": (pair(labels={"helpful": "a"}), "labels.helpful", "not a number"),
    "labels as a number": (pair(labels=1), "labels", "not an object"),
    "invalid UTF-8": (b'{"prompt": "caf\xe9"}', "row", "invalid UTF-8"),
    "cut line": (pair()[:-20], "row", "line ends early"),
    "cut between fields": (pair().split(b', "labels"')[0], "row", "line ends early"),
    "bad JSON": (pair().replace(b":", b"=", 1), "row", "not JSON"),
    "two objects": (pair() + pair(), "row", "not JSON"),
    "scalar": (b"42", "row", "not an object"),
    "text": (b'"hello"', "row", "not an object"),
    "null": (b"null", "row", "not an object"),
    "array": (b"[" + pair() + b"]", "row", "not an object"),
    "repeated key": (raw("{", '{"prompt": "x", '), "row", "repeated key"),
    "lone surrogate": (raw("A kind", r"\ud800 kind"), "response_b", "lone surrogate"),
    "byte order mark": (b"\xef\xbb\xbf" + pair(), "row", "byte order mark"),
    "nested too deep": (b"[" * 100_000, "row", "nested too deep"),
    "NUL byte": (b'{"prompt": "\x00"}', "row", "not JSON"),
    "no field": (b"{}", "response_a", "missing"),
}  # fmt: skip
RECORD = {"prompt": "p", "responses": [{"text": "x"}, {"text": "y"}]}
BAD_RECORDS: dict[str, tuple[dict, str, str]] = {
    "responses missing": ({"prompt": "p"}, "responses", "missing"),
    "responses null": ({"responses": None}, "responses", "not a list"),
    "responses object": ({"responses": {}}, "responses", "not a list"),
    "response number": ({"responses": [1]}, "responses[0]", "not an object"),
    "text missing": ({"responses": [{"scores": {}}]}, "responses[0].text", "missing"),
    "score text": (
        {"responses": [{"text": "x"}, {"text": "y", "scores": {"helpful": "N/A"}}]},
        "responses[1].scores.helpful", "not a number",
    ),
    "comparisons object": ({"comparisons": {}}, "comparisons", "not a list"),
    "comparison list": ({"comparisons": [[0, 1]]}, "comparisons[0]", "not an object"),
    "no such response": (
        {"comparisons": [{"first": 0, "second": 2, "labels": {}}]},
        "comparisons[0].second", "no such response",
    ),
    "negative index": (
        {"comparisons": [{"first": -1, "second": 1, "labels": {}}]},
        "comparisons[0].first", "no such response",
    ),
    "bool index": (
        {"comparisons": [{"first": False, "second": 1, "labels": {}}]},
        "comparisons[0].first", "no such response",
    ),
    "itself": (
        {"comparisons": [{"first": 1, "second": 1, "labels": {}}]},
        "comparisons[0]", "compared with itself",
    ),
    "label": (
        {"comparisons": [{"first": 0, "second": 1, "labels": {"helpful": 3}}]},
        "comparisons[0].labels.helpful", "out of range",
    ),
}  # fmt: skip


def problems(path: str, objectives) -> list[str]:
    with pytest.raises(DataError) as caught:
        read_records(DataSource(path), objectives)
    return list(caught.value.problems)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_among_good_ones(name, write, objectives):
    line, field, kind = BAD[name]
    good = [pair(prompt=f"Question {i}?") for i in range(40)]
    path = write("rows.jsonl", *good[:20], line, *good[20:])
    problem = problems(path, objectives)[0]
    assert problem.startswith(f"{path}:21: {field}: {kind}, found ")
    assert ", expected " in problem


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_a_bad_record_among_good_ones(name, write, objectives):
    changes, field, kind = BAD_RECORDS[name]
    row = {**RECORD, **changes}
    if name == "responses missing":
        del row["responses"]
    path = write("rows.jsonl", RECORD, row, {**RECORD, "prompt": "q"})
    (problem,) = problems(path, objectives)
    assert problem.startswith(f"{path}:2: {field}: {kind}, found ")


def test_all_bad_rows_in_one_pass(write, objectives):
    lines: list[bytes] = [pair()]
    expected = []
    for i, (line, field, kind) in enumerate(BAD.values()):
        expected.append((2 * i + 2, field, kind))
        lines += [line, pair(prompt=f"Question {i}?")]
    path = write("rows.jsonl.gz", *lines)
    found = problems(path, objectives)
    for line, field, kind in expected:
        assert any(p.startswith(f"{path}:{line}: {field}: {kind}, ") for p in found), (line, kind)
    # And not one good row is blamed.
    assert {int(p[len(path) + 1 :].split(":")[0]) for p in found} == {e[0] for e in expected}


def test_skipping_all_bad_rows_loses_no_count(write, objectives):
    lines = [line for line, _, _ in BAD.values()]
    path = write("rows.jsonl", pair(), *lines)
    result = read_records(DataSource(path), objectives, on_bad="skip")
    assert result.counts.read == 1 + len(BAD)
    assert result.counts.used == 1
    assert result.counts.n_skipped == len(BAD)


def test_what_is_no_fault(tmp_path: Path, objectives):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + pair() + b"\r\n\r\n  \n" + pair(prompt="caf\u00e9 \u2028 \U0001f600")
    )
    result = read_records(DataSource(str(path)), objectives)
    assert result.counts.used == 2
    assert result.records[1].prompt == "caf\u00e9 \u2028 \U0001f600"
    assert [row.line for row in read_jsonl(path, "rows")] == [1, 4]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"response_a": ""}, "empty response"),
        ({"response_b": " \n"}, "empty response"),
        ({"response_a": "", "response_b": ""}, "empty response"),
        ({"prompt": ""}, "empty prompt"),
        ({"prompt": [{"role": "user", "content": " "}]}, "empty prompt"),
        ({"response_a": "same", "response_b": "same"}, "identical responses"),
    ],
)
def test_doubtful_rows_are_counted_or_refused(changes, reason, write, objectives):
    path = write("rows.jsonl", pair(), pair(**changes))
    counts = read_records(DataSource(path), objectives).counts
    assert (counts.read, counts.used, counts.skipped) == (2, 1, {reason: 1})
    rules = RowRules(empty="error", identical="error")
    with pytest.raises(DataError) as caught:
        read_records(DataSource(path), objectives, rules=rules)
    assert all(p.startswith(f"{path}:2: ") and reason in p for p in caught.value.problems)


def test_a_long_text_is_cut_shortened_or_refused(write, objectives):
    path = write("rows.jsonl", pair(), pair(response_a="x" * 1_000_000))
    result = read_records(DataSource(path), objectives)
    assert result.counts.cut == {"longer than 100000 characters: response": 1}
    short = read_records(DataSource(path), objectives, rules=RowRules(too_long="truncate"))
    assert short.counts.used == 2
    assert max(len(r.text) for r in short.records[0].responses) == 100_000
    assert any("1 responses shortened to 100000 characters" in w for w in short.warnings)
    with pytest.raises(DataError, match=r"rows.jsonl:2: response_a: too long, found 1000000 char"):
        read_records(DataSource(path), objectives, rules=RowRules(too_long="error"))


@pytest.mark.parametrize("policy", ["skip", "truncate"])
def test_a_long_prompt_is_cut(policy, write, objectives):
    turns = [{"role": "user", "content": "x" * 60}, {"role": "assistant", "content": "y" * 60}]
    path = write("rows.jsonl", pair(), pair(prompt=turns))
    rules = RowRules(prompt_chars=100, too_long=policy)
    counts = read_records(DataSource(path), objectives, rules=rules).counts
    assert counts.cut == {"longer than 100 characters: prompt": 1}


def test_a_line_longer_than_the_memory_for_one_row(write):
    path = write("rows.jsonl", pair(), b"x" * 5000, pair())
    rows = list(read_jsonl(Path(path), "rows", max_line_bytes=1000))
    assert [(row.line, bool(row.faults)) for row in rows] == [(1, False), (2, True), (3, False)]
    assert rows[1].faults[0].kind == "line too long"


@pytest.mark.parametrize("text", ["a\x00b", "esc\x1b[31m"])
def test_control_characters_are_kept_and_counted(text, write, objectives):
    path = write("rows.jsonl", pair(response_a=text))
    result = read_records(DataSource(path), objectives)
    assert result.records[0].responses[0].text == text
    assert any("control characters in a text in 1 rows, kept" in w for w in result.warnings)


@pytest.mark.parametrize("text", ["</s><s>", "a <pad>", "<|im_end|>", "[INST] x"])
def test_special_tokens_are_kept_and_counted(text, write, objectives):
    path = write("rows.jsonl", pair(response_a=text), pair(prompt="<b>not one</b> [1] a < b"))
    result = read_records(DataSource(path), objectives)
    assert result.records[0].responses[0].text == text
    assert any("special token of a model in 1 rows, kept" in w for w in result.warnings)


@pytest.mark.parametrize("policy", ["keep", "skip", "error"])
def test_repeated_rows(policy, write, objectives):
    path = write("rows.jsonl", pair(), pair(id="other id, same content"), pair(prompt="q"))
    rules = RowRules(repeated=policy)
    if policy == "error":
        with pytest.raises(DataError, match=r"rows.jsonl:2: row: repeats an earlier row"):
            read_records(DataSource(path), objectives, rules=rules)
        return
    result = read_records(DataSource(path), objectives, rules=rules)
    assert result.counts.used == (3 if policy == "keep" else 2)
    # A comparison made twice counts twice unless it is skipped.
    assert len(result.records[0].comparisons) == (2 if policy == "keep" else 1)
    assert any("1 rows repeat an earlier row" in w for w in result.warnings)


@pytest.mark.parametrize("policy", ["keep", "skip", "error"])
def test_ties(policy, write, objectives):
    tied = pair(labels={"helpful": 0, "harmless": 0})
    half = pair(labels={"helpful": 0, "harmless": 1}, prompt="q")
    none = pair(labels={}, prompt="r")
    path = write("rows.jsonl", half, tied, none)
    rules = RowRules(ties=policy)
    if policy == "error":
        with pytest.raises(DataError, match=r"rows.jsonl:2: response_b: tie on every label"):
            read_records(DataSource(path), objectives, rules=rules)
        return
    counts = read_records(DataSource(path), objectives, rules=rules).counts
    assert counts.skipped == ({} if policy == "keep" else {"tie on every label": 1})


def test_a_record_loses_its_empty_responses_only(write, objectives):
    row = {
        "prompt": "p",
        "responses": [{"text": ""}, {"text": "x"}, {"text": "y"}, {"text": "x"}],
        "comparisons": [
            {"first": 0, "second": 1, "labels": {"helpful": -1}},
            {"first": 2, "second": 1, "labels": {"helpful": 1}},
            {"first": 1, "second": 3, "labels": {"helpful": 0}},
        ],
    }
    result = read_records(DataSource(write("rows.jsonl", row)), objectives)
    (record,) = result.records
    assert [r.text for r in record.responses] == ["x", "y", "x"]
    assert [(c.first, c.second) for c in record.comparisons] == [(1, 0)]
    assert result.counts.omitted == {
        "empty response": 1,
        "comparison: empty response": 1,
        "comparison: identical responses": 1,
    }


def test_a_record_without_responses_is_counted_or_refused(write, objectives):
    path = write("rows.jsonl", RECORD, {**RECORD, "responses": []})
    assert read_records(DataSource(path), objectives).counts.skipped == {"no response": 1}
    with pytest.raises(DataError, match=r"rows.jsonl:2: responses: no response"):
        read_records(DataSource(path), objectives, rules=RowRules(empty="error"))


def test_a_truncated_gz_is_named_even_when_skipping(tmp_path: Path, objectives):
    # Random ids keep the file from being compressed into a single block.
    lines = [pair(prompt=f"{i} {hash((i, 7)) % 10**9}?") for i in range(2000)]
    path = tmp_path / "rows.jsonl.gz"
    whole = gzip.compress(b"\n".join([b"{", *lines]))
    path.write_bytes(whole[: len(whole) // 2])
    for on_bad in ("error", "skip"):
        with pytest.raises(DataError) as caught:
            read_records(DataSource(str(path)), objectives, on_bad=on_bad)
        # The bad row before the damage is reported as well.
        assert caught.value.problems[0].startswith(f"{path}:1: row: ")
        assert "file: damaged gzip data" in caught.value.problems[-1]


def test_damage_inside_a_gz_is_named(tmp_path: Path, objectives):
    path = tmp_path / "rows.jsonl.gz"
    data = bytearray(gzip.compress(b"\n".join(pair(prompt=str(i)) for i in range(3000))))
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match="file: damaged gzip data"):
        read_records(DataSource(str(path)), objectives, on_bad="skip")
