"""The injector does what it is asked to, to the call that was chosen."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rig.injector import Injection, read_calls

HERE = str(Path(__file__).parent)
WORK = """
import os, sys
sys.path.insert(0, {here!r})
from rig.injector import Injection
os.makedirs({below!r} + "/there")
Injection(**{injection!r}).arm()
os.makedirs({below!r} + "/there", exist_ok=True)  # no change: not counted
with open({below!r} + "/a", "wb") as file:
    file.write(b"0123456789")
    file.flush()
    os.fsync(file.fileno())
os.rename({below!r} + "/a", {below!r} + "/b")
open({below!r} + "/b").close()  # read: not counted
open({below!r} + "-else", "w").close()
os.unlink({below!r} + "/b")
"""
KINDS = ["open", "write", "fsync", "rename", "unlink"]


@pytest.fixture
def work(injector, tmp_path):
    below = tmp_path / "below"

    def run(**what):
        injection = Injection(f"{below}/", log=str(tmp_path / "calls"), **what).to_json()
        code = WORK.format(here=HERE, below=str(below), injection=injection)
        return subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"LD_PRELOAD": str(injector)},
            capture_output=True, text=True,
        )  # fmt: skip

    run.below, run.log = below, tmp_path / "calls"
    return run


def test_calls_that_change_files_are_counted_and_no_others(work):
    assert work().returncode == 0
    calls = read_calls(work.log)
    assert [(call.index, call.kind, call.path) for call in calls] == [
        (1, "open", "a"), (2, "write", "a"), (3, "fsync", "a"), (4, "rename", "b"),
        (5, "unlink", "b"),
    ]  # fmt: skip
    assert calls[0].time <= calls[-1].time


@pytest.mark.parametrize("call", range(1, 6))
def test_the_chosen_call_fails(work, call):
    ended = work(how="fail", call=call, number=5)
    assert ended.returncode == 1
    assert "[Errno 5] Input/output error" in ended.stderr
    assert len(read_calls(work.log)) >= call


def test_a_full_disk_stays_full_and_lets_files_go(work):
    assert "No space left" in work(how="fail_from", call=3, number=28).stderr
    kinds = [call.kind for call in read_calls(work.log)]
    assert kinds[:3] == KINDS[:3]


@pytest.mark.parametrize(
    ("how", "call", "found"),
    [
        ("before", 2, b""),
        ("tear", 2, b"01234"),
        ("after", 2, b"0123456789"),
        ("before", 4, b"0123456789"),
    ],
)
def test_a_process_stops_before_within_and_after_a_call(work, how, call, found):
    assert work(how=how, call=call).returncode == -signal.SIGKILL
    assert (work.below / "a").read_bytes() == found


def test_a_rename_that_was_done_is_done(work):
    assert work(how="after", call=4).returncode == -signal.SIGKILL
    assert not (work.below / "a").exists() and (work.below / "b").exists()
