import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from paretune.errors import RunError
from paretune.scoring.judge_cache import AnswerCache, answer_key

KEYS = [answer_key(f"body {i}".encode()) for i in range(4)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "sub" / "judge.jsonl"
    cache = AnswerCache(path)
    with cache.writing():
        for key, score in zip(KEYS, (1 / 3, -1.0, 0.0, 2 / 3), strict=True):
            cache.note_sent(key)
            cache.add(key, score)
    return path


def scores(path):
    cache = AnswerCache(path)
    return {key: cache[key] for key in KEYS if key in cache}


def test_scores_come_back_exactly(path):
    assert scores(path) == dict(zip(KEYS, (1 / 3, -1.0, 0.0, 2 / 3), strict=True))
    assert len(AnswerCache(path)) == AnswerCache(path).sent == 4
    assert path.stat().st_mode & 0o777 == 0o600


def test_every_line_is_json_and_holds_no_text(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {tuple(row) for row in rows} == {("sent",), ("key", "score", "check")}
    assert "body" not in path.read_text()


def test_only_the_end_may_be_torn_and_the_next_writer_cuts_it_off(path):
    whole = path.read_bytes()
    last = whole[:-1].rfind(b"\n") + 1
    for size in range(last, len(whole)):
        path.write_bytes(whole[:size])
        assert set(scores(path)) == set(KEYS[:3])
        cache = AnswerCache(path)
        with cache.writing():
            cache.add(KEYS[3], 2 / 3)
        assert path.read_bytes() == whole
        assert len(scores(path)) == 4


def test_a_damaged_line_is_asked_again_and_never_believed(path):
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    right = scores(path)
    for damaged in (
        b"\n", b"[]\n", b"3\n", b"null\n", b"\xff\xfe\n", b'{"key": 1}\n', b"[" * 9999 + b"\n",
        lines[1].replace(b"0.3333", b"0.9333"), lines[1].replace(b'"score": 0', b'"score": -0'),
        lines[1].replace(b'"key": "', b'"key": "0'),
        lines[1].replace(b"0.3333333333333333", b'"a"'),
        lines[1].replace(b"0.3333333333333333", b"NaN"),
    ):  # fmt: skip
        assert damaged != lines[1]
        path.write_bytes(b"".join([lines[0], damaged, *lines[2:]]))
        assert scores(path) == {key: right[key] for key in KEYS[1:]}


def test_requests_are_counted_whether_they_were_answered_or_not(path):
    cache = AnswerCache(path)
    with cache.writing():
        cache.note_sent("unanswered")
    assert (len(AnswerCache(path)), AnswerCache(path).sent) == (4, 5)


def test_one_writer_at_a_time(path):
    with (
        AnswerCache(path).writing(),
        pytest.raises(RunError, match="expected one writer"),
        AnswerCache(path).writing(),
    ):
        pass
    with AnswerCache(path).writing():
        pass


def test_what_another_process_appended_is_read_first(path):
    early = AnswerCache(path)
    late = AnswerCache(path)
    new = answer_key(b"new")
    with late.writing():
        late.add(new, 0.5)
    assert new not in early
    with early.writing():
        assert early[new] == 0.5


def test_memory_only_touches_no_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = AnswerCache()
    with cache.writing():
        cache.note_sent(KEYS[0])
        cache.add(KEYS[0], 0.5)
    assert (cache[KEYS[0]], cache.sent, list(tmp_path.iterdir())) == (0.5, 1, [])


def test_a_number_that_is_none_is_our_own_mistake():
    with pytest.raises(ValueError, match="finite"):
        AnswerCache().add(KEYS[0], float("nan"))


def test_a_full_disk_is_told_and_what_was_kept_stays(path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    cache = AnswerCache(path)
    try:
        with cache.writing():
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limit[1]))
            with pytest.raises(RunError, match=r"judge\.jsonl: found no way to keep an answer"):
                cache.add(answer_key(b"new"), 0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, old)
    assert len(scores(path)) == len(AnswerCache(path)) == 4
    with cache.writing():
        cache.add(answer_key(b"new"), 0.5)
    assert AnswerCache(path)[answer_key(b"new")] == 0.5


def test_an_answer_is_in_the_file_when_add_returns(tmp_path):
    path = tmp_path / "judge.jsonl"
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from paretune.scoring.judge_cache import AnswerCache\n"
        "cache = AnswerCache(Path(sys.argv[1]))\n"
        "with cache.writing():\n    cache.note_sent('a' * 64)\n    cache.add('a' * 64, 0.25)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, os.fspath(path)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert (AnswerCache(path)["a" * 64], AnswerCache(path).sent) == (0.25, 1)
