"""Forty-two bad rows among forty good ones: every one is told, in one pass, and none is lost."""

from __future__ import annotations

import json
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from paretune.data.quarantine import quarantined_bytes
from paretune.data.reader import read_all, read_records
from paretune.data.sources import DataSource, RowRules
from paretune.errors import DataError

GOOD = {
    "prompt": "What is rain?",
    "response_a": "Water that falls.",
    "response_b": "A kind of dog.",
    "labels": {"helpful": 1, "harmless": -1},
    "scores_a": {"helpful": 4.5, "harmless": 1},
    "scores_b": {"helpful": 2, "harmless": 3},
}


def pair(**changes: object) -> bytes:
    row = {**GOOD, **changes}
    return json.dumps({k: v for k, v in row.items() if v is not ...}).encode()


def raw(old: str, new: str) -> bytes:
    line = json.dumps(GOOD)
    assert old in line
    return line.replace(old, new, 1).encode()


NOT_TEXT = {
    "missing": ..., "null": None, "int": 3, "bool": True, "list": ["x"], "object": {"text": "x"},
}  # fmt: skip
REFUSED: dict[str, tuple[bytes, str, str]] = {
    **{
        f"{side} {name}": (pair(**{side: v}), side, "missing" if v is ... else "not text")
        for side in ("response_a", "response_b")
        for name, v in NOT_TEXT.items()
    },
    "prompt missing": (pair(prompt=...), "prompt", "missing"),
    "prompt null": (pair(prompt=None), "prompt", "not text"),
    "prompt int": (pair(prompt=7), "prompt", "not text"),
    "score NaN": (raw("4.5", "NaN"), "scores_a.helpful", "not finite"),
    "score Infinity": (raw("4.5", "Infinity"), "scores_a.helpful", "not finite"),
    "score -Infinity": (raw("4.5", "-Infinity"), "scores_a.helpful", "not finite"),
    "score of 400 digits": (raw("4.5", "9" * 400), "scores_a.helpful", "not finite"),
    "score N/A": (raw("4.5", '"N/A"'), "scores_a.helpful", "not a number"),
    "label over 1": (pair(labels={"helpful": 2}), "labels.helpful", "out of range"),
    "invalid UTF-8": (pair().replace(b"rain", b"r\xe9n"), "row", "invalid UTF-8"),
    "cut line": (pair()[:-20], "row", "line ends early"),
    "bad JSON": (pair().replace(b":", b"=", 1), "row", "not JSON"),
    "scalar": (b"42", "row", "not an object"),
    "array": (b"[" + pair() + b"]", "row", "not an object"),
    "repeated key": (raw("{", '{"prompt": "x", '), "row", "repeated key"),
    "lone surrogate": (raw("A kind", r"\ud800 kind"), "response_b", "lone surrogate"),
    "byte order mark": (b"\xef\xbb\xbf" + pair(), "row", "byte order mark"),
}
LEFT_OUT: dict[str, tuple[bytes, str]] = {
    "empty chosen": (pair(response_a=""), "empty response"),
    "empty rejected": (pair(response_b=" "), "empty response"),
    "both empty": (pair(response_a="", response_b=""), "empty response"),
    "empty prompt": (pair(prompt=""), "empty prompt"),
    "identical": (pair(response_b=GOOD["response_a"]), "identical responses"),
    "line of 1 MB": (pair(response_a="x" * 1_000_000), "longer than 100000 characters: response"),
    "long prompt": (pair(prompt="x" * 100_001), "longer than 100000 characters: prompt"),
}
TOLD: dict[str, tuple[bytes, str]] = {
    "repeated row": (pair(prompt="Question 3?"), "1 rows repeat an earlier row, used"),
    "extra column": (pair(mood="x"), 'unknown field "mood" in 1 rows, ignored'),
    "NUL": (pair(response_a="a\x00b"), "NUL or other control characters in a text in 1 rows"),
    "end token": (pair(response_a="a</s>"), "special token of a model in 3 rows, kept"),
    "start token": (pair(response_b="<s>"), "special token of a model in 3 rows, kept"),
    "padding": (pair(prompt="<pad>"), "special token of a model in 3 rows, kept"),
}
BAD = {name: line for cases in (REFUSED, LEFT_OUT, TOLD) for name, (line, *_) in cases.items()}
GOOD_LINES = [pair(prompt=f"Question {i}?") for i in range(40)]
PLACE = {name: 21 + i for i, name in enumerate(BAD)}
STRICT = RowRules(empty="error", identical="error", repeated="error", too_long="error")


