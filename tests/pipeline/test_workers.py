"""Worker processes and the tasks they are given: no death and no stop costs another task."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from paretune.errors import Interrupted, RunError
from paretune.pipeline.folder import LEDGER, RunFolder, Sealed
from paretune.pipeline.pool import run_tasks
from paretune.pipeline.tasks import Place
from paretune.safety.ledger import read_rows
from paretune.safety.stopping import check_stop, orderly, stop_requested, stoppable


@dataclass(frozen=True)
class Work:
    """A task that does what its name says."""

    id: str
    folder: Path
    needs: tuple[str, ...] = ()
    method: str = "test"
    weight: float = 1.0
    sealed: Sealed = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sealed", Sealed(self.folder / self.id, {"id": self.id}))

    def perform(self, place: Place, progress: Any) -> None:
        started = self.folder / f".{self.id}.started"
        is_first = not started.exists()
        started.touch()
        if self.id.startswith("dies-once") and is_first:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.id.startswith("dies-always"):
            os._exit(3)
        if self.id.startswith("fails"):
            raise RunError("as it was told to")
        if self.id.startswith("breaks"):
            raise ZeroDivisionError("by chance")
        place.say(f"{self.id} is at work")
        with self.sealed.writing() as (folder, _):
            if self.id.startswith("steps"):
                with orderly():
                    for step in range(1200):
                        progress(step, 1200)
                        time.sleep(0.05)
                        if stop_requested():
                            (self.folder / f".{self.id}.saved").write_text(str(step))
                            break
                check_stop()
            (folder / "done").touch()


def go(tmp_path: Path, tasks: list[Work], said: list[str] | None = None) -> Any:
    heard: list[str] = [] if said is None else said
    place = Place(None, RunFolder(tmp_path), "base", heard.append)  # type: ignore[arg-type]
    return run_tasks(tasks, place, 2)


def test_a_death_or_an_error_costs_no_other_task(tmp_path: Path) -> None:
    names = ["dies-always", "one", "dies-once", "fails", "breaks", "two"]
    tasks = [Work(name, tmp_path) for name in names]
    tasks += [Work("waits", tmp_path, needs=("dies-always",)), Work("last", tmp_path, ("one",))]
    said: list[str] = []
    outcome = go(tmp_path, tasks, said)
    assert outcome.done == {"one", "two", "dies-once", "last"}
    assert outcome.failed == {
        "dies-always": "its worker process ended with code 3, 2 times",
        "fails": "as it was told to",
        "breaks": "ZeroDivisionError: by chance",
        "waits": "needs dies-always, which failed",
    }
    again = "its worker process was killed by SIGKILL (out of memory?); trying once more"
    assert f"dies-once: {again}" in said
    assert "one is at work" in said
    events: dict[str, list[str]] = {}
    for row in read_rows(tmp_path / LEDGER):
        events.setdefault(row["task"], []).append(row["event"])
    assert events["dies-once"] == ["started", "died", "started", "done"]
    assert events["dies-always"] == ["started", "died", "started", "died", "failed"]
    assert events["breaks"] == ["started", "traceback", "failed"]
    assert go(tmp_path, [t for t in tasks if t.id in outcome.done]).done == outcome.done
    assert len(read_rows(tmp_path / LEDGER)) == sum(map(len, events.values())), "done again"


def test_a_stop_lets_every_worker_end_in_order(tmp_path: Path) -> None:
    tasks = [Work("steps-1", tmp_path), Work("steps-2", tmp_path), Work("later", tmp_path)]

    def ask() -> None:
        while len(list(tmp_path.glob(".steps-*.started"))) < 2:
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGUSR1)

    asking = threading.Thread(target=ask)
    asking.start()
    started = time.monotonic()
    with pytest.raises(Interrupted, match="SIGUSR1"), stoppable():
        go(tmp_path, tasks)
    asking.join()
    assert {p.name for p in tmp_path.glob(".*.saved")} == {".steps-1.saved", ".steps-2.saved"}
    assert not (tmp_path / ".later.started").exists()
    assert time.monotonic() - started < 60, "a task would have taken longer"
    stopped = [r["task"] for r in read_rows(tmp_path / LEDGER) if r["event"] == "stopped"]
    assert sorted(stopped) == ["steps-1", "steps-2"]
    assert not list(tmp_path.glob("*.staging-*"))
