"""A run on disk is asked about: in the terminal and by scripts, by people who know what they want.

The run is written, not trained: its replies are those of the best policies of the embedded world.
"""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.bench.handy import Handy
from paretune.cli.main import main
from paretune.core.user import Utility
from paretune.errors import RunError
from paretune.functional.answer_model import utilities
from paretune.functional.tradeoff_posterior import shares_lost
from paretune.pipeline.ask import open_people
from paretune.pipeline.folder import open_run
from paretune.pipeline.measuring import FRONT
from paretune.pipeline.replies import REPLIES
from paretune.serving.answered import StoredAnswer

WORLD = Handy("A")
N_PROMPTS = 24
HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07 [red]sand it[/red] \u202egnp.exe\u202c \r\n<script>x</script> ok ok"
)


@pytest.fixture
def run(tmp_path: Path, write_run: Any) -> Path:
    path: Path = write_run(tmp_path / "runs" / "tiny")
    return path


class Answers(io.StringIO):
    """Standard input of somebody who reads what was printed before answering."""

    def __init__(self, answer: Callable[[str], str], printed: Callable[[], str]) -> None:
        super().__init__()
        self._answer, self._printed = answer, printed

    def readline(self, size: int | None = -1) -> str:  # type: ignore[override]
        return self._answer(self._printed())