@pytest.fixture
def path(write: Any) -> str:
    """The 42 in the middle of the 40."""
    assert len(BAD) == 42
    return str(write("rows.jsonl", *GOOD_LINES[:20], *BAD.values(), *GOOD_LINES[20:]))


def lines_of(problems: Any, path: str) -> set[int]:
    return {int(p.removeprefix(f"{path}:").split(":")[0]) for p in problems}


def test_all_are_told_in_one_pass(path, objectives):
    with pytest.raises(DataError) as caught:
        read_records(DataSource(path), objectives)
    problems, text = caught.value.problems, str(caught.value)
    for name, (_, field, kind) in REFUSED.items():
        start = f"{path}:{PLACE[name]}: {field}: {kind}, found "
        assert any(p.startswith(start) and ", expected " in p for p in problems), name
        assert start in text, "the message itself names it"
    assert lines_of(problems, path) == {PLACE[name] for name in REFUSED}
    for reason, n in Counter(reason for _, reason in LEFT_OUT.values()).items():
        assert f"{n} {reason}" in text
    for name, (_, sentence) in TOLD.items():
        note = next(note for note in caught.value.notes if sentence in note)
        assert f"{path}:{PLACE[name]}" in note
    assert text.endswith(
        f"to leave the {len(REFUSED)} bad rows out, counted: --set data.on_bad=skip"
    )


def test_strict_rules_refuse_what_is_else_counted(path, objectives):
    with pytest.raises(DataError) as caught:
        read_records(DataSource(path), objectives, rules=STRICT)
    refused = {*REFUSED, *LEFT_OUT, "repeated row"}
    assert lines_of(caught.value.problems, path) == {PLACE[name] for name in refused}


def test_skipping_goes_on_and_loses_no_count(path, objectives):
    quarantine = BytesIO()
    result = read_all([DataSource(path)], objectives, on_bad="skip", quarantine=quarantine)
    counts = result.counts
    assert (counts.read, counts.used) == (82, 40 + len(TOLD))
    assert counts.read == counts.used + counts.n_skipped + counts.n_cut
    assert counts.skipped == {
        **Counter(f"bad row: {kind}" for _, _, kind in REFUSED.values()),
        "empty response": 3, "empty prompt": 1, "identical responses": 1,
    }  # fmt: skip
    assert sum(counts.cut.values()) == 2
    # What is not used is kept as it stood.
    entries = [json.loads(line) for line in quarantine.getvalue().splitlines()]
    left = [*REFUSED, *LEFT_OUT]
    assert [(e["file"], e["line"]) for e in entries] == [(path, PLACE[name]) for name in left]
    for entry, name in zip(entries, left, strict=True):
        assert quarantined_bytes(entry) == BAD[name][:10_000]
        assert entry.get("cut", False) == (len(BAD[name]) > 10_000)
        if name in REFUSED:
            assert any(p.startswith(": ".join(REFUSED[name][1:])) for p in entry["problems"])
        else:
            assert entry["problems"] == [LEFT_OUT[name][1]]


CODE = "def f(prompt, response):\n    return len(response)\n"
RUN = """
name: gate
objectives: [helpful, harmless]
data: {{path: {path}}}
base: {{build: {{hidden: 8, layers: 1, heads: 2, feed_forward: 8, vocabulary: 260}},
        train: {{steps: 1}}}}
tradeoffs: {{grid: 1}}
methods: [{{method: dpo}}]
train: {{steps: 1}}
evaluate: {{resamples: 100, rewards: {{helpful: {{function: "{code}:f"}},
            harmless: {{function: "{code}:f"}}}}}}
workers: 1
"""


@pytest.fixture
def typed(path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    """Type a command about a run on the file; gives its exit code, output and errors."""
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "run.yaml").write_text(RUN.format(path=path, code=tmp_path / "mine.py"))

    def typed(verb: str, *options: str) -> tuple[int, str, str]:
        from paretune.cli.main import main

        command = ["paretune", verb, str(tmp_path / "run.yaml"), *options]
        monkeypatch.setattr("sys.argv", command)
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return (code, *capsys.readouterr())

    return typed


