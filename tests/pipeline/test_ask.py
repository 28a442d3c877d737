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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.bench.handy import Handy
from paretune.bench.handy.text import Request, write_reply
from paretune.cli.main import main
from paretune.core.results import Cost, to_json
from paretune.core.tradeoff import TradeOff
from paretune.core.user import Utility
from paretune.errors import ConfigError, RunError
from paretune.evaluation.box import frozen_box
from paretune.evaluation.measure import measure
from paretune.evaluation.replies import MethodReplies, PointReplies, ReplyTable
from paretune.functional.answer_model import utilities
from paretune.functional.tradeoff_posterior import shares_lost
from paretune.pipeline.ask import open_people, open_scores
from paretune.pipeline.config import parse_config
from paretune.pipeline.folder import open_run
from paretune.pipeline.measuring import FRONT
from paretune.pipeline.records import PROMPTS
from paretune.pipeline.replies import REPLIES
from paretune.pipeline.rewards import scorers
from paretune.pipeline.run import stored_config
from paretune.safety.files import write_json, write_text
from paretune.safety.manifest import write_manifest
from paretune.scoring.score import score_responses
from paretune.serving.answered import StoredAnswer
from paretune.serving.reward_route import Rewards

WORLD = Handy("A")
N_PROMPTS = 24
# One, two, three and four steps, and an overview before them: the front of the world.
SAYS = (0b000100, 0b001100, 0b011100, 0b111100, 0b111110)
HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07 [red]sand it[/red] \u202egnp.exe\u202c \r\n<script>x</script> ok ok"
)


def reply_of(prompt: str, step: int, method: str) -> tuple[str, bool]:
    """Of the best policy at a trade-off; one method is well-formed nowhere but at two of them."""
    is_sound = method != "dpo" or step in (0, 4)
    return (
        write_reply(Request.parse(prompt), SAYS[step]) if is_sound else "sand it now .",
        is_sound,
    )


def write_run(path: Path, methods: tuple[str, ...] = ("rewarded_soups", "dpo", "best_of_n"),
              change: Callable[[str, str], str] = lambda prompt, text: text) -> Path:  # fmt: skip
    """A measured run: the records, replies and results that asking reads."""
    config = parse_config({
        "name": "tiny", "objectives": ["helpful", "concise"], "tradeoffs": {"grid": 4},
        "data": {"world": "handy", "scenario": "A", "pairs": 48}, "base": {"corpus": 256},
        "methods": [{"method": name} for name in methods],
        "evaluate": {"prompts": N_PROMPTS, "resamples": 100, "samples": 1},
    })  # fmt: skip
    values = json.loads(config.model_dump_json())
    write_json(path / "run.json", {"config": values, "command": "", "versions": {}})
    prompts = WORLD.test_prompts[:N_PROMPTS]
    write_json(path / "1-records" / PROMPTS, list(prompts))
    measured = []
    for name in methods:
        points = []
        for step, weight in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
            tradeoff = TradeOff((weight, 1 - weight))
            said = [reply_of(prompt, step, name) for prompt in prompts]
            texts = [change(prompt, text) for prompt, (text, _) in zip(prompts, said, strict=True)]
            rewards = WORLD.score_many(prompts, [text for text, _ in said])
            rows = [
                {"prompt": n, "reply": text, "well_formed": is_sound,
                 "rewards": dict(zip(config.objectives, map(float, row), strict=True))}
                for n, (text, (_, is_sound), row) in enumerate(
                    zip(texts, said, rewards, strict=True))
            ]  # fmt: skip
            folder = path / "5-replies" / name / tradeoff.slug
            write_text(folder / REPLIES, "".join(json.dumps(row) + "\n" for row in rows))
            write_manifest(folder, {"identity": "x", "inputs": {}, "facts": {}})
            table = ReplyTable(np.arange(len(prompts)), texts, rewards)
            points.append(PointReplies(tradeoff, "a policy", table))
        measured.append(MethodReplies(name, points, Cost(0, 0, 0, 0, 1, 5)))
    box = frozen_box(config.axes, bounds=((0, 0), (1, 1)))
    rng = np.random.default_rng(0)
    result = measure("tiny", config.axes, box, prompts, measured, rng=rng, n_resamples=100)
    write_json(path / "6-front" / FRONT, to_json(result))
    write_manifest(path / "6-front", {"identity": "x", "inputs": {}, "facts": {}})
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "runs" / "tiny")


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
    "a name with a space": (["RUN", "--user", "ann lee"], "--user: found 'ann lee'"),
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


def test_a_run_that_cannot_be_asked_about_says_why(tmp_path: Path, paretune: Any) -> None:
    run = write_run(tmp_path / "same", ("sft",), lambda prompt, text: "always the same words")
    code, _, err = paretune("ask", run, answers="1\n")
    assert code == 2 and "found nothing to ask about sft (5 measured trade-offs)" in err
    assert paretune("ask", run, "--list")[:2] == (0, "nobody was asked\n")
    (run / "6-front" / FRONT).unlink()
    code, _, err = paretune("ask", run, answers="1\n")
    assert code == 2 and "expected an evaluated run" in err


