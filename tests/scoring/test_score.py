from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from paretune.core.objective import Objectives
from paretune.core.record import Message, PreferenceData, Record, Response
from paretune.core.rewards import RewardMatrix
from paretune.errors import ConfigError, NotScoredError, RunError, ScoringError, ShapeError
from paretune.scoring.cache import RewardCache
from paretune.scoring.score import cache_path, from_columns, score_responses
from paretune.scoring.scorer import CallableScorer, Scorer

PROMPTS = ["p", "p", "q", (Message("user", "p"),), "p"]
RESPONSES = ["a", "bb", "a", "a", "a"]


class Counting(Scorer):
    """Length of the response times ten plus length of the prompt; remembers what it was asked."""

    name = "counting"
    batch_rows = 2

    def __init__(self, identity: str = "v1", stop_after: int | None = None) -> None:
        self._identity, self._stop_after = identity, stop_after
        self.calls: list[list[tuple[object, str]]] = []

    @property
    def identity(self) -> str:
        return self._identity

    @property
    def rows(self) -> Counter[tuple[object, str]]:
        return Counter(row for call in self.calls for row in call)

    def score(self, prompts, responses):
        if len(self.calls) == self._stop_after:
            raise KeyboardInterrupt
        self.calls.append(list(zip(prompts, responses, strict=True)))
        return np.array([10.0 * len(r) + len(p) for p, r in zip(prompts, responses, strict=True)])


def test_columns_follow_the_scorers_and_rows_the_responses():
    other = CallableScorer("minus", "m", lambda ps, rs: [-len(r) for r in rs])
    rewards = score_responses(PROMPTS, RESPONSES, {"long": Counting(), "short": other})
    assert rewards.tolist() == [[11, -1], [21, -2], [11, -1], [11, -1], [11, -1]]
    assert rewards.dtype == np.float64


def test_equal_rows_are_scored_once():
    scorer = Counting()
    score_responses(PROMPTS, RESPONSES, {"long": scorer})
    assert scorer.rows == {("p", "a"): 1, ("p", "bb"): 1, ("q", "a"): 1, (PROMPTS[3], "a"): 1}


def test_longest_first_in_batches_of_batch_rows():
    scorer = Counting()
    responses = ["a", "aaaa", "aa", "aaaaa", "aaa"]
    score_responses(["p"] * 5, responses, {"long": scorer})
    assert [[len(r) for _, r in call] for call in scorer.calls] == [[5, 4], [3, 2], [1]]


def test_nothing_to_score():
    assert score_responses([], [], {"long": Counting()}).shape == (0, 1)


def test_prompts_and_responses_must_match():
    with pytest.raises(ShapeError, match="1 prompts, expected 2"):
        score_responses(["p"], ["a", "b"], {"long": Counting()})


def test_progress_counts_the_cache_first(tmp_path):
    seen = []
    note = lambda *counts: seen.append(counts)  # noqa: E731
    score_responses(["p"] * 3, ["a", "b", "c"], {"long": Counting()}, tmp_path, note)
    assert seen == [("long", 0, 3), ("long", 2, 3), ("long", 3, 3)]
    seen.clear()
    score_responses(["p"] * 4, ["a", "b", "c", "d"], {"long": Counting()}, tmp_path, note)
    assert seen == [("long", 3, 4), ("long", 4, 4)]
    seen.clear()
    score_responses(["p"], ["a"], {"long": Counting()}, tmp_path, note)
    assert seen == [("long", 1, 1)]


def test_scorers_with_one_identity_share_a_cache_and_others_do_not(tmp_path):
    first, same, other = Counting(), Counting(), Counting("v2")
    for scorer in (first, same, other):
        score_responses(PROMPTS, RESPONSES, {"long": scorer}, tmp_path)
    assert len(first.calls) == 2
    assert same.calls == []
    assert other.rows == first.rows
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_cache_needs_no_lock(tmp_path):
    expected = score_responses(PROMPTS, RESPONSES, {"long": Counting()}, tmp_path)
    with RewardCache(cache_path(tmp_path, Counting())).writing():
        again = score_responses(PROMPTS, RESPONSES, {"long": Counting()}, tmp_path)
        with pytest.raises(RunError):
            score_responses(["new"], ["r"], {"long": Counting()}, tmp_path)
    assert again.tolist() == expected.tolist()


