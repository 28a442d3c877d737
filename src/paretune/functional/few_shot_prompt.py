"""Few-shot prompts: text that shows a policy who is asking.

Pure text: which pairs are shown is decided in :mod:`paretune.functional.shots`, and how many fit
in :mod:`paretune.engines.lm.few_shot`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from paretune.core.objective import Objectives
from paretune.core.record import Message, Prompt
from paretune.core.shots import FewShot
from paretune.core.tradeoff import TradeOff
from paretune.core.user import Shot
from paretune.errors import ConfigError, InputError, ShapeError

ROLE = "You answer each question the way this user prefers."
"""What the policy is told about its role."""

INSTRUCTION = (
    "Answer the next question the way this user would prefer, judging by the examples above."
)
"""Between the shots and the question."""

GENERATE = (
    "First describe the user after 'User description:', then answer the question on a new line "
    "after 'Response:'."
)
"""What the policy is told when it writes the description itself."""

_DESCRIPTION, _RESPONSE = "User description:", "Response:"
_ANSWER = re.compile(rf"^[ \t]*{_RESPONSE}[ \t]*", re.MULTILINE)
_STEP = 0.05


def few_shot_prompt(
    shots: Sequence[Shot],
    query: Prompt,
    settings: FewShot,
    objectives: Objectives | None = None,
    tradeoff: TradeOff | None = None,
    description: str | None = None,
) -> tuple[Message, ...]:
    """The conversation that shows a user's pairs and then asks.

    Inline, the last turn holds the pairs, one line of instruction and the question; without pairs
    it holds the question alone. As a dialogue, each pair is a question answered by its chosen
    response. Turns of the query before its last one are kept, and a system turn of its own is
    added to ours.

    Args:
        shots: pairs of the user, the oldest first.
        query: text, or turns of which the last one is the user's.
        settings: layout, what is shown, and who writes the description.
        objectives: names of the weights; needed where they are shown.
        tradeoff: of the user; needed where it is shown.
        description: the user in words; needed where it is given.

    Returns:
        A system turn, the turns that come before, and the user's turn.

    Raises:
        InputError: if the query's last turn is not the user's.
        ConfigError: if something is to be shown that was not given.

    Source:
        The multi-objective FSPO report, Sec. 5.1.

    Example:
        >>> shot = Shot("ann", "Why?", "Because.", "No idea, sorry.")
        >>> print(few_shot_prompt([shot], "How?", FewShot())[-1].content)
        ## Example 1
        ### Question
        Why?
        ### Preferred response
        Because.
        ### Other response
        No idea, sorry.
        <BLANKLINE>
        Answer the next question the way this user would prefer, judging by the examples above.
        <BLANKLINE>
        ### Question
        How?
    """
    turns = (Message("user", query),) if isinstance(query, str) else query
    if not turns or turns[-1].role != "user":
        found = turns[-1].role if turns else "none"
        raise InputError(f"query: found a last turn of {found!r}, expected one of the user")
    own = [turn.content for turn in turns if turn.role == "system"]
    earlier = [turn for turn in turns[:-1] if turn.role != "system"]
    about = _about(settings, objectives, tradeoff, description)
    system = Message("system", "\n\n".join([about, *own]))
    if settings.layout == "dialogue":
        shown = [turn for shot in shots for turn in _answered(shot)]
        return (system, *shown, *earlier, turns[-1])
    blocks = [shot_block(number, shot) for number, shot in enumerate(shots, start=1)]
    blocks += [INSTRUCTION] if shots else []
    blocks.append(f"### Question\n{turns[-1].content}")
    return (system, *earlier, Message("user", "\n\n".join(blocks)))


def shot_block(number: int, shot: Shot) -> str:
    """A shot as it stands in an inline prompt."""
    return (
        f"## Example {number}\n### Question\n{_transcript(shot.prompt)}\n"
        f"### Preferred response\n{shot.chosen}\n### Other response\n{shot.rejected}"
    )


def weights_line(tradeoff: TradeOff, objectives: Objectives) -> str:
    """A trade-off in numbers, each rounded to 0.05, in the order of the objectives.

    Raises:
        ShapeError: if there is not one weight an objective.

    Example:
        >>> weights_line(TradeOff((0.68, 0.32)), Objectives.of("helpful", "concise"))
        'What counts for this user: helpful 0.70, concise 0.30.'
    """
    if len(tradeoff) != len(objectives):
        raise ShapeError(f"weights line: found {len(tradeoff)}, expected {len(objectives)} weights")
    told = [
        f"{name.replace('_', ' ')} {round(weight / _STEP) * _STEP:.2f}"
        for name, weight in zip(objectives, tradeoff.weights, strict=True)
    ]
    return f"What counts for this user: {', '.join(told)}."


def without_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The same conversation for templates that know no system turn: it opens the first user turn.

    Example:
        >>> without_system([Message("system", "Be kind."), Message("user", "Why?")])
        (Message(role='user', content='Be kind.\\n\\nWhy?'),)
    """
    system = [turn.content for turn in messages if turn.role == "system"]
    turns = [turn for turn in messages if turn.role != "system"]
    at = next((i for i, turn in enumerate(turns) if turn.role == "user"), None)
    if system and at is not None:
        turns[at] = Message("user", "\n\n".join([*system, turns[at].content]))
    return tuple(turns)


