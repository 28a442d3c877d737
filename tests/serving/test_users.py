"""Stored answers: kept through any kill, shared by processes, gone when deleted, never guessed."""

from __future__ import annotations

import errno
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from paretune.errors import BusyError, InputError, RunError
from paretune.serving.answered import ShownReply, StoredAnswer
from paretune.serving.users import Users, UsersDamagedError

WRITER = """
import sys
from pathlib import Path
from paretune.serving.answered import ShownReply, StoredAnswer
from paretune.serving.users import Users

user, place, n = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
users = Users(place)
sides = [ShownReply(name, "said " + name, (0.25, 1.5)) for name in ("0-1", "1-0")]
for number in range(1, n + 1):
    said = StoredAnswer(f"q{number}", "Why?", ("a", "b"), *sides, "first", float(number))
    assert users.add(user, number, said)
    print(number, flush=True)
"""


def said(question: str, answer: str = "first", text: str = "Oil it.") -> StoredAnswer:
    sides = (ShownReply("0-1", text, (0.25, -1.0)), ShownReply("1-0", "No.", (1e-9, 2.0)))
    return StoredAnswer(question, "It squeaks.", ("a", "b"), *sides, answer, 12.5)  # type: ignore[arg-type]


def writer(user: str, path: Path, n: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, user, str(path), str(n)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def users(tmp_path: Path) -> Users:
    return Users(tmp_path / "users.sqlite")


def test_an_answer_comes_back_as_it_was(users: Users) -> None:
    hostile = "a\x1b[31m\x00 '; DROP TABLE answers; -- \u202e \U0001f600 </script>\r\n"
    answers = (said("q1"), said("q2", "same", hostile), said("q3", "second"))
    for number, answer in enumerate(answers, 1):
        assert users.add("ann", number, answer)
    assert users.add("bob", 1, said("q1"))
    again = Users(users.path)
    assert again.answers("ann") == answers
    assert again.counts() == {"ann": 3, "bob": 1}
    assert stat.S_IMODE(users.path.stat().st_mode) == 0o600
    assert [p.name for p in users.path.parent.iterdir()] == ["users.sqlite"]


def test_reading_makes_no_file(users: Users) -> None:
    assert users.counts() == {} and users.answers("ann") == () and users.delete("ann") == 0
    assert not users.path.exists()


def test_an_answer_has_one_place_and_a_question_one_answer(users: Users) -> None:
    assert users.add("ann", 1, said("q1"))
    assert not users.add("ann", 1, said("q2"))
    assert not users.add("ann", 2, said("q1", "second"))
    assert users.answers("ann") == (said("q1"),)


def test_what_is_deleted_is_not_on_the_disk_any_more(users: Users) -> None:
    for number in range(1, 40):
        users.add("ann", number, said(f"q{number}", text=f"a secret reply {number}"))
        users.add("bob", number, said(f"q{number}", text="for everybody"))
    assert b"a secret reply" in users.path.read_bytes()
    assert users.delete("ann") == 39
    content = users.path.read_bytes()
    assert b"secret" not in content and b"ann" not in content
    assert users.counts() == {"bob": 39} and len(users.answers("bob")) == 39


def test_two_processes_and_threads_write_at_once(users: Users) -> None:
    n = 15
    others = [writer(name, users.path, n) for name in ("ann", "bob")]
    taken = []

    def write(name: str) -> None:
        taken.extend((name, i) for i in range(1, n + 1) if users.add("eve", i, said(f"{name}{i}")))

    threads = [threading.Thread(target=write, args=(name,)) for name in ("x", "y")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait(60) for other in others] == [0, 0]
    for other in others:
        assert other.stdout is not None
        other.stdout.close()
    assert users.counts() == {"ann": n, "bob": n, "eve": n}
    # Of two who add an answer of one number, one is told that it was too late.
    assert sorted(number for _, number in taken) == list(range(1, n + 1))


def test_what_was_told_to_be_stored_survives_a_kill(users: Users) -> None:
    for kill, name in enumerate(("ann", "bob", "eve"), 1):
        process = writer(name, users.path, 10_000)
        assert process.stdout is not None
        last = 0
        while last < 5:
            last = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        last = max([last, *map(int, process.stdout.read().split())])
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        # The one that was being written is there whole or not at all.
        assert len(users.answers(name)) - last in (0, 1)
        assert users.add("after", kill, said(f"q{kill}"))
    assert len(users.answers("after")) == 3


def test_a_file_that_a_kill_left_empty_is_begun(users: Users) -> None:
    users.path.touch()
    assert users.counts() == {}
    assert users.path.stat().st_size == 0
    assert users.add("ann", 1, said("q1")) and users.counts() == {"ann": 1}


def _text(path: Path) -> None:
    path.write_text("these are my notes, and no users\n" * 50)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _torn(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 : 4096 + 200] = bytes(200)
    path.write_bytes(bytes(content))


def _other(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE answers (x)")
    file.close()


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 2")
    file.close()


def _row(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("UPDATE answers SET first = '{}' WHERE number = 1")
    file.close()


def test_no_flipped_bit_makes_another_answer(users: Users) -> None:
    answers = tuple(said(f"q{number}") for number in range(1, 12))
    for number, answer in enumerate(answers, 1):
        users.add("ann", number, answer)
    whole = users.path.read_bytes()
    told = 0
    names = [found.start() for found in re.finditer(b"ann", whole)]
    for place in [*names, *range(7, len(whole), 211)]:
        broken = bytearray(whole)
        broken[place] ^= 1 << place % 8
        users.path.write_bytes(bytes(broken))
        again = Users(users.path)
        try:
            assert again.answers("ann") == answers and again.counts() == {"ann": 11}, place
        except RunError:
            told += 1
    assert told > 5


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_text, "not a database"), (_cut, "damaged"), (_torn, "damaged"),
        (_other, "a database of something else"), (_newer, "found users of version 2, expected 1"),
        (_row, "damaged"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_and_left_as_it_is(
    users: Users, harm: object, told: str
) -> None:
    for number in range(1, 30):
        users.add("ann", number, said(f"q{number}"))
    harm(users.path)  # type: ignore[operator]
    before = users.path.read_bytes()
    with pytest.raises(UsersDamagedError, match=told):
        Users(users.path).answers("ann")
    if harm is not _row:
        with pytest.raises(UsersDamagedError, match=told):
            Users(users.path).add("ann", 30, said("q30"))
        with pytest.raises(UsersDamagedError, match=told):
            Users(users.path).delete("ann")
    assert users.path.read_bytes() == before


@pytest.mark.parametrize("reason", ["No such file or directory", "Too many levels", "Permission"])
def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    users = Users(tmp_path / "run" / "users.sqlite")
    if reason != "No such file or directory":
        users.path.parent.mkdir()
    if reason == "Too many levels":
        users.path.symlink_to(tmp_path / "elsewhere")
    if reason == "Permission":  # root, who may run tests, is refused nothing

        def refused(*args: object) -> int:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(os, "open", refused)
    told = re.escape(f"{users.path}: found {reason}") + ".*expected a folder that can be written"
    with pytest.raises(RunError, match=told) as found:
        users.add("ann", 1, said("q1"))
    assert type(found.value) is RunError, "nothing of the users is damaged"
    assert users.counts() == {} and not (tmp_path / "elsewhere").exists()


def test_whoever_waits_too_long_is_told(users: Users) -> None:
    users.add("ann", 1, said("q1"))
    hasty = Users(users.path, wait=0.05)
    holder = sqlite3.connect(users.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert hasty.counts() == {"ann": 1}, "readers do not wait for a writer that has not written"
    with pytest.raises(BusyError, match="another process writing"):
        hasty.add("ann", 2, said("q2"))
    holder.execute("ROLLBACK")
    holder.close()
    assert hasty.add("ann", 2, said("q2"))


@pytest.mark.parametrize(
    "change",
    [{"answer": "left"}, {"time": "noon"}, {"first": {"id": "x"}}, {"second": None}, {"first": []}],
)
def test_what_is_no_answer_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="expected what was stored"):
        StoredAnswer.from_json(said("q").to_json() | change)
    other = said("q").to_json()
    other["second"]["rewards"] = {"a": 1.0, "c": 2.0}
    with pytest.raises(InputError, match="rewards of a, c beside a, b"):
        StoredAnswer.from_json(other)
