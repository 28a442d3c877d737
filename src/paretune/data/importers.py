"""Rows of public data sets as they are published, one function a format.

================  ==================================================================
``ultrafeedback``  openbmb/UltraFeedback: four completions a row, four rated aspects
``helpsteer2``     nvidia/HelpSteer2: one response a row, five integer attributes
``pku_saferlhf``   PKU-Alignment/PKU-SafeRLHF: two responses, which is better, which safer
``hh_rlhf``        Anthropic/hh-rlhf: two whole dialogues, one axis a file
================  ==================================================================

No text of these data sets is part of this package.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from typing import Any

from paretune.core.record import Comparison, Message, Prompt, Record, Response
from paretune.data.fields import RowCheck
from paretune.data.rows import shown
from paretune.data.shapes import METADATA, Shape, top_level_scores

ULTRAFEEDBACK_ASPECTS = ("instruction_following", "truthfulness", "honesty", "helpfulness")
HELPSTEER2_ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
PKU_SAFERLHF_LABELS = ("better_response_id", "safer_response_id")

_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_ASSISTANT = "\n\nAssistant:"


def parse_ultrafeedback(row: Mapping[str, Any], check: RowCheck) -> Record:
    """``instruction`` and ``completions``; ratings are texts, ``"N/A"`` is not scored."""
    prompt = check.text(row, "instruction")
    completions = row.get("completions")
    if not isinstance(completions, list):
        check.fault("completions", "not a list", f"found {shown(completions)}, expected a list")
        completions = []
    responses = []
    for i, item in enumerate(completions):
        at = f"completions[{i}]"
        if not isinstance(item, dict):
            check.fault(at, "not an object", f"found {shown(item)}, expected an object")
            continue
        text = check.text(item, "response", f"{at}.response")
        responses.append(Response(text, _aspects(item.get("annotations"), at, check)))
    return Record(prompt, tuple(responses))


def _aspects(annotations: Any, at: str, check: RowCheck) -> dict[str, float]:
    if annotations is None:
        return {}
    at = f"{at}.annotations"
    if not isinstance(annotations, dict):
        check.fault(at, "not an object", f"found {shown(annotations)}, expected an object")
        return {}
    check.names.update(annotations)
    found = {}
    for objective, name in check.wanted.columns.items():
        # Some versions of the data hold a list with one rating.
        aspect = annotations.get(name)
        aspect = aspect[0] if isinstance(aspect, list) and len(aspect) == 1 else aspect
        if isinstance(aspect, dict):
            rating = _rating(aspect.get("Rating"))
            number = check.number(rating, f"{at}.{name}.Rating", float("-inf"), float("inf"))
            if number is not None:
                found[objective] = number
        elif aspect is not None:
            detail = f"found {shown(aspect)}, expected an object with Rating"
            check.fault(f"{at}.{name}", "not an object", detail)
    return found


def _rating(value: Any) -> Any:
    """A rating written as text as a number; what is no number stays for the check to refuse."""
    if not isinstance(value, str):
        return value
    if value.strip().upper() in ("N/A", "NA"):
        return None
    try:
        return float(value)
    except ValueError:
        return value


def parse_helpsteer2(row: Mapping[str, Any], check: RowCheck) -> Record:
    """``prompt``, ``response`` and five attributes as columns; two rows a prompt are joined."""
    check.names.update(name for name in HELPSTEER2_ATTRIBUTES if name in row)
    response = Response(check.text(row, "response"), top_level_scores(row, check))
    return Record(check.prompt(row), (response,))


def parse_pku_saferlhf(row: Mapping[str, Any], check: RowCheck) -> Record:
    """Two responses and the index of the better and of the safer one."""
    responses = tuple(Response(check.text(row, f"response_{i}")) for i in range(2))
    check.names.update(name for name in PKU_SAFERLHF_LABELS if name in row)
    labels = {}
    for objective, name in check.wanted.columns.items():
        if name not in PKU_SAFERLHF_LABELS or row.get(name) is None:
            continue
        value = row[name]
        if isinstance(value, bool) or value not in (0, 1):
            check.fault(name, "no such response", f"found {shown(value)}, expected 0, 1 or null")
        else:
            labels[objective] = 1.0 if value == 0 else -1.0
    return Record(check.prompt(row), responses, (Comparison(0, 1, labels),))


def parse_hh_rlhf(row: Mapping[str, Any], check: RowCheck) -> Record:
    """Two dialogues with a common start, or a prompt and two replies; ``chosen`` is better.

    Without a ``prompt`` the dialogues are split at the last ``Assistant:`` of their common start.
    """
    chosen, rejected = check.text(row, "chosen"), check.text(row, "rejected")
    prompt: Prompt
    if row.get("prompt") is not None:
        prompt = check.prompt(row)
    elif check.faults:
        prompt = ""
    else:
        split = _common_prompt(chosen, rejected)
        if not split:
            detail = f"found no common start up to {shown(_ASSISTANT)}, expected the same dialogue"
            check.fault("rejected", "another dialogue", detail)
        prompt, chosen, rejected = chosen[:split], chosen[split:], rejected[split:]
    if check.wanted.turns == "messages" and isinstance(prompt, str):
        prompt = dialogue_messages(prompt, check)
        chosen, rejected = chosen.strip(), rejected.strip()
    labels = {check.wanted.objective: 1.0} if check.wanted.objective else {}
    check.names.update(labels)
    return Record(prompt, (Response(chosen), Response(rejected)), (Comparison(0, 1, labels),))


def _common_prompt(chosen: str, rejected: str) -> int:
    """Length of the common start up to the end of its last ``Assistant:``; 0 for none."""
    common = os.path.commonprefix((chosen, rejected))  # noqa: RUF071, characters are meant
    start = common.rfind(_ASSISTANT)
    return start + len(_ASSISTANT) if start >= 0 else 0


def dialogue_messages(text: str, check: RowCheck) -> Prompt:
    """A dialogue in one text as turns; the open ``Assistant:`` at its end is no turn.

    Example:
        >>> from paretune.data.fields import Wanted
        >>> text = "\\n\\nHuman: Hi\\n\\nAssistant: Hello\\n\\nHuman: Why?\\n\\nAssistant:"
        >>> [(m.role, m.content) for m in dialogue_messages(text, RowCheck(Wanted({})))]
        [('user', 'Hi'), ('assistant', 'Hello'), ('user', 'Why?')]
    """
    before, *pieces = _SPEAKER.split(text)
    turns = [
        Message("user" if who == "Human" else "assistant", said.strip())
        for who, said in zip(pieces[::2], pieces[1::2], strict=True)
    ]
    if turns and turns[-1].role == "assistant" and not turns[-1].content:
        turns.pop()
    if before.strip() or not turns:
        found = shown(before.strip() or text)
        check.fault("prompt", "not a dialogue", f"found {found}, expected Human: and Assistant:")
        return text
    return tuple(turns)


IMPORTED = (
    Shape(
        "ultrafeedback",
        frozenset({"instruction", "completions"}),
        METADATA | {"models", "correct_answers", "incorrect_answers"},
        (),
        parse_ultrafeedback,
    ),
    Shape(
        "helpsteer2",
        frozenset({"prompt", "response", *HELPSTEER2_ATTRIBUTES}),
        METADATA,
        ("response",),
        parse_helpsteer2,
    ),
    Shape(
        "pku_saferlhf",
        frozenset({"response_0", "response_1", *PKU_SAFERLHF_LABELS}),
        METADATA
        | {"prompt", "prompt_source"}
        | {
            name.format(i)
            for i in range(2)
            for name in (
                "is_response_{}_safe", "response_{}_source", "response_{}_harm_category",
                "response_{}_severity_level", "response_{}_sha256",
            )
        },
        ("response_0", "response_1"),
        parse_pku_saferlhf,
    ),
    Shape(
        "hh_rlhf",
        frozenset({"chosen", "rejected"}),
        METADATA | {"prompt"},
        ("chosen", "rejected"),
        parse_hh_rlhf,
        needs_objective=True,
    ),
)  # fmt: skip