def plain_prompt(messages: Sequence[Message]) -> str:
    """A conversation as text, for tokenizers without a chat template; a reply goes on from it.

    Example:
        >>> print(plain_prompt([Message("system", "Be kind."), Message("user", "Why?")]))
        Be kind.
        <BLANKLINE>
        User:
        Why?
        <BLANKLINE>
        Assistant:
    """
    blocks = [
        turn.content if turn.role == "system" else f"{turn.role.capitalize()}:\n{turn.content}"
        for turn in messages
    ]
    return "\n\n".join([*blocks, "Assistant:\n"])


def description_prefix(description: str) -> str:
    """How a reply begins that describes the user before it answers.

    The answer follows after a space, which belongs to the answer: many tokenizers have one token
    for a word with the space before it.

    Example:
        >>> description_prefix("Likes it short.") + " Yes."
        'User description: Likes it short.\\nResponse: Yes.'
    """
    return f"{_DESCRIPTION} {' '.join(description.split())}\n{_RESPONSE}"


def split_generated(text: str) -> tuple[str | None, str]:
    """The description and the answer of a reply that was to hold both.

    Args:
        text: what a policy wrote.

    Returns:
        The description (``None`` if there is none) and the answer: what follows the first line
        that begins with ``Response:``, or the same mark right after the description on one line.
        A reply without the mark is all answer, unless it begins with a description that never
        ends: then the answer is empty.

    Example:
        >>> split_generated("User description: Likes it short.\\nResponse: Yes.")
        ('Likes it short.', 'Yes.')
        >>> split_generated("Yes.")
        (None, 'Yes.')
    """
    body = text.strip()
    is_described = body.startswith(_DESCRIPTION)
    rest = body[len(_DESCRIPTION) :] if is_described else body
    mark = _ANSWER.search(rest)
    if mark is None and is_described and _RESPONSE in rest:
        at = rest.index(_RESPONSE)
        return rest[:at].strip(), rest[at + len(_RESPONSE) :].strip()
    if mark is None:
        return (rest.strip(), "") if is_described else (None, body)
    if not is_described and mark.start() > 0:
        return None, body  # a word of the answer, not our mark
    return (rest[: mark.start()].strip() if is_described else None), rest[mark.end() :].strip()


def _about(
    settings: FewShot,
    objectives: Objectives | None,
    tradeoff: TradeOff | None,
    description: str | None,
) -> str:
    """The system turn."""
    lines = [ROLE]
    if settings.shows_weights:
        if objectives is None or tradeoff is None:
            raise ConfigError("few-shot prompt: found no weights to show, expected a trade-off")
        lines.append(weights_line(tradeoff, objectives))
    if settings.description == "given":
        if description is None:
            raise ConfigError("few-shot prompt: found no description to give, expected a sentence")
        lines.append(description)
    if settings.description == "generate":
        lines.append(GENERATE)
    return "\n".join(lines)


def _answered(shot: Shot) -> tuple[Message, ...]:
    """A shot as turns: what was asked, and the chosen response."""
    asked = (Message("user", shot.prompt),) if isinstance(shot.prompt, str) else shot.prompt
    turns = tuple(turn for turn in asked if turn.role != "system")
    return (*turns, Message("assistant", shot.chosen))


def _transcript(prompt: Prompt) -> str:
    """A shot's prompt as text: a single question as it stands, turns under their names."""
    if isinstance(prompt, str):
        return prompt
    turns = [turn for turn in prompt if turn.role != "system"]
    if len(turns) == 1:
        return turns[0].content
    return "\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in turns)