def test_check_ends_with_2_and_says_what_to_type(typed, path):
    code, out, err = typed("check")
    assert (code, out) == (2, "")
    assert all(f"{path}:{PLACE[name]}: " in err for name in REFUSED)
    assert err.rstrip().endswith("--set data.on_bad=skip")
    code, out, _ = typed("check", "--set", "data.on_bad=skip")
    assert code == 0
    assert "|   82 |   46 |" in out
    code, _, err = typed("check", "--set", "data.rules.empty=never")
    assert code == 2
    assert "data.rules.empty: Input should be 'skip' or 'error' (found 'never')" in err


def test_a_run_keeps_what_it_leaves_out(path, tmp_path):
    from paretune.pipeline.config import parse_config
    from paretune.pipeline.folder import RunFolder
    from paretune.pipeline.measuring import _notes
    from paretune.pipeline.records import QUARANTINE, records_stage

    values = {
        "name": "gate", "objectives": ["helpful", "harmless"],
        "data": {"path": path, "on_bad": "skip"},
        "methods": [{"method": "dpo"}], "tradeoffs": {"grid": 1},
    }  # fmt: skip
    config, run = parse_config(values), RunFolder(tmp_path / "run")
    stage = records_stage(config, run)
    facts = (stage.manifest or {})["facts"]
    lines = (stage.path / QUARANTINE).read_text().splitlines()
    n_left = facts["rows_read"] - facts["used"]
    assert facts["quarantined"] == n_left == len(lines) == len(REFUSED) + len(LEFT_OUT)
    (note,) = [n for n in _notes(config, run) if "not used" in n]
    assert note.startswith(f"{n_left} of 82 rows are not used (")
    assert "1 longer than 100000 characters: prompt" in note
    assert "1-records/quarantine.jsonl" in note
    # The manifest seals it; nothing else is left in the folder of the run.
    assert QUARANTINE in (stage.manifest or {})["files"]
    assert [f.name for f in (tmp_path / "run").iterdir()] == ["1-records"]


def test_rules_of_a_run_hold_in_all_of_it(path, tmp_path):
    from paretune.pipeline.config import parse_config
    from paretune.pipeline.folder import RunFolder
    from paretune.pipeline.records import TEST, TRAIN, read_part, read_run, records_stage

    values = {
        "name": "gate", "objectives": ["helpful", "harmless"],
        "methods": [{"method": "dpo"}], "tradeoffs": {"grid": 1},
    }  # fmt: skip
    strict = {"path": path, "rules": {"empty": "error"}}
    with pytest.raises(DataError, match=rf":{PLACE['empty prompt']}: prompt: empty prompt"):
        read_run(parse_config(values | {"data": strict}))
    rules = {"identical": "keep", "prompt_chars": 200_000, "response_chars": 2_000_000}
    loose = {"path": path, "on_bad": "skip", "rules": rules}
    config, run = parse_config(values | {"data": loose}), RunFolder(tmp_path / "run")
    facts = (records_stage(config, run).manifest or {})["facts"]
    assert facts["used"] == 40 + len(TOLD) + 3
    # What stage 1 kept is not refused by whoever reads it.
    parts = [read_part(config, run, part) for part in (TRAIN, TEST)]
    assert max(len(prompt) for part in parts for prompt in part.prompts) == 100_001
    assert max(len(text) for part in parts for text in part.texts) == 1_000_000
    lines = [line for p in (TRAIN, TEST) for line in (run.stage(1) / p).read_text().splitlines()]
    n_comparisons = sum(len(json.loads(line)["comparisons"]) for line in lines)
    assert sum(part.n_comparisons for part in parts) == n_comparisons == facts["used"]


def test_files_that_change_between_identity_and_end_are_refused(path, tmp_path, monkeypatch):
    from paretune.pipeline import records
    from paretune.pipeline.config import parse_config
    from paretune.pipeline.folder import RunFolder

    read = records.read_parts

    def grow(*args: Any) -> Any:
        with Path(path).open("ab") as file:
            file.write(pair(prompt="new") + b"\n")
        return read(*args)

    monkeypatch.setattr(records, "read_parts", grow)
    config = parse_config(
        {"name": "x", "objectives": ["helpful", "harmless"], "tradeoffs": {"grid": 1},
         "data": {"path": path, "on_bad": "skip"}, "methods": [{"method": "dpo"}]}
    )  # fmt: skip
    with pytest.raises(DataError, match="found files that changed while they were read"):
        records.records_stage(config, RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run" / "1-records").exists()
