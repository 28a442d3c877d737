"""The first signal asks, the second ends; nothing that saves is cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from paretune.errors import Interrupted
from paretune.safety.stopping import (
    SIGNALS,
    Stop,
    check_stop,
    orderly,
    stop_requested,
    stoppable,
)


@pytest.mark.parametrize("number", SIGNALS)
def test_work_that_may_be_cut_ends_at_once(number: signal.Signals) -> None:
    old = signal.getsignal(number)
    reached = []
    with pytest.raises(Interrupted, match=f"interrupted by {number.name}") as caught, stoppable():
        os.kill(os.getpid(), number)
        time.sleep(5)
        reached.append(1)
    assert not reached
    assert caught.value.exit_code == 75
    assert signal.getsignal(number) == old
    assert not stop_requested()


def test_an_orderly_section_ends_itself() -> None:
    steps = []
    with pytest.raises(Interrupted), stoppable():
        with orderly():
            os.kill(os.getpid(), signal.SIGTERM)
            check_stop()
            while not stop_requested():
                steps.append("waits")
            steps.append("saves")
        check_stop()
        steps.append("goes on")
    assert steps[-1] == "saves"


def test_a_stop_that_a_library_swallows_is_not_lost() -> None:
    with pytest.raises(Interrupted), stoppable():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException as stop:
            assert isinstance(stop, Stop)


def test_one_request_may_come_as_two_signals() -> None:
    with pytest.raises(Interrupted, match="SIGTERM"), stoppable(), orderly():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop_requested()


SECOND = """
import os, signal, time
from paretune.safety.stopping import orderly, stoppable
with stoppable(), orderly():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(.7)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)
"""


CLOSED = SECOND.replace("import os,", "import sys; sys.stderr.close(); import os,")


def test_it_does_so_without_anybody_to_tell() -> None:
    done = subprocess.run([sys.executable, "-c", CLOSED], capture_output=True, timeout=20)
    assert done.returncode == 75


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_others_are_being_caught_is_a_request(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    plain, old = signal.signal, [signal.getsignal(n) for n in SIGNALS]

    def catch(caught: int, handler: Any) -> Any:
        found = plain(caught, handler)
        if caught == number:
            monkeypatch.undo()
            os.kill(os.getpid(), number)
        return found

    monkeypatch.setattr(signal, "signal", catch)
    with pytest.raises(Interrupted, match=number.name), stoppable():
        pytest.fail("it was asked before")
    assert [signal.getsignal(n) for n in SIGNALS] == old and not stop_requested()


def test_the_second_signal_ends_the_process_now() -> None:
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", SECOND], capture_output=True, text=True)
    assert done.returncode == 75
    assert "second signal" in done.stderr
    assert time.monotonic() - started < 15