def test_only_sound_replies_are_shown(run: Path) -> None:
    people = open_people(open_run(run), "dpo")
    pairs = {(q.first.id, q.second.id) for q in people.interview.questions}
    assert pairs == {("0-1", "1-0")}
    assert len(people.interview.questions) == N_PROMPTS
    every = open_people(open_run(run)).interview.questions
    assert len(every) == N_PROMPTS * 10
    by_hand = WORLD.score(every[0].prompt, write_reply(Request.parse(every[0].prompt), SAYS[0]))
    first = next(q.first for q in every if q.first.id == "0-1" and q.prompt == every[0].prompt)
    assert first.rewards == pytest.approx(by_hand)


def test_damaged_replies_are_not_asked_about(run: Path) -> None:
    file = run / "5-replies" / "dpo" / "0.5-0.5" / REPLIES
    file.write_bytes(file.read_bytes().replace(b"prompt", b"prompT", 1))
    with pytest.raises(RunError, match="found other content"):
        open_people(open_run(run), "dpo").interview.require_questions()
    assert open_people(open_run(run), "rewarded_soups").interview.questions


def test_hostile_replies_reach_neither_the_terminal_nor_the_table(
    tmp_path: Path, paretune: Any
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
    os.write(ours, b"yes\n\n1\nq\n")
    out, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0, err
    assert "found 'yes', expected 1, 2, 0" in err and "user ann, 1 answer" in out
    assert any("1| " in line and "2| " in line for line in err.splitlines()), "side by side"


def test_rewards_are_those_that_were_measured(run: Path) -> None:
    opened = open_run(run)
    score = open_scores(stored_config(opened), opened)
    prompts = WORLD.test_prompts[:N_PROMPTS]
    for method in ("rewarded_soups", "dpo"):
        with (run / "5-replies" / method / "0.75-0.25" / REPLIES).open() as file:
            rows = [json.loads(line) for line in file]
        for row in rows:
            (found,) = score(prompts[row["prompt"]], [row["reply"]])
            assert dict(zip(("helpful", "concise"), found, strict=True)) == row["rewards"]


def test_scores_that_came_with_the_data_reward_nothing_new(run: Path) -> None:
    opened, config = open_run(run), stored_config(open_run(run))
    data = config.data.model_copy(update={"world": None})
    with pytest.raises(ConfigError, match="cannot reward new replies"):
        open_scores(config.model_copy(update={"data": data}), opened)


def with_rewards(run: Path, reward: dict[str, Any], judges: dict[str, Any]) -> Any:
    """The configuration of the run as if its data were a file, with rewards of its own."""
    values = json.loads(stored_config(open_run(run)).model_dump_json())
    values["data"] |= {"world": None, "path": "x.jsonl"}
    values["base"] = {"path": "x"}
    values["rewards"] = {"helpful": reward, "concise": reward}
    values["evaluate"]["rewards"] = judges
    return parse_config(values)


def test_functions_reward_as_they_measured(run: Path, tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(
        "def words(prompt, response):\n    return len(response.split()) - len(prompt) / 10\n"
        "def judged(prompt, response):\n    return len(response) + 100 * isinstance(prompt, list)\n"
    )
    said = [{"role": "user", "content": "Hi"}]
    write_json(run / "1-records" / PROMPTS, [said] + ["Why?"] * N_PROMPTS)
    trained, judged = ({"function": f"{tmp_path}/rewards.py:{n}"} for n in ("words", "judged"))
    score = open_scores(with_rewards(run, trained, {"concise": judged}), open_run(run))
    # What judges replies, which is not what trained the policies.
    assert score("ab", ["one two", "three"]).tolist() == [[1.8, 7.0], [0.8, 5.0]]
    # A conversation that was measured is one here, too.
    assert score("user: Hi", ["one two"])[0, 1] == 107.0


def test_a_model_rewards_in_any_thread_as_in_a_batch(run: Path, tmp_path: Path) -> None:
    from transformers import LlamaForSequenceClassification

    config = WORLD.base_config()
    config.num_labels = 1
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "judge")
    WORLD.tokenizer().save_pretrained(tmp_path / "judge")
    judge = {"model": str(tmp_path / "judge")}
    changed = with_rewards(run, judge, {})
    prompts = list(WORLD.test_prompts[:6])
    replies = [reply_of(prompt, n % 5, "sft")[0] for n, prompt in enumerate(prompts)]
    expected = score_responses(prompts, replies, scorers(changed, open_run(run), "judges"))
    assert expected.std() > 1e-3
    rewards = Rewards(lambda: open_scores(changed, open_run(run)))
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda row: rewards.rate(row[0], [row[1]])[0],
                                 zip(prompts, replies, strict=True)))  # fmt: skip
    assert np.allclose(found, expected, atol=1e-5)


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
