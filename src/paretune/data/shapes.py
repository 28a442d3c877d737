"""The native shapes of a row: record, pair, single response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from paretune.core.record import Comparison, Record, Response
from paretune.data.fields import RowCheck
from paretune.data.rows import shown

METADATA = frozenset(
    {
        "id", "idx", "index", "flags", "margins", "context", "system", "source", "meta", "metadata",
        "group", "split", "lang", "language", "license", "url", "doc_id", "prompt_id",
    }
)  # fmt: skip
"""Fields that say something about a row and that nothing here needs."""

Parse = Callable[[Mapping[str, Any], RowCheck], Record]


@final
@dataclass(frozen=True)
class Shape:
    """How rows of one format are told apart and read.

    Args:
        name: the format.
        marks: fields of which every row of the format has all.
        known: every other field that needs no remark.
        sides: names of the response fields, for messages; empty when they are a list.
        parse: row to record; faults go to the check.
        needs_objective: the rows do not say which objective they are about.
    """

    name: str
    marks: frozenset[str]
    known: frozenset[str]
    sides: tuple[str, ...]
    parse: Parse
    needs_objective: bool = False

    def side(self, index: int) -> str:
        """What messages call a response."""
        return self.sides[index] if self.sides else f"responses[{index}]"


def parse_record(row: Mapping[str, Any], check: RowCheck) -> Record:
    """A prompt, a list of responses, and optional comparisons between them."""
    prompt = check.prompt(row)
    responses = []
    for i, value in enumerate(_list(row, "responses", check)):
        at = f"responses[{i}]"
        item = {"text": value} if isinstance(value, str) else _object(value, at, check)
        text = check.text(item, "text", f"{at}.text") if item is not None else ""
        scores = check.scores((item or {}).get("scores"), f"{at}.scores")
        responses.append(Response(text, scores, _count(item or {}, at, check)))
    comparisons = []
    if row.get("comparisons") is not None:
        for i, value in enumerate(_list(row, "comparisons", check)):
            at = f"comparisons[{i}]"
            item = _object(value, at, check)
            if item is None:
                continue
            first, second = (_index(item, k, at, len(responses), check) for k in _ENDS)
            if first == second:
                check.fault(at, "compared with itself", f"found {first} twice, expected two")
            labels = check.labels(item.get("labels"), f"{at}.labels")
            weights = check.weights(item.get("weights"), f"{at}.weights")
            comparisons.append(Comparison(first, second, labels, weights))
    return Record(prompt, tuple(responses), tuple(comparisons))


def parse_pair(row: Mapping[str, Any], check: RowCheck) -> Record:
    """A prompt, two responses, and signed labels: 1 = ``response_a`` is better."""
    responses = tuple(
        Response(
            check.text(row, f"response_{side}"),
            check.scores(row.get(f"scores_{side}"), f"scores_{side}"),
        )
        for side in "ab"
    )
    labels = check.labels(row.get("labels"), "labels")
    weights = check.weights(row.get("weights"), "weights")
    return Record(check.prompt(row), responses, (Comparison(0, 1, labels, weights),))


def parse_response(row: Mapping[str, Any], check: RowCheck) -> Record:
    """A prompt and one response; scores in ``scores``, or as columns of their own."""
    if "scores" in row:
        scores = check.scores(row["scores"], "scores")
    else:
        scores = top_level_scores(row, check)
    return Record(check.prompt(row), (Response(check.text(row, "response"), scores),))


def top_level_scores(row: Mapping[str, Any], check: RowCheck) -> dict[str, float]:
    """Scores that are fields of the row itself."""
    found = {}
    for objective, name in check.wanted.columns.items():
        if name in row:
            check.names.add(name)
            number = check.number(row[name], name, float("-inf"), float("inf"))
            if number is not None:
                found[objective] = number
    return found


NATIVE = (
    Shape("records", frozenset({"responses"}), METADATA | {"prompt", "comparisons"}, (),
          parse_record),
    Shape("pairs", frozenset({"response_a", "response_b"}),
          METADATA | {"prompt", "labels", "scores_a", "scores_b", "weights"},
          ("response_a", "response_b"), parse_pair),
    Shape("responses", frozenset({"response"}), METADATA | {"prompt", "scores"}, ("response",),
          parse_response),
)  # fmt: skip

_ENDS = ("first", "second")


def _list(row: Mapping[str, Any], key: str, check: RowCheck) -> list[Any]:
    value = row.get(key)
    if not isinstance(value, list):
        kind = "not a list" if key in row else "missing"
        found = shown(value) if key in row else "no such field"
        check.fault(key, kind, f"found {found}, expected a list")
        return []
    return value


def _object(value: Any, at: str, check: RowCheck) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        check.fault(at, "not an object", f"found {shown(value)}, expected an object")
        return None
    return value


def _count(item: Mapping[str, Any], at: str, check: RowCheck) -> int:
    value = item.get("count", 1)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        expected = "how often the response was given, an integer >= 1"
        check.fault(f"{at}.count", "no count", f"found {shown(value)}, expected {expected}")
        return 1
    return value


def _index(item: Mapping[str, Any], key: str, at: str, n: int, check: RowCheck) -> int:
    value = item.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < n:
        expected = f"the index of a response (0 to {n - 1})"
        check.fault(f"{at}.{key}", "no such response", f"found {shown(value)}, expected {expected}")
        return -1 if key == "first" else -2  # two different indices: one fault is enough
    return value
