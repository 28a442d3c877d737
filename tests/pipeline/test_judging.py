"""A run whose comparisons are labelled by a judge, over a real server."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from paretune.errors import ConfigError, RunError
from paretune.pipeline.checking import check_run
from paretune.pipeline.config import load_config, parse_config
from paretune.pipeline.folder import RunFolder, Sealed
from paretune.pipeline.forecast import forecast
from paretune.pipeline.judging import foretell, judge_records
from paretune.pipeline.records import TEST, TRAIN, read_part, read_parts, records_stage

CANARY = "sk-canary-0123456789abcdef"


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def responses_of(n, replies=3, **more):
    """Records without comparisons; the number at the end is how witty a reply is."""
    for i in range(n):
        texts = [f"reply {(3 * i + j) % 5}" for j in range(replies)]
        yield {"prompt": f"Say {i}:", "responses": [{"text": t, **more} for t in texts]}


def pairs_of(n, labels=None):
    for i in range(n):
        row = {"prompt": f"Say {i}:", "response_a": f"reply {i % 3}", "response_b": "reply 1"}
        if i % 3 != 1:
            yield row | ({"labels": labels} if labels is not None else {})


@pytest.fixture
def config(tmp_path, judge_server):
    def build(rows, judge=None, data=None, **changes):
        judge = {"base_url": judge_server.url, "model": "m", "backoff": 0.0001} | (judge or {})
        path = write(tmp_path / "rows.jsonl", rows)
        values = {
            "name": "judged",
            "objectives": ["wit", "tact"],
            "data": {"path": path, "test_share": 0.3, "judge": judge} | (data or {}),
            "base": {"build": {"hidden": 8, "layers": 1, "heads": 2, "feed_forward": 8,
                               "vocabulary": 260}, "train": {"steps": 1}},
            "rewards": {"wit": {"trained": {}}, "tact": {"trained": {}}},
            "tradeoffs": {"grid": 1},
            "methods": [{"method": "dpo"}],
            "evaluate": {"resamples": 100},
            "workers": 1,
        }  # fmt: skip
        return parse_config(values | changes)

    return build


def facts_of(stage):
    return stage.manifest["facts"]["judge"]


def gaps(data):
    """What the server of the tests thinks of each comparison: the gap, cut, over 3."""
    number = np.array([int(text.split()[-1]) for text in data.texts])
    return np.clip(number[data.first] - number[data.second], -3, 3) / 3


def test_labels_of_the_judge_are_in_the_records(tmp_path, config, judge_server):
    said = []
    run_config, run = config(pairs_of(30)), RunFolder(tmp_path / "runs" / "judged")
    stage = records_stage(run_config, run, said.append)
    for part in (TRAIN, TEST):
        data = read_part(run_config, run, part)
        assert data.n_comparisons >= 4
        assert data.labels == pytest.approx(np.stack([gaps(data)] * 2, axis=1))
    facts = facts_of(stage)
    # 20 comparisons on 2 objectives in 2 orders.
    assert (facts["questions"], facts["asked"], facts["cached"]) == (80, 80, 0)
    assert (facts["labels"], facts["null"], facts["failed"]) == (40, 0, 0)
    assert len(judge_server.bodies) == 80
    assert "40 labels need 80 questions: 80 requests to m at" in said[0]
    assert said[1].startswith("judge: 80 asked, 0 from cache, 0 retried, 0 failed, 0 not asked; 0")
    assert oct(os.stat(run.path / ".cache" / "judge.jsonl").st_mode)[-3:] == "600"


def test_a_finished_stage_asks_nothing_and_a_removed_one_uses_the_answers(
    tmp_path, config, judge_server
):
    run_config, run = config(pairs_of(12)), RunFolder(tmp_path / "judged")
    first = records_stage(run_config, run)
    asked, content = len(judge_server.bodies), (run.stage(1) / TRAIN).read_bytes()
    assert records_stage(run_config, run).identity == first.identity
    for file in run.stage(1).iterdir():
        file.unlink()
    run.stage(1).rmdir()
    again = records_stage(run_config, run)
    assert again.identity == first.identity
    assert (run.stage(1) / TRAIN).read_bytes() == content
    assert facts_of(again)["cached"] == asked == len(judge_server.bodies)


def test_the_stage_is_another_one_for_another_question_and_for_other_labels(
    tmp_path, config, judge_server
):
    rows = list(pairs_of(12))
    run = RunFolder(tmp_path / "judged")
    first = records_stage(config(rows), run)
    effort = {"timeout": 5, "retries": 1, "concurrency": 1, "when_down": "go_on"}
    assert records_stage(config(rows, effort), run).identity == first.identity
    for changes in ({"model": "other"}, {"rubric": {"wit": "Funnier."}}, {"objectives": ["wit"]}):
        with pytest.raises(ConfigError, match="judge"):
            records_stage(config(rows, changes), run)
    without = config(rows)
    without = without.model_copy(update={"data": without.data.model_copy(update={"judge": None})})
    with pytest.raises(ConfigError, match="judge"):
        records_stage(without, run)
    # The same questions, answered otherwise: what was built on the old labels is not taken for it.
    judge_server.answer = lambda question, n: '{"score": 0}'
    assert records_stage(config(rows), RunFolder(tmp_path / "new")).identity != first.identity


def test_a_run_without_a_judge_is_what_it_was(tmp_path, config):
    rows = write(tmp_path / "r.jsonl", pairs_of(12, {"wit": 1, "tact": 0}))
    run_config = config([], data={"path": rows, "judge": None})
    stage = records_stage(run_config, RunFolder(tmp_path / "plain"))
    assert set(stage.manifest["inputs"]) == {"objectives", "data", "content", "seed"}
    assert "judge" not in stage.manifest["inputs"]["data"]


def test_only_missing_labels_are_asked_for_unless_told_otherwise(tmp_path, config, judge_server):
    rows = list(pairs_of(12, {"wit": 0.25}))
    run_config = config(rows)
    stage = records_stage(run_config, RunFolder(tmp_path / "a"))
    data = read_part(run_config, RunFolder(tmp_path / "a"), TRAIN)
    assert set(data.labels[:, 0]) == {0.25}
    assert data.labels[:, 1] == pytest.approx(gaps(data))
    assert facts_of(stage)["labels"] == 8
    assert facts_of(stage)["agreement"] == {}

    judge_server.reset()
    run_config = config(rows, {"overwrite": True, "objectives": ["wit"]})
    stage = records_stage(run_config, RunFolder(tmp_path / "b"))
    data = read_part(run_config, RunFolder(tmp_path / "b"), TRAIN)
    assert data.labels[:, 0] == pytest.approx(gaps(data))
    assert np.isnan(data.labels[:, 1]).all()
    overlap = facts_of(stage)["agreement"]["old labels"]["wit"]
    assert overlap["n"] == 8 and overlap["same"] + overlap["opposite"] <= 8


def test_records_without_comparisons_are_paired_by_chance_without_scores(
    tmp_path, config, judge_server
):
    run_config = config(responses_of(20), data={"pairs_per_prompt": None})
    records_stage(run_config, RunFolder(tmp_path / "a"))
    data = read_part(run_config, RunFolder(tmp_path / "a"), TRAIN)
    # One pair a prompt, of two responses that differ.
    assert data.n_comparisons == data.n_prompts
    assert all(data.texts[a] != data.texts[b] for a, b in zip(data.first, data.second, strict=True))
    assert data.labels[:, 0] == pytest.approx(gaps(data))
    places = data.first % 3 * 3 + data.second % 3
    assert len(set(places.tolist())) > 1
    # Another seed draws others; the same seed the same.
    other = config(responses_of(20), seed=1)
    records_stage(other, RunFolder(tmp_path / "b"))
    drawn = read_part(other, RunFolder(tmp_path / "b"), TRAIN)
    assert (drawn.first.tolist(), drawn.second.tolist()) != (
        data.first.tolist(), data.second.tolist(),
    )  # fmt: skip
    two = config(responses_of(20), data={"pairs_per_prompt": 2})
    records_stage(two, RunFolder(tmp_path / "c"))
    assert read_part(two, RunFolder(tmp_path / "c"), TRAIN).n_comparisons == 2 * data.n_prompts


def test_scores_pair_the_records_and_agreement_is_told(tmp_path, config, judge_server):
    def rows():
        for row in responses_of(20):
            for response in row["responses"]:
                number = int(response["text"].split()[-1])
                response["scores"] = {"wit": number, "tact": -number}
            yield row

    said = []
    run_config = config(rows(), rewards={})
    run = RunFolder(tmp_path / "a")
    stage = records_stage(run_config, run, said.append)
    data = read_part(run_config, run, TRAIN)
    assert data.n_comparisons > data.n_prompts
    agreement = facts_of(stage)["agreement"]["rewards"]
    n = agreement["wit"]["n"]
    # The judge likes what the first reward likes, and the reverse of the second. Its labels are
    # graded and those of rewards are not, so tau is below 1.
    assert (agreement["wit"]["same"], agreement["wit"]["opposite"]) == (n, 0)
    assert (agreement["tact"]["same"], agreement["tact"]["opposite"]) == (0, n)
    assert 0.5 < agreement["wit"]["tau"] == -agreement["tact"]["tau"] <= 1
    assert any("agreement with rewards on wit: Kendall's tau 0." in line for line in said)


def test_a_reward_function_is_compared_with_the_judge(tmp_path, config):
    (tmp_path / "mine.py").write_text("def wit(prompt, response):\n    return int(response[-1])\n")
    run_config = config(
        pairs_of(12), rewards={"wit": {"function": f"{tmp_path / 'mine.py'}:wit"},
                               "tact": {"trained": {}}},
    )  # fmt: skip
    stage = records_stage(run_config, RunFolder(tmp_path / "a"))
    agreement = facts_of(stage)["agreement"]["rewards"]
    assert agreement == {"wit": {"n": 8, "same": 8, "opposite": 0, "tau": 1.0}}


def test_a_world_can_be_judged_again(tmp_path, config, judge_server, tiny_config):
    judge_server.answer = lambda question, n: '{"score": 2}'
    judge = {"base_url": judge_server.url, "model": "m", "overwrite": True}
    run_config = tiny_config(data={"world": "handy", "scenario": "A", "pairs": 12, "judge": judge})
    stage = records_stage(run_config, RunFolder(tmp_path / "a"))
    # Always 2, whatever the order: a judge without an opinion of its own.
    data = read_part(run_config, RunFolder(tmp_path / "a"), TRAIN)
    assert (data.labels == 0).all()
    overlap = facts_of(stage)["agreement"]["rewards"]["helpful"]
    assert overlap["n"] == data.n_comparisons and overlap["tau"] is None


def test_a_failed_question_is_no_label_and_never_a_tie(tmp_path, config, judge_server):
    from fastapi.responses import Response

    bad = "Say 3:"
    judge_server.answer = lambda question, n: (
        Response(status_code=400) if bad in question["messages"][0]["content"]
        else judge_server.score(question)
    )  # fmt: skip
    run_config = config(pairs_of(12), data={"test_share": 0.3})
    stage = records_stage(run_config, RunFolder(tmp_path / "a"))
    assert (facts_of(stage)["null"], facts_of(stage)["failed"]) == (2, 4)
    assert facts_of(stage)["reasons"] == {"HTTP 400": 4}
    files = [RunFolder(tmp_path / "a").stage(1) / part for part in (TRAIN, TEST)]
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    (row,) = (r for r in rows if r["prompt"] == bad)
    assert row["comparisons"][0]["labels"] == {}


def test_nobody_answers_so_the_run_stops_and_goes_on_when_it_is_back(
    tmp_path, config, judge_server, unused_address
):
    from fastapi.responses import Response

    rows = list(pairs_of(30))
    run = RunFolder(tmp_path / "judged")
    judge_server.answer = lambda question, n: (
        judge_server.score(question) if len(judge_server.bodies) <= 10
        else Response("maintenance", 503)
    )  # fmt: skip
    with pytest.raises(RunError) as caught:
        records_stage(config(rows, {"concurrency": 1}), run)
    assert judge_server.url in str(caught.value)
    for part in ("data.judge: ", "found HTTP 503 (maintenance) for 5 questions in a row",
                 "expected a server that answers", "10 answers are kept, 70 are missing",
                 "type the same command again"):  # fmt: skip
        assert part in str(caught.value)
    assert not run.stage(1).exists()
    answered = len(judge_server.bodies) - 15
    judge_server.answer = lambda question, n: judge_server.score(question)
    stage = records_stage(config(rows, {"concurrency": 1}), run)
    assert (facts_of(stage)["cached"], facts_of(stage)["null"]) == (answered, 0)

    # Or without labels, when the user says so.
    said = []
    gone = config(rows, {"base_url": unused_address, "when_down": "go_on"})
    stage = records_stage(gone, RunFolder(tmp_path / "gone"), said.append)
    assert (facts_of(stage)["labels"], facts_of(stage)["null"]) == (0, 40)
    assert facts_of(stage)["ended"] == "down"
    assert any("found connection refused" in line and "40 labels are missing" in line
               for line in said)  # fmt: skip
    data = read_part(gone, RunFolder(tmp_path / "gone"), TRAIN)
    assert np.isnan(data.labels).all()


def test_the_budget_is_hard_over_restarts_and_the_rest_is_null(tmp_path, config, judge_server):
    rows, said = list(pairs_of(30)), []
    run_config, run = config(rows, {"max_requests": 30}), RunFolder(tmp_path / "judged")
    stage = records_stage(run_config, run, said.append)
    facts = facts_of(stage)
    assert len(judge_server.bodies) == 30
    assert (facts["asked"], facts["unasked"], facts["ended"]) == (30, 50, "budget")
    assert facts["labels"] + facts["null"] == 40 and 13 <= facts["labels"] <= 15
    assert any("found the budget used up (30 requests" in line for line in said)
    with pytest.raises(ConfigError, match="max_requests 30 -> 100"):
        records_stage(config(rows, {"max_requests": 100}), run)


def test_check_and_dry_run_count_and_send_nothing(tmp_path, config, judge_server, monkeypatch):
    monkeypatch.chdir(tmp_path)
    judges = {n: {"function": f"{tmp_path / 'f.py'}:f"} for n in ("wit", "tact")}
    (tmp_path / "f.py").write_text("def f(prompt, response):\n    return len(response)\n")
    evaluate = {"resamples": 100, "rewards": judges}
    run_config = config(pairs_of(30), {"key_env": "NOT_SET"}, evaluate=evaluate)
    told = f"judge: 40 labels need 80 questions: 80 requests to m at {judge_server.url}"
    before = sorted(tmp_path.rglob("*"))
    assert told in forecast(run_config, tmp_path / "runs" / "judged").splitlines()
    summary, notes = check_run(run_config)
    assert told in notes
    assert "has no label or score" not in summary.to_markdown()
    assert not judge_server.bodies
    assert sorted(tmp_path.rglob("*")) == before
    # What was answered before is told.
    run = RunFolder(tmp_path / "runs" / "judged")
    records_stage(config(pairs_of(30), {"max_requests": 20}, evaluate=evaluate), run)
    assert "80 questions, 20 of them answered before: 60 requests" in forecast(run_config, run.path)
    labelled = config(pairs_of(30, {"wit": 1, "tact": 0}), evaluate=evaluate)
    assert "every comparison has its labels, nothing to ask" in forecast(labelled, run.path)


def test_the_key_is_in_no_file_and_no_message(tmp_path, config, judge_server, monkeypatch):
    from fastapi.responses import Response

    monkeypatch.setenv("JUDGE_KEY", CANARY)
    said, rows = [], list(pairs_of(12))
    run = RunFolder(tmp_path / "runs" / "judged")

    def answer(question, n):
        if n == 1:
            return Response(f"no, {CANARY}", 500)
        return f"{CANARY} " + judge_server.score(question)

    judge_server.answer = answer
    keyed = config(rows, {"key_env": "JUDGE_KEY"})
    records_stage(keyed, run, said.append)
    assert judge_server.keys == {f"Bearer {CANARY}"}
    judge_server.answer = lambda question, n: Response(f"no, {CANARY}", 401)
    with pytest.raises(RunError) as caught:
        records_stage(keyed, RunFolder(tmp_path / "runs" / "other"), said.append)
    assert "HTTP 401 (it refuses the key in JUDGE_KEY)" in str(caught.value)
    content = b"".join(f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    assert len(content) > 1000
    assert CANARY.encode() not in content
    assert CANARY not in str(caught.value) + "".join(said)


def test_a_missing_key_is_told_before_anything_is_read(tmp_path, config, monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    keyed = config(pairs_of(12), {"key_env": "JUDGE_KEY"})
    (tmp_path / "rows.jsonl").write_text("not read")
    with pytest.raises(ConfigError, match="nothing in the environment variable JUDGE_KEY"):
        records_stage(keyed, RunFolder(tmp_path / "judged"))


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ({"base_url": f"https://me:{CANARY}@host/v1"}, r"data\.judge\.base_url: found a user name"),
        ({"base_url": f"https://host/v1?key={CANARY}"}, r"data\.judge\.base_url: found '\?'"),
        ({"base_url": "host/v1"}, "expected http"),
        ({"base_url": ["https://me:" + CANARY]}, "valid string"),
        ({"key_env": CANARY}, r"data\.judge\.key_env: found no name of an environment variable"),
        ({"key_env": {CANARY: 1}}, "valid string"),
        ({"api_key": CANARY}, "data.judge.api_key: unknown key"),
        ({"modle": "m"}, r"did you mean 'model'\?"),
        ({"model": ""}, "model"),
        ({"objectives": ["witt"]}, r"did you mean 'wit'\?"),
        ({"objectives": ["wit", "wit"]}, "'wit' comes twice"),
        ({"objectives": []}, "objectives"),
        ({"rubric": {"witt": "Funny."}}, r"did you mean 'wit'\?"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"concurrency": 0}, "concurrency"),
        ({"max_requests": 0}, "max_requests"),
        ({"when_down": "wait"}, "when_down"),
    ],
)
def test_what_is_refused_and_shows_no_secret(config, judge, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config(pairs_of(12), judge)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("judge", [f"https://me:{CANARY}@host", [CANARY]])
def test_a_wrong_section_shows_no_secret(config, judge):
    for data in ({"judge": judge}, {"judge": {"base_url": CANARY}, "path": None}):
        with pytest.raises(ConfigError, match="data") as caught:
            config([], data=data)
        assert CANARY not in str(caught.value)


def test_a_file_with_the_name_of_the_model_is_no_model(tmp_path, config):
    (tmp_path / "m").write_text("")
    (tmp_path / "run.yaml").write_text(
        "name: x\nobjectives: [a, b]\nbase: {path: p}\nmethods: [{method: sft}]\n"
        "data:\n  path: rows.jsonl\n  judge:\n    base_url: http://localhost:1/v1\n    model: m\n"
        f"    rubric: {{a: '{'long ' * 100}'}}\n"
    )
    judge = load_config(tmp_path / "run.yaml").data.judge
    assert (judge.model, judge.when_down) == ("m", "stop")


def test_judged_labels_ask_for_nothing_else(tmp_path, config, judge_server):
    """The pieces that a program may call on its own."""
    run_config, run = config(pairs_of(12)), RunFolder(tmp_path / "judged")
    parts = read_parts(run_config)
    records = [*parts.train, *parts.test]
    assert "16 labels need 32 questions" in foretell(run_config, run, records)
    steps = []
    done = judge_records(run_config, run, records, str, lambda *now: steps.append(now))
    assert steps[0] == ("judge", 0, 32) and steps[-1] == ("judge", 32, 32)
    assert [r.prompt for r in done.records] == [r.prompt for r in records]
    again = judge_records(run_config, run, records, str, lambda *now: None)
    assert (again.records, again.digest) == (done.records, done.digest)


STAGE = """
import sys
from pathlib import Path
from paretune.pipeline.config import load_config
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.records import records_stage
print("ready", flush=True)
records_stage(load_config(Path(sys.argv[1])), RunFolder(Path(sys.argv[2])))
"""


def killed(command, server, wanted, env=None, how=signal.SIGKILL):
    """Start, wait for that many requests in all, send a signal; the exit code and what it said."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)
    try:
        end = time.monotonic() + 120
        while len(server.bodies) < wanted and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.002)
        process.send_signal(how)
        said = process.communicate(timeout=30)[1]
    finally:
        process.kill()
    return process.returncode, said.decode()


