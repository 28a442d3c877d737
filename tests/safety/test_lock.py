"""One writer at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from paretune.errors import BusyError, Interrupted
from paretune.safety.lock import holder, is_held, locked
from paretune.safety.stopping import stoppable

HOLD = "import sys, time; from pathlib import Path; from paretune.safety.lock import locked\n"
HOLD += "with locked(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"


def test_whoever_comes_second_is_told_who_was_first(tmp_path: Path) -> None:
    lock = tmp_path / "run" / ".lock"
    assert not is_held(lock)
    with locked(lock):
        assert is_held(lock)
        assert holder(lock)["pid"] == os.getpid()
        busy = rf"run: found process {os.getpid()} on .* \(since 20"
        with pytest.raises(BusyError, match=busy) as caught, locked(lock):
            pass
        assert caught.value.exit_code == 2
    assert not is_held(lock)
    with locked(lock):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=f"process {process.pid} on"), locked(lock):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    started = time.monotonic()
    with locked(lock):
        assert holder(lock)["pid"] == os.getpid()
    assert time.monotonic() - started < 2


def test_whoever_waits_is_told_for_whom_once(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.replace("60", "1"), str(lock)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    said: list[str] = []
    with process.stdout:
        assert process.stdout.readline() == b"held\n"
        with locked(lock, waiting=said.append):
            assert process.wait() == 0
            assert holder(lock)["pid"] == os.getpid()
    (words,) = said
    assert f"process {process.pid} on" in words and words.endswith("waiting for it")


def test_waiting_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted), stoppable(), locked(lock):
        timer.start()
        with locked(lock, waiting=lambda words: None):
            pytest.fail("two hold it")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 3}', '{"pid": 3, "started": 1e99}'])
def test_what_the_lock_says_may_be_damaged(tmp_path: Path, content: str) -> None:
    lock = tmp_path / ".lock"
    with locked(lock):
        lock.write_text(content)
        with pytest.raises(BusyError, match="another process"), locked(lock):
            pass