@pytest.fixture
def paretune(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command in this process: exit code, stdout and stderr."""

    def call(*words: Any, answers: str | Callable[[str], str] = "") -> tuple[int, str, str]:
        seen: list[str] = []

        def printed() -> str:
            seen.append(capsys.readouterr().err)
            return seen[-1]

        stdin = io.StringIO(answers) if isinstance(answers, str) else Answers(answers, printed)
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "argv", ["paretune", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, "".join(seen) + err

    return call


def person(weights: tuple[float, float], kind: Utility) -> Callable[[str], str]:
    """Reads a question off the screen, and picks what its utility says."""

    def answer(screen: str) -> str:
        lines = screen.splitlines()
        prompt = next(line.partition(". ")[2] for line in lines if line[:1].isdigit())
        at = [next(i for i, line in enumerate(lines) if line.startswith(f"{n}| ")) for n in (1, 2)]
        ends = (at[1], next(i for i, line in enumerate(lines) if "q = stop" in line))
        shown = [" ".join(line[3:] for line in lines[a:b]).strip()
                 for a, b in zip(at, ends, strict=True)]  # fmt: skip
        rewards = WORLD.score_many([prompt] * 2, [" ".join(text.split()) for text in shown])
        one, other = utilities(rewards, [weights], kind)[0]
        return "0\n" if one == other else "1\n" if one > other else "2\n"

    return answer


@pytest.mark.parametrize(
    ("weights", "kind"),
    [((0.9, 0.1), "linear"), ((0.3, 0.7), "linear"), ((0.7, 0.3), "chebyshev"),
     ((0.3, 0.7), "chebyshev")],
)  # fmt: skip
def test_somebody_reads_the_screen_and_is_served(
    run: Path, paretune: Any, weights: tuple[float, float], kind: Utility
) -> None:
    code, out, err = paretune("ask", run, "--json", "--questions", 8, answers=person(weights, kind))
    assert code == 0, err
    told = json.loads(out)
    assert told["number"] == 9
    front = np.array(WORLD.known_front().replies)
    index = round(4 * told["served"]["tradeoff"]["helpful"])
    assert shares_lost(utilities(front, [weights], kind)[0])[index] <= 0.05
    assert told["estimate"]["loss"] < 0.05


def test_it_ends_when_it_is_enough_and_goes_on_where_it_was_left(run: Path, paretune: Any) -> None:
    code, out, err = paretune("ask", run, "--user", "ann", answers="1\nq\n")
    assert code == 0 and "tiny: user ann, 1 answer\n" in out
    assert "served: rewarded_soups at helpful" in out
    assert f"result: {run / 'users.sqlite'}, user ann" in out
    assert f"next:   paretune serve {run} --method rewarded_soups" in out
    assert '"user": "ann"' in out and f"paretune export {run} my-policy" in out
    code, out, err = paretune("ask", run, "--user", "ann", answers=person((1, 0), "linear"))
    assert code == 0
    assert "ann has given 1 answer before" in err and "\n2. " in err
    assert "That is enough" in err
    n = len(open_people(open_run(run)).users.answers("ann"))
    assert 2 < n < 15
    code, out, err = paretune("ask", run, "--user", "ann", answers="nobody reads this\n")
    assert code == 0 and "That is enough" in err and f"{n} answers" in out
    code, _, err = paretune("ask", run, "--user", "ann", "--questions", 2, answers="0\nsame\n2\n")
    assert code == 0
    assert len(open_people(open_run(run)).users.answers("ann")) == n + 2


def test_the_end_of_the_input_is_an_end(run: Path, paretune: Any) -> None:
    code, out, _ = paretune("ask", run, answers="1\n2\n")
    assert code == 0 and "user me, 2 answers" in out
    code, _, err = paretune("ask", run, "--user", "eve")
    assert code == 2 and "stdin: found its end before any answer" in err
    code, out, _ = paretune("ask", run, "--user", "eve", answers="q\n")
    assert code == 0 and "nothing is stored" in out
    code, _, err = paretune("ask", run, answers="1\nleft\n1\n")
    assert code == 2 and "stdin: found 'left', expected 1, 2, 0" in err
    for begin in ("x", "1", ""):  # with what would be an answer behind the longest line
        code, _, err = paretune("ask", run, answers=f"{begin:<80}1\n1\n")
        assert code == 2 and f"stdin: found '{begin:<17}...', expected 1, 2, 0" in err
        code, _, err = paretune("ask", run, answers=f"{begin:<79}1")
        assert code == 2 and f"stdin: found '{begin:<17}...', expected" in err
    users = open_people(open_run(run)).users
    assert users.counts() == {"me": 3}, "what was answered before the mistake is kept"


def test_why_tells_where_the_replies_come_from(run: Path, paretune: Any) -> None:
    _, _, err = paretune("ask", run, answers="?\n1\nq\n")
    assert "nats) about which\nmeasured trade-off of rewarded_soups is best for you." in err
    assert "1 was given at helpful " in err


def test_list_export_and_delete(run: Path, paretune: Any) -> None:
    assert paretune("ask", run, "--list")[1] == "nobody was asked\n"
    for user, answers in (("ann", "1\n1\nq\n"), ("bob", "0\nq\n")):
        assert paretune("ask", run, "--user", user, answers=answers)[0] == 0
    _, out, _ = paretune("ask", run, "--list")
    assert [line.split(";")[0] for line in out.splitlines()] == ["ann: 2 answers", "bob: 1 answer"]
    _, out, _ = paretune("ask", run, "--list", "--json")
    rows = json.loads(out)["users"]
    assert [(row["id"], row["answers"]) for row in rows] == [("ann", 2), ("bob", 1)]
    assert sum(rows[0]["tradeoff"].values()) == pytest.approx(1)
    users = open_people(open_run(run)).users
    code, out, _ = paretune("ask", run, "--export", "ann")
    read = tuple(StoredAnswer.from_json(answer) for answer in json.loads(out)["answers"])
    assert code == 0 and read == users.answers("ann") and len(read) == 2
    prompt = read[0].prompt.encode()
    (run / "6-front" / FRONT).unlink()  # whatever became of the results
    code, out, _ = paretune("ask", run, "--delete", "ann")
    assert code == 0 and "2 answers of ann overwritten" in out
    assert users.counts() == {"bob": 1}
    paretune("ask", run, "--delete", "bob")
    assert prompt not in users.path.read_bytes()
    for verb in ("--export", "--delete"):
        code, _, err = paretune("ask", run, verb, "ann")
        assert code == 2 and "user: found 'ann', expected one who has answered" in err


BAD: dict[str, tuple[list[str], str]] = {
    "no run": (["nowhere"], "found no run.json"),
    "unknown method": (["RUN", "--method", "rewarded_soup"], "did you mean 'rewarded_soups'"),
    "several replies for one": (["RUN", "--method", "best_of_n"], "known: dpo, rewarded_soups"),
    "a name with a space": (["RUN", "--user", "ann lee"], "user: found 'ann lee'"),
    "a dot": (["RUN", "--user", "."], "neither . nor .."),
    "two dots": (["RUN", "--user", ".."], "neither . nor .."),
    "a long name": (["RUN", "--user", "a" * 65], "1 to 64"),
    "two things at once": (["RUN", "--list", "--delete", "ann"], "expected one of --list"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_exit_code_2(run: Path, paretune: Any, name: str) -> None:
    words, told = BAD[name]
    code, out, err = paretune("ask", *(str(run) if w == "RUN" else w for w in words), answers="1\n")
    assert code == 2 and told in err and out == ""
    assert "Traceback" not in err
    assert not (run / "users.sqlite").exists()


def test_a_run_that_cannot_be_asked_about_says_why(
    tmp_path: Path, paretune: Any, write_run: Any
) -> None:
    run = write_run(tmp_path / "same", ("sft",), lambda prompt, text: "always the same words")
    code, _, err = paretune("ask", run, answers="1\n")
    assert code == 2 and "found nothing to ask about sft (5 measured trade-offs)" in err
    assert paretune("ask", run, "--list")[:2] == (0, "nobody was asked\n")
    (run / "6-front" / FRONT).unlink()
    code, _, err = paretune("ask", run, answers="1\n")
    assert code == 2 and "expected an evaluated run" in err


def texts_of(run: Path, slug: str) -> list[str]:
    """Replies of the first method at a trade-off, by prompt."""
    lines = (run / "5-replies" / "rewarded_soups" / slug / REPLIES).read_text().splitlines()
    return [json.loads(line)["reply"] for line in lines]


def test_only_sound_replies_are_shown(run: Path) -> None:
    people = open_people(open_run(run), "dpo")
    pairs = {(q.first.id, q.second.id) for q in people.interview.questions}
    assert pairs == {("0-1", "1-0")}
    assert len(people.interview.questions) == N_PROMPTS
    every = open_people(open_run(run)).interview.questions
    assert len(every) == N_PROMPTS * 10
    question = every[0]
    texts = texts_of(run, question.first.id)
    by_hand = WORLD.score(question.prompt, texts[WORLD.test_prompts.index(question.prompt)])
    assert question.first.rewards == pytest.approx(by_hand)


def test_damaged_replies_are_not_asked_about(run: Path) -> None:
    file = run / "5-replies" / "dpo" / "0.5-0.5" / REPLIES
    file.write_bytes(file.read_bytes().replace(b"prompt", b"prompT", 1))
    with pytest.raises(RunError, match="found other content"):
        open_people(open_run(run), "dpo").interview.require_questions()
    assert open_people(open_run(run), "rewarded_soups").interview.questions


def test_hostile_replies_reach_neither_the_terminal_nor_the_table(
    tmp_path: Path, paretune: Any, write_run: Any
) -> None:
    def change(prompt: str, text: str) -> str:
        return f"{HOSTILE} '); DROP TABLE answers; -- {text}"

    run = write_run(tmp_path / "tiny", ("rewarded_soups",), change)
    code, out, err = paretune("ask", run, "--questions", 2, answers="1\n2\n")
    assert code == 0
    for sign in "\x1b\x07\u202e\u202c\r":
        assert sign not in out + err
    assert "[red]sand it[/red]" in err and "<script>x</script>" in err
    stored = open_people(open_run(run)).users.answers("me")
    assert len(stored) == 2 and stored[0].first.text.startswith(HOSTILE)
    _, out, _ = paretune("ask", run, "--export", "me")
    assert out.isascii() and json.loads(out)["answers"][0]["first"]["reply"] == stored[0].first.text


def test_in_a_terminal_a_mistyped_answer_is_asked_for_again(run: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "paretune.cli.main", "ask", str(run), "--user", "ann"]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"COLUMNS": "140", "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, b"yes\n\n" + b"x" * 80 + b"1\n" + b"1\nq\n")
    out, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0, err
    assert "found 'yes', expected 1, 2, 0" in err
    assert f"found '{'x' * 17}...', expected" in err and "user ann, 1 answer" in out
    assert any("1| " in line and "2| " in line for line in err.splitlines()), "side by side"


def test_where_one_point_is_best_for_everybody_nothing_is_asked(
    run: Path, paretune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = open_people(open_run(run))
    best = people.interview.result.methods[0].points[2]
    monkeypatch.setitem(people.interview._points, "rewarded_soups", (best, best))
    monkeypatch.setattr("paretune.pipeline.ask.open_people", lambda run, method: people)
    code, out, err = paretune("ask", run)
    assert code == 0 and "q = stop" not in err
    assert out.startswith(
        "nothing needs to be asked: rewarded_soups at helpful 0.5, concise 0.5 is best for every"
    )