def asked_again(server):
    """How many requests repeated an earlier one."""
    return len(server.bodies) - len(server.asked)


def slowly(server):
    """An answer takes some milliseconds, so that a kill comes between answers."""

    async def answer(question, n):
        await asyncio.sleep(0.01)
        return completion(server.score(question))

    def completion(content):
        from fastapi.responses import JSONResponse

        return JSONResponse({"choices": [{"message": {"content": content}}]})

    server.answer = answer


def test_killed_at_any_moment_nothing_is_asked_twice(tmp_path, config, judge_server):
    run_config = config(pairs_of(90), {"concurrency": 2})
    path, run = tmp_path / "run.yaml", RunFolder(tmp_path / "judged")
    import yaml

    values = json.loads(run_config.model_dump_json(exclude_defaults=True))
    path.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-c", STAGE, str(path), str(run.path)]
    slowly(judge_server)
    for n in range(1, 4):
        code, said = killed(command, judge_server, 45 * n)
        assert code == -signal.SIGKILL, said
        assert not run.stage(1).exists()
    stage = records_stage(load_config(path), run)
    facts = facts_of(stage)
    assert facts["questions"] == 240
    assert facts["cached"] + facts["asked"] == 240 and facts["cached"] >= 45 * 3 - 6
    # Nothing that was answered: at most the two requests under way at each kill.
    assert asked_again(judge_server) <= 3 * 2
    assert len(judge_server.asked) == 240
    # And the labels are those of a run that nobody killed.
    judge_server.reset()
    straight = records_stage(run_config, RunFolder(tmp_path / "straight"))
    assert stage.identity == straight.identity
    assert len(judge_server.bodies) == 240


