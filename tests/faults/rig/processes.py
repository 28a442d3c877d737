"""The fork server from outside: start a trial, disturb it, wait for its end."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from rig.injector import Injection

_SERVER = Path(__file__).with_name("server.py")
HUNG = 240.0
"""Seconds after which a trial counts as hung."""


@final
@dataclass(frozen=True)
class Ended:
    """How a trial ended.

    Args:
        code: exit code, negative = the signal that killed it; ``None`` = hung, and was killed.
        output: what it printed.
        seconds: on the clock.
        cpu: seconds of processor time.
    """

    code: int | None
    output: str
    seconds: float
    cpu: float


@final
class Child:
    """A running trial."""

    def __init__(self, server: ForkServer, pid: int, output: Path) -> None:
        self._server, self.pid, self._output = server, pid, output
        self._started = time.monotonic()
        self._said_before = output.stat().st_size if output.exists() else 0

    def signal(self, number: int) -> None:
        """Send a signal; to one that ended it does nothing."""
        # The number of one that ended may be another process's by now.
        if not self.has_ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill_group(self) -> None:
        """SIGKILL for it and all it started, as a machine that goes away."""
        if not self.has_ended():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def work(self, cpu: float) -> bool:
        """Let it use so much processor time: what that gives is the same on a busy machine.

        Args:
            cpu: seconds of its own.

        Returns:
            Whether it is still at work then.
        """
        while not self.has_ended():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
                if (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") >= cpu:
                    return True
            time.sleep(0.005)
        return False

    @property
    def output(self) -> str:
        """What it has printed so far."""
        try:
            return self._output.read_bytes()[self._said_before :].decode(errors="replace")
        except FileNotFoundError:
            return ""

    def wait(self, timeout: float = HUNG) -> Ended:
        """Its end; a trial that hangs is killed."""
        row = self._server.wait(self.pid, timeout)
        if row is None:
            self.kill_group()
            self._server.wait(self.pid, 30)
        seconds = time.monotonic() - self._started
        code, cpu = (None, 0.0) if row is None else (row["code"], row["cpu"])
        return Ended(code, self.output, seconds, cpu)

    def has_ended(self) -> bool:
        """Whether it is over."""
        return self._server.wait(self.pid, 0, take=False) is not None


@final
class ForkServer:
    """Starts trials as forks of one process that has everything imported.

    Args:
        injector: the built library, or ``None``: then no injection is possible.
    """

    def __init__(self, injector: Path | None) -> None:
        threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(threads, "1")
        environment |= {
            "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore",
            "TRL_EXPERIMENTAL_SILENCE": "1",
        }  # fmt: skip
        if injector is not None:
            environment["LD_PRELOAD"] = str(injector)
        self._process = subprocess.Popen(
            [sys.executable, str(_SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=environment,
        )  # fmt: skip
        self._ids = itertools.count()
        self._started: dict[int, int] = {}
        self._ended: dict[int, dict[str, Any]] = {}
        self._news = threading.Condition()
        self._is_ready = self._is_gone = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        with self._news:
            self._news.wait_for(lambda: self._is_ready or self._is_gone, 300)
        if not self._is_ready:
            raise RuntimeError("the fork server did not start: its message is above")

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *problem: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._reader.join(30)
        self._process.stdout.close()

    def start(
        self, target: str, arguments: list[str], folder: Path, *,
        injection: Injection | None = None, file_limit: int | None = None,
        environment: dict[str, str] | None = None,
    ) -> Child:  # fmt: skip
        """Fork a trial.

        Args:
            target: ``paretune`` or ``trl``.
            arguments: of its command line.
            folder: where it works; ``output.txt`` beside it receives what it prints.
            injection: what goes wrong in it.
            file_limit: bytes that a file of its may have.
            environment: on top of the server's.
        """
        number = next(self._ids)
        output = folder.with_name(f"{folder.name}.output.txt")
        request = {
            "id": number, "target": target, "arguments": arguments, "folder": str(folder),
            "output": str(output), "file_limit": file_limit,
            "environment": environment or {},
            "injection": None if injection is None else injection.to_json(),
        }  # fmt: skip
        said = output.stat().st_size if output.exists() else 0
        assert self._process.stdin is not None
        with self._news:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            self._news.wait_for(lambda: number in self._started or self._is_gone, 60)
            child = Child(self, self._started.pop(number), output)
        child._said_before = said
        return child

    def wait(self, pid: int, timeout: float, take: bool = True) -> dict[str, Any] | None:
        """How a child ended, or ``None`` while it runs."""
        with self._news:
            self._news.wait_for(lambda: pid in self._ended or self._is_gone, timeout)
            return self._ended.pop(pid, None) if take else self._ended.get(pid)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            row = json.loads(line)
            with self._news:
                if "ready" in row:
                    self._is_ready = True
                elif "started" in row:
                    self._started[row["id"]] = row["started"]
                else:
                    self._ended[row["ended"]] = row
                self._news.notify_all()
        with self._news:
            self._is_gone = True
            self._news.notify_all()
