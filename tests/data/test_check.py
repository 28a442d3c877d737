"""The summary of the data against counts made by hand."""

from __future__ import annotations

import json

import pytest

from paretune.data.check import Lengths, summarize
from paretune.data.reader import read_all, read_records
from paretune.data.sources import DataSource


@pytest.fixture
def summary(write, pair, objectives):
    pairs = write(
        "pairs.jsonl",
        pair(labels={"helpful": 1, "harmless": 1}),
        pair(prompt="q", labels={"helpful": 1, "harmless": -1}),
        pair(prompt="r", labels={"helpful": 0, "harmless": -0.5}),
        pair(prompt="s", labels={"helpful": 1}),
        pair(prompt="t", response_a=""),
        b"{",
    )
    scored = write(
        "scored.jsonl",
        {"prompt": "q", "response": "one", "scores": {"helpful": 1, "harmless": 3}},
        {"prompt": "q", "response": "two words", "scores": {"helpful": 2, "harmless": 2}},
        {"prompt": "q", "response": "three more words", "scores": {"helpful": 3, "harmless": 2}},
        {"prompt": "u", "response": "x", "scores": {"helpful": 6, "harmless": None}},
    )
    sources = [DataSource(pairs), DataSource(scored)]
    return summarize(read_all(sources, objectives, on_bad="skip"), objectives)


def test_counts(summary):
    assert (summary.counts.read, summary.counts.used) == (10, 8)
    assert (summary.n_prompts, summary.n_responses, summary.n_comparisons) == (5, 12, 4)
    assert len(summary.problems) == 1


def test_scores_and_labels(summary):
    helpful, harmless = summary.scores
    assert (helpful.scored, helpful.low, helpful.high, helpful.mean) == (4, 1.0, 6.0, 3.0)
    assert (harmless.scored, harmless.mean) == (3, pytest.approx(7 / 3))
    assert summary.by_labels.labelled.tolist() == [4, 3]
    assert summary.by_labels.tied.tolist() == [1, 0]
    assert (summary.by_labels.n_decided, summary.by_labels.n_conflict) == (2, 1)
    # (1, 3) against (2, 2) and (3, 2): the two conflicts; (2, 2) against (3, 2) is undecided.
    assert (summary.by_scores.n_comparisons, summary.by_scores.n_conflict) == (3, 2)
    # x = 1, 2, 3 and y = 3, 2, 2: cov = -1, var = 2 and 2/3.
    assert summary.pearson[0][1] == pytest.approx(-1 / (2 * 2 / 3) ** 0.5)


def test_lengths_of_prompts_and_responses(summary):
    # "How do plants eat?" and four prompts of one letter.
    assert (summary.prompt_words.quantiles[4], summary.prompt_words.mean) == (4, 8 / 5)
    assert (summary.response_words.quantiles[0], summary.response_words.quantiles[4]) == (1, 5)


def test_lengths():
    lengths = Lengths.of(["one", "two words", "and three words"])
    assert (lengths.quantiles[0], lengths.quantiles[2], lengths.quantiles[4]) == (1, 2, 3)
    assert lengths.mean == 2


def test_the_tables_say_it_all(summary):
    text = summary.to_markdown()
    lines = text.splitlines()
    assert "5 prompts, 12 responses, 4 comparisons" in lines
    row = next(line for line in lines if "pairs.jsonl" in line and line.startswith("|"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:] == ["6", "4", "2", "0", "1 empty response; 1 bad row: line ends early"]
    conflict = next(line for line in lines if line.startswith("| helpful / harmless"))
    cells = [cell.strip() for cell in conflict.strip("|").split("|")]
    assert cells[3:] == ["1", "2", "50", "2", "2", "100"]
    assert "50.0 % conflict, 50.0 % agree" in text
    assert "pairs.jsonl:6: row: line ends early" in text


def test_the_columns_line_up(summary):
    lines = summary.to_markdown().splitlines()
    header = lines.index(next(line for line in lines if line.startswith("| objective ")))
    assert len({len(line) for line in lines[header : header + 4]}) == 1


def test_what_is_not_there_is_a_dash_and_null(write, pair, objectives):
    path = write("a.jsonl", pair(labels={"helpful": 1}))
    summary = summarize(read_records(DataSource(path), objectives), objectives)
    text = summary.to_markdown()
    assert "nan" not in text
    row = next(line for line in text.splitlines() if line.startswith("| harmless "))
    assert [c.strip() for c in row.strip("|").split("|")][1:] == ["0", "-", "-", "-", "0", "0"]
    data = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert data["scores"][0] == {"scored": 0, "low": None, "high": None, "mean": None}
    assert data["pearson"] == [[None, None], [None, None]]
    assert data["by_labels"]["labelled"] == [1, 0]
    assert data["counts"]["read"] == 1


def test_one_objective_has_no_table_of_pairs(write, pair):
    from paretune.core.objective import Objectives

    one = Objectives.of("helpful")
    text = summarize(read_records(DataSource(write("a.jsonl", pair())), one), one).to_markdown()
    assert "Pearson" not in text


def test_a_name_cannot_break_a_table(write, pair, objectives):
    path = write("a|b.jsonl", pair())
    text = summarize(read_records(DataSource(path), objectives), objectives).to_markdown()
    assert "a\\|b.jsonl" in text