@pytest.mark.parametrize("stop_after", range(4))
def test_a_stop_between_batches_loses_nothing(tmp_path, stop_after):
    prompts, responses = ["p"] * 7, ["a" * n for n in range(7)]
    stopped, resumed = Counting(stop_after=stop_after), Counting()
    with pytest.raises(KeyboardInterrupt):
        score_responses(prompts, responses, {"long": stopped}, tmp_path)
    rewards = score_responses(prompts, responses, {"long": resumed}, tmp_path)
    assert (stopped.rows + resumed.rows) == Counter(zip(prompts, responses, strict=True))
    assert rewards[:, 0].tolist() == [10 * n + 1 for n in range(7)]


def test_the_row_of_an_error_counts_in_the_data(tmp_path):
    def fn(prompts, responses):
        return [float("nan") if r == "bad" else 1.0 for r in responses]

    responses = ["longest of all", "bad", "good reply", "bad"]
    with pytest.raises(ScoringError, match=r"^fn, row 1: found nan"):
        score_responses(["p"] * 4, responses, {"x": CallableScorer("fn", "v", fn)}, tmp_path)


def test_a_careless_scorer_is_checked_too():
    class Careless(Counting):
        def score(self, prompts, responses):
            return np.full(len(responses), np.nan)

    with pytest.raises(ScoringError, match="counting, row 0: found nan"):
        score_responses(["p"], ["a"], {"x": Careless()})


KILLED = """
import os, signal, sys
from pathlib import Path
from paretune.scoring.score import score_responses
from paretune.scoring.scorer import CallableScorer

log, cache, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
asked = 0

def score(prompts, responses):
    global asked
    values = []
    for response in responses:
        if asked == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        asked += 1
        with log.open("a") as file:
            file.write(response + "\\n")
        values.append(float(response) / 3)
    return values

scorer = CallableScorer("thirds", "v1", score)
responses = [str(i) for i in range(1000, 2000)]
rewards = score_responses(["p"] * 1000, responses, {"x": scorer}, cache)
assert (rewards[:, 0] == [float(r) / 3 for r in responses]).all()
print("done")
"""


def test_killed_runs_score_again_only_the_batch_in_flight(tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", KILLED, str(log), str(tmp_path / "cache")]
    for limit in (100, 300, 515):
        killed = subprocess.run([*command, str(limit)], check=False, capture_output=True)
        assert killed.returncode == -signal.SIGKILL
    done = subprocess.run([*command, "-1"], check=False, capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr
    asked = Counter(log.read_text().split())
    assert len(asked) == 1000
    # Each kill loses what its last batch of 256 had already computed: 100, 44, 3.
    assert sum(asked.values()) == 1000 + 100 + (300 - 256) + (515 - 512)


def test_from_columns_gives_the_scores_of_the_data():
    records = [Record("p", (Response("a", {"kind": 1.0}), Response("b")))]
    data = PreferenceData.from_records(records, ["kind", "brief"])
    column = from_columns(data, "kind")
    np.testing.assert_array_equal(column, [1.0, np.nan])
    column[0] = 9.0
    assert data.rewards.values[0, 0] == 1.0
    with pytest.raises(NotScoredError, match="brief: found no score in 2 responses"):
        from_columns(data, "brief")
    with pytest.raises(ConfigError, match="did you mean 'kind'"):
        from_columns(data, "kin")


def test_rewards_fit_the_matrix():
    objectives = Objectives.of("long")
    rewards = score_responses(PROMPTS, RESPONSES, {"long": Counting()})
    assert len(RewardMatrix(objectives, rewards)) == 5
