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
from paretune.pipeline.pool import _how, perform, run_tasks
from paretune.pipeline.tasks import Place
from paretune.pipeline.workers import Ended, Workers
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
        if self.id.startswith("stops-itself"):
            os.kill(os.getpid(), signal.SIGUSR2)
            time.sleep(5)
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
    assert events["waits"] == ["failed"]
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


def test_a_worker_that_died_idle_costs_nobody_the_run(tmp_path: Path) -> None:
    place = Place(None, RunFolder(tmp_path), "base")  # type: ignore[arg-type]
    with Workers(1, place, perform) as pool:
        assert pool.is_ready()
        pool.start(Work("one", tmp_path))
        while pool.running:
            list(pool.events(0.2))
        (worker,) = pool._workers
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.join()
        assert pool.is_ready()
        pool.start(Work("two", tmp_path))
        events = list(pool.events(1.0))
        assert events == [Ended("two", exit_code=-signal.SIGKILL)]
        assert pool.is_ready() and pool.n_free == 1, "its place is free again"


def test_a_machine_that_starts_no_process_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.forkserver.connect_to_new_process", refuse)
    with pytest.raises(RunError, match=r"no process that starts, 5 times \(BlockingIOError: .*-u"):
        go(tmp_path, [Work("one", tmp_path)])


@pytest.mark.parametrize(
    ("code", "said"), [(-9, "by SIGKILL"), (-35, "by signal 35"), (3, "with code 3")]
)
def test_how_a_worker_died_is_told_in_words(code: int, said: str) -> None:
    assert said in _how(code)


def test_a_worker_that_somebody_else_stops_is_told(tmp_path: Path) -> None:
    outcome = go(tmp_path, [Work("stops-itself", tmp_path), Work("one", tmp_path)])
    assert outcome.done == {"one"}
    said = "its worker process was stopped by somebody else, 2 times"
    assert outcome.failed == {"stops-itself": said}
