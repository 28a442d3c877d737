"""ask: a person finds a trade-off by choosing between replies."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paretune.cli.asking import estimate_text, question_text, reason_text, served_text
from paretune.cli.console import Console, prepare, relative, tell, tell_json
from paretune.cli.options import JsonOption, RunArg
from paretune.errors import ConfigError

if TYPE_CHECKING:
    from paretune.core.question import Answer
    from paretune.serving.people import People

_WORDS: dict[str, Answer] = {
    "1": "first", "2": "second", "0": "same", "first": "first", "second": "second", "same": "same",
}  # fmt: skip
_KEYS = "1, 2, 0 = the same, q = stop, ? = why this question"
_LONGEST = 80
"""Characters of a line that is an answer, and more than any."""


def ask(
    run: RunArg,
    user: Annotated[str, typer.Option("--user", help="Whose answers these are.")] = "me",
    method: Annotated[
        str | None,
        typer.Option("--method", help="Whose replies are shown; default: of the best front."),
    ] = None,
    questions: Annotated[
        int | None,
        typer.Option("--questions", min=1, help="Ask so many now; default: until it is enough."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Everybody with answers.")] = False,
    export: Annotated[
        str | None, typer.Option("--export", help="All answers of this user, as JSON.")
    ] = None,
    delete: Annotated[
        str | None, typer.Option("--delete", help="Overwrite all answers of this user.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Find the trade-off that a person wants: which of two replies is better?

    Answers are stored with the run, one by one. Where the input is no terminal, every line is an
    answer: 1, 2, 0 (the same) or q (stop).
    """
    if list_ + (export is not None) + (delete is not None) > 1:
        raise ConfigError("ask: expected one of --list, --export and --delete")
    prepare()
    from paretune.pipeline.ask import open_people
    from paretune.pipeline.folder import open_run
    from paretune.serving.people import require_user_name

    if delete is not None or export is not None:
        _stored(run, export, delete)
        return
    require_user_name(user)
    with Console(quiet=json).closing() as console:
        console.say("reading the run and its replies")
        people = open_people(open_run(run), method)
        if not list_:
            people.interview.require_questions()
    if list_:
        _list(people, json)
        return
    told = _dialog(people, user, questions)
    if json:
        tell_json(told)
        return
    n = told["number"] - 1
    if n:
        tell(f"{people.interview.result.name}: user {user}, {_answers(n)}\n")
        tell(estimate_text(told))
        tell(f"\nresult: {relative(people.users.path)}, user {user}")
        tell(_next(run, people, user, told["served"]))
    elif told["enough"]:
        tell(f"nothing needs to be asked: {served_text(told['served'])} is best for everybody")
        tell(f"next:   paretune serve {relative(run)} --method {told['served']['method']}")
    else:
        tell(f"nothing was answered, nothing is stored\nnext:   paretune ask {relative(run)}")


def _dialog(people: People, user: str, questions: int | None) -> dict[str, Any]:
    """Ask until it is enough, the person stops, or the input ends; where the person stands."""
    from paretune.serving.people import NotOpenError

    is_terminal, left = sys.stdin.isatty(), questions
    told = people.question(user)
    if told["number"] > 1:
        _say(f"{user} has given {_answers(told['number'] - 1)} before\n\n{estimate_text(told)}")
    while told["question"] and left != 0 and not (questions is None and told["enough"]):
        width = shutil.get_terminal_size().columns if is_terminal else 80
        _say(f"\n{question_text(told['question'], told['number'], width)}\n\n{_KEYS}")
        answer = _read(people, user, is_terminal)
        if answer is None:
            break
        try:
            told = people.answer(user, told["question"]["id"], answer)
        except NotOpenError:
            if not is_terminal:
                raise
            _say("answered elsewhere meanwhile: this is the next question")
            told = people.question(user)
            continue
        left = None if left is None else left - 1
        _say(f"\n{estimate_text(told)}")
    if not told["question"]:
        _say("\nThere is nothing left to ask.")
    elif told["enough"] and told["number"] > 1:
        _say("\nThat is enough: more answers would hardly change it (--questions N asks on).")
    return told


def _read(people: People, user: str, is_terminal: bool) -> Answer | None:
    """The next answer; ``None`` = stop."""
    while True:
        line = _line()
        word = line.strip().lower()
        if word in _WORDS:
            return _WORDS[word]
        if word == "q":
            return None
        if not line:
            if not is_terminal and not people.users.answers(user):
                raise ConfigError(f"stdin: found its end before any answer, expected {_KEYS}")
            return None
        if word == "?":
            _say(_why(people, user))
        elif not is_terminal:
            raise ConfigError(
                f"stdin: found {line.rstrip()[:20]!r}, expected {_KEYS}; what was answered before "
                "is kept"
            )
        elif word:
            _say(f"found {word[:20]!r}, expected {_KEYS}")


def _line() -> str:
    """A line whole: what is left of a long one would be taken for the next answer."""
    try:
        line = rest = sys.stdin.readline(_LONGEST)
        while len(rest) == _LONGEST and not rest.endswith("\n"):
            rest = sys.stdin.readline(_LONGEST)
    except UnicodeDecodeError:
        return "(no text)"
    return line if rest is line else f"{line[:17]}..."


def _why(people: People, user: str) -> str:
    following = people.interview.standing(user, people.users.answers(user)).following
    if following is None:
        return "There is nothing left to ask."
    sides = following.question.first.id, following.question.second.id
    interview = people.interview
    return reason_text(sides, interview.objectives, following.gain, interview.method)


def _stored(run: Path, export: str | None, delete: str | None) -> None:
    """What can be done with answers whatever became of the run's results."""
    from paretune.pipeline.ask import users_of
    from paretune.pipeline.folder import open_run
    from paretune.serving.people import export_of, forget

    users = users_of(open_run(run))
    if export is not None:
        tell_json(export_of(users, export))
    elif delete is not None:
        n = forget(users, delete)
        tell(f"{_answers(n)} of {delete} overwritten\n\nresult: {relative(users.path)}")
        tell(f"next:   paretune ask {relative(run)} --list")


def _list(people: People, as_json: bool) -> None:
    rows = people.all()
    if as_json:
        tell_json({"users": rows})
        return
    for row in rows:
        weights = ", ".join(f"{name} {w:.2f}" for name, w in row["tradeoff"].items())
        tell(f"{row['id']}: {_answers(row['answers'])}; {weights or 'about other objectives'}")
    if not rows:
        tell("nobody was asked")


def _next(run: Path, people: People, user: str, served: dict[str, Any]) -> str:
    name, folder = people.interview.result.name, relative(run)
    weights = ",".join(f"{w:.7g}" for w in served["tradeoff"].values())
    return (
        f"next:   paretune serve {folder} --method {served['method']}, and in a request: "
        f'{{"model": "{name}", "user": "{user}", ...}}\n'
        f"        paretune export {folder} my-policy --method {served['method']} "
        f"--preference {weights}"
    )


def _answers(n: int) -> str:
    return "1 answer" if n == 1 else f"{n} answers"


def _say(text: str) -> None:
    """The dialog is no result: it goes to stderr."""
    tell(text, sys.stderr)
