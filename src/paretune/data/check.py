"""What is in the data: counts, scores, conflicts and lengths, as tables for a person."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from paretune.core.objective import Objectives
from paretune.core.record import PreferenceData, Prompt
from paretune.data.counts import RowCounts
from paretune.data.reader import ReadResult
from paretune.functional.conflict import (
    ConflictCounts,
    ScoreSummary,
    count_conflicts,
    count_score_conflicts,
    pearson,
    spearman,
    summarize_scores,
)

QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)

Matrix = tuple[tuple[float, ...], ...]


@final
@dataclass(frozen=True)
class Lengths:
    """Lengths in words (runs of characters without white space).

    Args:
        quantiles: at 0, 5, 50, 95 and 100 %.
        mean: the mean.
    """

    quantiles: tuple[float, ...]
    mean: float

    @classmethod
    def of(cls, texts: Iterable[str]) -> Lengths:
        """Lengths of at least one text."""
        words = np.asarray([len(text.split()) for text in texts], dtype=np.float64)
        return cls(tuple(float(q) for q in np.quantile(words, QUANTILES)), float(words.mean()))


@final
@dataclass(frozen=True)
class DataSummary:
    """Everything ``paretune check`` says about the data.

    Args:
        objectives: names, M of them.
        counts: rows of all sources.
        by_source: rows of each source.
        n_prompts: distinct prompts.
        n_responses: responses, equal texts of one prompt joined where their scores allow.
        n_comparisons: comparisons given by the data.
        scores: one entry an objective.
        pearson: ``(M, M)`` correlation of scores, NaN where there is none.
        spearman: ``(M, M)`` rank correlation of scores.
        by_labels: agreement of the labels of the given comparisons.
        by_scores: agreement of the scores over all pairs of responses to one prompt.
        prompt_words: lengths of prompts, all turns together.
        response_words: lengths of responses.
        warnings: sentences of the reader.
        problems: bad rows that were skipped.
    """

    objectives: tuple[str, ...]
    counts: RowCounts
    by_source: tuple[tuple[str, RowCounts], ...]
    n_prompts: int
    n_responses: int
    n_comparisons: int
    scores: tuple[ScoreSummary, ...]
    pearson: Matrix
    spearman: Matrix
    by_labels: ConflictCounts
    by_scores: ConflictCounts
    prompt_words: Lengths
    response_words: Lengths
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def to_markdown(self) -> str:
        """Tables in Markdown whose columns also line up on a terminal."""
        parts = [
            _sources(self),
            f"{self.n_prompts} prompts, {self.n_responses} responses, "
            f"{self.n_comparisons} comparisons",
            _objectives(self),
            *([_pairs(self)] if len(self.objectives) > 1 else []),
            _overall(self),
            _lengths(self),
            _listing("Warnings", self.warnings),
            _listing("Rows skipped because they are bad", self.problems),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes ``null``."""
        result: dict[str, Any] = _plain(asdict(self))
        return result


def summarize(result: ReadResult, objectives: Objectives) -> DataSummary:
    """What was read, counted.

    Args:
        result: of the reader.
        objectives: those it was read with.
    """
    data = PreferenceData.from_records(result.records, objectives.names)
    rewards = data.rewards.values
    return DataSummary(
        objectives=objectives.names,
        counts=result.counts,
        by_source=result.by_source,
        n_prompts=data.n_prompts,
        n_responses=len(data.texts),
        n_comparisons=data.n_comparisons,
        scores=summarize_scores(rewards),
        pearson=_matrix(pearson(rewards)),
        spearman=_matrix(spearman(rewards)),
        by_labels=count_conflicts(data.labels),
        by_scores=count_score_conflicts(rewards, data.prompt_of),
        prompt_words=Lengths.of(map(_prompt_text, data.prompts)),
        response_words=Lengths.of(data.texts),
        warnings=result.warnings,
        problems=result.problems,
    )


def _sources(summary: DataSummary) -> str:
    header = ("source", "read", "used", "skipped", "cut", "why")
    entries = list(summary.by_source)
    if len(entries) > 1:
        entries.append(("all", summary.counts))
    rows = [
        (path, c.read, c.used, c.n_skipped, c.n_cut, _reasons(c)) for path, c in entries
    ]  # fmt: skip
    return _table(header, rows)


def _reasons(counts: RowCounts) -> str:
    reasons = [
        *counts.skipped.items(),
        *counts.cut.items(),
        *((f"{reason} (part of a used row)", n) for reason, n in counts.omitted.items()),
    ]
    return "; ".join(f"{n} {reason}" for reason, n in reasons)


def _objectives(summary: DataSummary) -> str:
    header = ("objective", "scored", "min", "mean", "max", "labelled", "ties")
    labels = summary.by_labels
    rows = [
        (name, s.scored, s.low, s.mean, s.high, int(labels.labelled[i]), int(labels.tied[i]))
        for i, (name, s) in enumerate(zip(summary.objectives, summary.scores, strict=True))
    ]
    return _table(header, rows)


def _pairs(summary: DataSummary) -> str:
    header = (
        "objectives", "Pearson", "Spearman",
        "label conflicts", "of", "%", "score conflicts", "of", "%",
    )  # fmt: skip
    names = summary.objectives
    rows = []
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            cells: list[Any] = [
                f"{names[i]} / {names[j]}",
                summary.pearson[i][j],
                summary.spearman[i][j],
            ]
            for counts in (summary.by_labels, summary.by_scores):
                both, opposed = int(counts.both[i, j]), int(counts.opposed[i, j])
                cells += [opposed, both, 100 * float(counts.rate[i, j])]
            rows.append(cells)
    return _table(header, rows)


def _overall(summary: DataSummary) -> str:
    """One line for the labels and one for the scores, where they say anything."""
    lines = []
    for what, counts in (("labels", summary.by_labels), ("scores", summary.by_scores)):
        if counts.n_decided:
            lines.append(
                f"By {what}, {counts.n_decided} of {counts.n_comparisons} comparisons are decided "
                f"on two or more objectives: {_share(counts.conflict_rate)} conflict, "
                f"{_share(counts.agree_rate)} agree."
            )
    return "\n".join(lines)


def _lengths(summary: DataSummary) -> str:
    header = ("words", "min", "5 %", "median", "95 %", "max", "mean")
    entries = (("prompt", summary.prompt_words), ("response", summary.response_words))
    return _table(header, [(name, *e.quantiles, e.mean) for name, e in entries])


def _listing(title: str, lines: Sequence[str], shown: int = 20) -> str:
    if not lines:
        return ""
    more = [f"- and {len(lines) - shown} more"] if len(lines) > shown else []
    return "\n".join([f"{title}:", "", *(f"- {line}" for line in lines[:shown]), *more])


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [[_cell(value) for value in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    # The first and any text column stand on the left, numbers on the right.
    is_text = [isinstance(row, str) for row in rows[0]]
    lines = [
        "| " + " | ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(line, widths, is_text, strict=True)
        ) + " |"
        for line in cells
    ]  # fmt: skip
    rule = "|".join(
        "-" * (w + 1) + ("-" if text else ":") for w, text in zip(widths, is_text, strict=True)
    )
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _matrix(values: np.ndarray[Any, Any]) -> Matrix:
    return tuple(tuple(float(v) for v in row) for row in values)


def _prompt_text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else " ".join(turn.content for turn in prompt)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value
