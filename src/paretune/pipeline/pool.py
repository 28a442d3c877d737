"""Tasks on worker processes: each as soon as what it needs is done, a failure stays where it is.

Two processes of one thread finish a sweep of small models sooner than one process of two threads.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from signal import Signals
from typing import final

from paretune.errors import ParetuneError
from paretune.pipeline.tasks import Place, Task, forget
from paretune.pipeline.workers import Ended, Progressed, Said, Workers
from paretune.safety.secrets import without_secrets
from paretune.safety.stopping import Stop, check_stop, orderly, stop_reason, stop_requested

_POLL_SECONDS = 0.25
_ATTEMPTS = 2
"""A worker may be killed for what another process did to the memory: once is no proof."""


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

    A task that fails, and one whose worker dies twice, leaves the others alone. What happened to
    each is in the ledger of the run.

    Raises:
        ConfigError: if a folder holds results of other settings.
        Stop: if a stop was requested; finished tasks stay, trainings go on another time.
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


def _ready(left: list[Task], place: Place, outcome: Outcome) -> list[Task]:
    """Tasks that can start; those that wait for a failed one fail with its name."""
    ready: list[Task] = []
    for task in list(left):
        broken = [n for n in task.needs if n in outcome.failed]
        if broken:
            _note(Ended(task.id, f"needs {broken[0]}, which failed"), place, outcome)
            left.remove(task)
        elif all(n in outcome.done for n in task.needs):
            ready.append(task)
    return ready


def _run_here(left: list[Task], place: Place, outcome: Outcome, meter: _Meter) -> None:
    forget()
    while ready := _ready(left, place, outcome):
        check_stop()
        task = ready[0]
        left.remove(task)

        def progress(done: int, total: int, task_id: str = task.id) -> None:
            check_stop()
            meter.move(task_id, done, total)
            meter.show([task_id])

        place.run.log("started", task=task.id)
        try:
            problem = perform(task, place, progress)
        except Stop:
            place.run.log("stopped", task=task.id)
            raise
        _note(Ended(task.id, problem), place, outcome)
        meter.show([])


def _run_pool(
    left: list[Task], place: Place, workers: int, outcome: Outcome, meter: _Meter
) -> None:
    deaths: dict[str, int] = {}
    given: dict[str, Task] = {}
    is_told = False
    # Workers end their tasks in order, so this process waits for them, to the last one.
    with orderly(), Workers(workers, place, perform) as pool:
        while pool.running or left:
            if stop_requested():
                if not is_told:
                    place.say(f"{stop_reason()}: trainings end their step and save")
                    pool.stop()
                is_told = True
                if not pool.running:
                    break
            elif not pool.running and not _ready(left, place, outcome):
                break
            else:
                for task in _ready(left, place, outcome)[: pool.n_free]:
                    if pool.is_ready():
                        left.remove(task)
                        given[task.id] = task
                        # Before it is: a worker may be quick to say how it went.
                        place.run.log("started", task=task.id, attempt=deaths.get(task.id, 0) + 1)
                        pool.start(task)
            for event in pool.events(_POLL_SECONDS):
                if isinstance(event, Progressed):
                    meter.move(event.task, event.done, event.total)
                elif isinstance(event, Said):
                    place.say(event.text)
                elif (event.exit_code is not None or event.is_stopped) and not stop_requested():
                    deaths[event.task] = deaths.get(event.task, 0) + 1
                    left += _after_death(event, given[event.task], deaths, place, outcome)
                else:
                    _note(event, place, outcome)
            meter.show(pool.running)
    check_stop()


def _after_death(
    event: Ended, task: Task, deaths: dict[str, int], place: Place, outcome: Outcome
) -> list[Task]:
    """The task once more, or nothing when it was the last attempt."""
    how = _how(event.exit_code)
    place.run.log("died", task=event.task, attempt=deaths[event.task], how=how)
    if deaths[event.task] < _ATTEMPTS:
        place.say(f"{event.task}: its worker process {how}; trying once more")
        return [task]
    _note(Ended(event.task, f"its worker process {how}, {_ATTEMPTS} times"), place, outcome)
    return []


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return "was stopped by somebody else"
    if exit_code < 0:
        known = {int(number): number.name for number in Signals}
        name = known.get(-exit_code, f"signal {-exit_code}")
        return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended with code {exit_code}"


def _note(event: Ended, place: Place, outcome: Outcome) -> None:
    """Into the outcome and the ledger."""
    if event.is_stopped or event.exit_code is not None:
        place.run.log("stopped", task=event.task)
    elif event.problem is None:
        outcome.done.add(event.task)
        place.run.log("done", task=event.task)
    else:
        outcome.failed[event.task] = event.problem
        place.run.log("failed", task=event.task, problem=event.problem)


def perform(task: Task, place: Place, progress: Callable[[int, int], None]) -> str | None:
    """What went wrong, or ``None``."""
    try:
        task.perform(place, progress)
    except ParetuneError as error:
        return without_secrets(str(error))
    except Exception as error:
        trace = without_secrets(traceback.format_exc())
        place.run.log("traceback", task=task.id, traceback=trace)
        return without_secrets(f"{type(error).__name__}: {error}")
    return None
