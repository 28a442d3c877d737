"""Tasks on worker processes: each as soon as what it needs is done, a failure stays where it is.

Two processes of one thread finish a sweep of small models sooner than one process of two threads.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from queue import Empty
from typing import Any, final

from paretune.errors import ParetuneError, RunError
from paretune.pipeline.tasks import Place, Task, forget

_POLL_SECONDS = 0.25


@final
@dataclass
class Outcome:
    """What became of the tasks.

    Args:
        done: tasks that finished, now or in an earlier run.
        failed: task to what went wrong, also for tasks that waited for a failed one.
    """

    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


Watch = Callable[[float, int, int, str], None]
"""(share of the work done, tasks done, all tasks, what is running)."""


def default_workers() -> int:
    """One process a core, or one where a GPU does the work."""
    import torch

    if torch.cuda.is_available():
        return max(1, torch.cuda.device_count())
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)


def run_tasks(
    tasks: Sequence[Task], place: Place, workers: int, watch: Watch | None = None
) -> Outcome:
    """Perform every task that is not done yet.

    Args:
        tasks: with unique ids; needs name ids among them.
        place: where they work.
        workers: processes; 1 = in this process.
        watch: called a few times a second.

    Raises:
        ConfigError: if a folder holds results of other settings.
        RunError: if a worker process was killed; finished tasks stay.
    """
    outcome = Outcome({t.id for t in tasks if t.sealed.is_done()})
    left = [t for t in tasks if t.id not in outcome.done]
    if not left:
        return outcome
    meter = _Meter(tasks, outcome, watch)
    if workers <= 1:
        _run_here(left, place, outcome, meter)
    else:
        _run_pool(left, place, workers, outcome, meter)
    return outcome


class _Meter:
    def __init__(self, tasks: Sequence[Task], outcome: Outcome, watch: Watch | None) -> None:
        self._weights = {t.id: t.weight for t in tasks if t.id not in outcome.done}
        self._shares = dict.fromkeys(self._weights, 0.0)
        self._outcome, self._watch = outcome, watch

    def move(self, task: str, done: int, total: int) -> None:
        self._shares[task] = done / max(1, total)

    def show(self, running: Sequence[str]) -> None:
        if self._watch is None:
            return
        for task in self._weights:
            if task in self._outcome.done or task in self._outcome.failed:
                self._shares[task] = 1.0
        whole = sum(self._weights.values()) or 1.0
        share = sum(self._weights[t] * s for t, s in self._shares.items()) / whole
        n_done = sum(1 for t in self._weights if t in self._outcome.done)
        self._watch(share, n_done, len(self._weights), ", ".join(running))


def _ready(left: list[Task], outcome: Outcome) -> list[Task]:
    """Tasks that can start; those that wait for a failed one fail with its name."""
    ready: list[Task] = []
    for task in list(left):
        broken = [n for n in task.needs if n in outcome.failed]
        if broken:
            outcome.failed[task.id] = f"needs {broken[0]}, which failed"
            left.remove(task)
        elif all(n in outcome.done for n in task.needs):
            ready.append(task)
    return ready


def _run_here(left: list[Task], place: Place, outcome: Outcome, meter: _Meter) -> None:
    forget()
    while ready := _ready(left, outcome):
        task = ready[0]
        left.remove(task)

        def progress(done: int, total: int, task_id: str = task.id) -> None:
            meter.move(task_id, done, total)
            meter.show([task_id])

        problem = _perform(task, place, progress)
        if problem is None:
            outcome.done.add(task.id)
        else:
            outcome.failed[task.id] = problem
        meter.show([])


def _run_pool(
    left: list[Task], place: Place, workers: int, outcome: Outcome, meter: _Meter
) -> None:
    # A fork server imports the heavy libraries once; its children start in milliseconds and, not
    # being forks of this process, inherit neither its threads nor its locks.
    context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
    if os.name == "posix":
        context.set_forkserver_preload(["paretune.pipeline.preload"])
    queue: Any = context.Queue()
    lifeline, held = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(workers, context, _start_worker, (queue, lifeline))
    running: dict[Future[str | None], Task] = {}
    try:
        while left or running:
            for task in _ready(left, outcome)[: workers - len(running)]:
                left.remove(task)
                running[executor.submit(_perform_in_worker, task, place)] = task
            finished, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in finished:
                task = running.pop(future)
                problem = future.result()
                if problem is None:
                    outcome.done.add(task.id)
                else:
                    outcome.failed[task.id] = problem
            with contextlib.suppress(Empty):
                while True:
                    meter.move(*queue.get_nowait())
            meter.show([t.id for t in running.values()])
    except BrokenProcessPool as error:
        names = ", ".join(t.id for t in running.values())
        raise RunError(
            f"a worker process was killed (out of memory?) while working on {names}; finished "
            "work is kept: type the same command again"
        ) from error
    finally:
        held.close()
        _stop(executor)


def _stop(executor: ProcessPoolExecutor) -> None:
    processes = list((executor._processes or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + 5
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))


_queue: Any = None


def _start_worker(queue: Any, lifeline: Any) -> None:
    global _queue
    _queue = queue
    threading.Thread(target=_die_with, args=(lifeline,), daemon=True).start()
    # The parent decides what a Ctrl-C means; a worker that is told to end just ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    import torch

    torch.set_num_threads(1)


def _die_with(lifeline: Any) -> None:
    """End this worker when the run was killed: nobody would take its result.

    Only the run holds the other end of the line, so that it ends with the run, however that ends.
    """
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(75)


def _perform_in_worker(task: Task, place: Place) -> str | None:
    def progress(done: int, total: int) -> None:
        _queue.put((task.id, done, total))

    return _perform(task, place, progress)


def _perform(task: Task, place: Place, progress: Callable[[int, int], None]) -> str | None:
    """What went wrong, or ``None``."""
    try:
        task.perform(place, progress)
    except ParetuneError as error:
        return str(error)
    except Exception as error:
        place.run.log({"task": task.id, "traceback": traceback.format_exc()})
        return f"{type(error).__name__}: {error}"
    return None