@pytest.mark.slow
def test_the_command_is_killed_and_goes_on(tmp_path, config, judge_server):
    """``paretune data run.yaml``, killed while it asks, with a key, to the end."""
    import yaml

    (tmp_path / "f.py").write_text("def f(prompt, response):\n    return len(response)\n")
    functions = {n: {"function": f"{tmp_path / 'f.py'}:f"} for n in ("wit", "tact")}
    run_config = config(
        pairs_of(90), {"concurrency": 2, "key_env": "JUDGE_KEY"}, rewards={},
        evaluate={"resamples": 100, "rewards": functions},
    )  # fmt: skip
    values = json.loads(run_config.model_dump_json(exclude_defaults=True))
    values["rewards"] = functions
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    env = {**os.environ, "JUDGE_KEY": CANARY, "OMP_NUM_THREADS": "1"}
    main = "from paretune.cli.main import main; main()"
    command = [sys.executable, "-c", main, "data", str(tmp_path / "run.yaml"),
               "--runs", str(tmp_path / "runs")]  # fmt: skip
    slowly(judge_server)
    code, said = killed(command, judge_server, 80, env)
    assert code == -signal.SIGKILL, said
    code, said = killed(command, judge_server, 160, env, signal.SIGTERM)
    assert code == 75 and "type the same command again" in said
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "judge: " in done.stderr and "agreement with rewards on wit" in done.stderr
    assert asked_again(judge_server) <= 2  # what ended in order lost nothing
    asked = len(judge_server.bodies)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and len(judge_server.bodies) == asked
    stage = Sealed(RunFolder(tmp_path / "runs" / "judged").stage(1), {})
    assert facts_of(stage)["null"] == 0
    for file in (f for f in tmp_path.rglob("*") if f.is_file()):
        assert CANARY.encode() not in file.read_bytes(), file
    assert CANARY not in done.stdout + done.stderr
