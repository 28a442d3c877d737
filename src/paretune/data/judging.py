"""Readable rows that are of doubtful use: empty, identical, tied, too long."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import final

from paretune.core.record import Comparison, Prompt, Record, Response
from paretune.data.rows import Fault
from paretune.data.shapes import Shape
from paretune.data.sources import RowRules

EMPTY_PROMPT = "empty prompt"
EMPTY_RESPONSE = "empty response"
NO_RESPONSE = "no response"
IDENTICAL = "identical responses"
TIED = "tie on every label"
_LONG = "longer than"


@final
@dataclass
class Verdict:
    """What becomes of a row.

    Args:
        record: what is used of it; ``None`` when the row is left out.
        reason: why the row is left out.
        is_cut: True when a size limit is the reason.
        omitted: responses and comparisons left out of a used row, by reason.
        truncated: number of responses shortened.
        faults: what the rules call an error.
    """

    record: Record | None = None
    reason: str = ""
    is_cut: bool = False
    omitted: Counter[str] = field(default_factory=Counter)
    truncated: int = 0
    faults: list[Fault] = field(default_factory=list)


def judge(record: Record, rules: RowRules, shape: Shape) -> Verdict:
    """Apply the rules to one record.

    A row that is one comparison of two responses stands and falls with that comparison. Any other
    row loses its bad responses, and the comparisons with them, as long as a response is left.
    """
    verdict = Verdict()
    reason = _judge_prompt(record.prompt, rules, verdict)
    responses, gone = _judge_responses(record.responses, rules, shape, verdict)
    comparisons, dropped = _judge_comparisons(
        record.comparisons, responses, gone, rules, shape, verdict
    )
    is_pair = len(responses) == 2 and len(record.comparisons) == 1
    if not reason and is_pair and dropped:
        reason = dropped[0]
    elif not reason and len(gone) == len(responses):
        reason = gone[0] if gone else NO_RESPONSE
        if not gone and rules.empty == "error":
            expected = "found an empty list, expected at least one"
            verdict.faults.append(Fault("responses", NO_RESPONSE, expected))
    if reason:
        verdict.reason, verdict.is_cut = reason, reason.startswith(_LONG)
        return verdict
    verdict.omitted.update(gone.values())
    verdict.omitted.update(f"comparison: {why}" for why in dropped)
    verdict.record = _without(record.prompt, responses, comparisons, gone)
    return verdict


def _judge_prompt(prompt: Prompt, rules: RowRules, verdict: Verdict) -> str:
    texts = [prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]
    if not any(text.strip() for text in texts):
        if rules.empty == "error":
            verdict.faults.append(_empty("prompt", EMPTY_PROMPT))
        return EMPTY_PROMPT
    length = sum(map(len, texts))
    if length > rules.prompt_chars:
        if rules.too_long == "error":
            verdict.faults.append(_too_long("prompt", length, rules.prompt_chars))
        return f"{_LONG} {rules.prompt_chars} characters: prompt"
    return ""


def _judge_responses(
    responses: tuple[Response, ...], rules: RowRules, shape: Shape, verdict: Verdict
) -> tuple[list[Response], dict[int, str]]:
    """The responses, shortened where asked, and why some of them go."""
    kept, gone = list(responses), {}
    for i, response in enumerate(responses):
        if not response.text.strip():
            gone[i] = EMPTY_RESPONSE
            if rules.empty == "error":
                verdict.faults.append(_empty(shape.side(i), EMPTY_RESPONSE))
        elif len(response.text) > rules.response_chars:
            if rules.too_long == "truncate":
                kept[i] = replace(response, text=response.text[: rules.response_chars])
                verdict.truncated += 1
                continue
            gone[i] = f"{_LONG} {rules.response_chars} characters: response"
            if rules.too_long == "error":
                fault = _too_long(shape.side(i), len(response.text), rules.response_chars)
                verdict.faults.append(fault)
    return kept, gone


def _judge_comparisons(
    comparisons: tuple[Comparison, ...],
    responses: list[Response],
    gone: dict[int, str],
    rules: RowRules,
    shape: Shape,
    verdict: Verdict,
) -> tuple[list[Comparison], list[str]]:
    kept, dropped = [], []
    for i, comparison in enumerate(comparisons):
        first, second = comparison.first, comparison.second
        is_tied = bool(comparison.labels) and not any(comparison.labels.values())
        reason = gone.get(first) or gone.get(second)
        for why, rule, applies in (
            (IDENTICAL, rules.identical, responses[first].text == responses[second].text),
            (TIED, rules.ties, is_tied),
        ):
            if not reason and applies and rule != "keep":
                reason = why
                if rule == "error":
                    at = shape.sides[-1] if shape.sides else f"comparisons[{i}]"
                    detail = "found nothing to prefer, expected two different replies"
                    verdict.faults.append(Fault(at, why, detail))
        if reason:
            dropped.append(reason)
        else:
            kept.append(comparison)
    return kept, dropped


def _without(
    prompt: Prompt, responses: list[Response], comparisons: list[Comparison], gone: dict[int, str]
) -> Record:
    """The record of what is left, comparisons renumbered."""
    if not gone:
        return Record(prompt, tuple(responses), tuple(comparisons))
    left = [i for i in range(len(responses)) if i not in gone]
    row = {old: new for new, old in enumerate(left)}
    return Record(
        prompt,
        tuple(responses[i] for i in left),
        tuple(replace(c, first=row[c.first], second=row[c.second]) for c in comparisons),
    )


def _empty(at: str, kind: str) -> Fault:
    return Fault(at, kind, "found nothing but white space, expected text")


def _too_long(at: str, length: int, limit: int) -> Fault:
    return Fault(at, "too long", f"found {length} characters, expected at most {limit}")
