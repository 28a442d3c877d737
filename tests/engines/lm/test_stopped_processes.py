"""Two processes that train together stop at one step, whoever is asked first, and go on exactly."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paretune.engines.lm.checkpoints import Checkpoints, checkpoint_step

WORKER = Path(__file__).parent / "stopped_process.py"


def start(folder: Path, seconds: float) -> list[subprocess.Popen[bytes]]:
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    together = os.environ | {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    return [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(folder), str(seconds)],
            env=together | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]


def codes(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    return [process.wait(timeout=240) for process in processes]


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1])
def test_signals_that_arrive_apart_stop_both_at_one_step(tmp_path: Path, first: int) -> None:
    assert codes(start(tmp_path / "whole", 0.0)) == [0, 0]
    whole = [(tmp_path / "whole" / f"sha256-{rank}").read_text() for rank in range(2)]
    assert whole[0] == whole[1]

    folder = tmp_path / "stopped"
    processes = start(folder, 0.05)
    deadline = time.monotonic() + 240
    while not (folder / "step-0").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    processes[first].send_signal(signal.SIGTERM)
    time.sleep(0.2)
    if processes[1 - first].poll() is None:
        processes[1 - first].send_signal(signal.SIGUSR1)
    assert codes(processes) == [75, 75]
    newest = Checkpoints(folder / "checkpoints").newest()
    assert newest is not None
    assert 0 < checkpoint_step(newest) < 60
    assert {p.name for p in newest.glob("random-*")} == {"random-0.json", "random-1.json"}

    assert codes(start(folder, 0.0)) == [0, 0]
    assert [(folder / f"sha256-{rank}").read_text() for rank in range(2)] == whole
