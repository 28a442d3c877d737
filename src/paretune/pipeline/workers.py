"""Worker processes: one task at a time each, told to stop in order, and replaced when one dies.

A worker hears of its run over one pipe. When the pipe ends, so does the worker: nobody would take
its result. Signals to the whole group of processes it ignores: the run tells it what they mean.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from typing import Any, final

from paretune.errors import Interrupted, RunError
from paretune.pipeline.job_checkpoints import silent
from paretune.pipeline.tasks import Place, Task
from paretune.safety.stopping import SIGNALS, Stop, check_stop, request_stop

Perform = Callable[[Task, Place, Callable[[int, int], None]], "str | None"]

_WAKE = signal.SIGUSR2
"""Interrupts the main thread of a worker that was told to stop."""

_SECONDS = 5.0
"""That a worker has to end itself when the run is over."""

_TRIES = 5
"""Processes that may fail to start, one after another, while none is at work."""


@final
@dataclass(frozen=True)
class Progressed:
    """How far a task is."""

    task: str
    done: int
    total: int


@final
@dataclass(frozen=True)
class Said:
    """What a person must know."""

    text: str


@final
@dataclass(frozen=True)
class Ended:
    """What became of a task.

    Args:
        task: its id.
        problem: what went wrong; ``None`` = it is done.
        is_stopped: it was stopped on request, and goes on another time.
        exit_code: of the worker, where it died; negative = of the signal that killed it.
    """

    task: str
    problem: str | None = None
    is_stopped: bool = False
    exit_code: int | None = None


@final
@dataclass
class _Worker:
    process: Any
    pipe: Any
    task: str | None = None


@final
@dataclass
class Workers:
    """Some worker processes.

    Args:
        count: of processes, >= 1.
        place: where all tasks work.
        perform: does a task and tells what went wrong; a module's function.
    """

    count: int
    place: Place
    perform: Perform
    _workers: list[_Worker] = field(default_factory=list)
    _failures: int = 0

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *problem: object) -> None:
        for worker in self._workers:
            worker.pipe.close()
        deadline = time.monotonic() + _SECONDS
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    @property
    def running(self) -> list[str]:
        """Tasks at work."""
        return [worker.task for worker in self._workers if worker.task is not None]

    @property
    def n_free(self) -> int:
        """Tasks that could be started now."""
        return self.count - len(self.running)

    def is_ready(self) -> bool:
        """Whether a worker without a task is there; one is started where there is none.

        Raises:
            RunError: if no process starts at all, again and again.
        """
        return any(w.task is None for w in self._workers) or self._new() is not None

    def start(self, task: Task) -> None:
        """Give a task to a worker that has none; there is one (:meth:`is_ready`)."""
        worker = next(w for w in self._workers if w.task is None)
        worker.task = task.id
        with contextlib.suppress(OSError):  # it died while it was idle: its pipe will say so
            worker.pipe.send(task)

    def stop(self) -> None:
        """Ask every worker to end its task in order."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.pipe.send(None)

    def events(self, timeout: float) -> Iterator[Progressed | Said | Ended]:
        """What happened since the last call, after at most ``timeout`` seconds."""
        at_work = {w.pipe: w for w in self._workers}
        for pipe in connection.wait(list(at_work), timeout):
            worker = at_work[pipe]
            try:
                while worker.pipe.poll():
                    message = worker.pipe.recv()
                    if isinstance(message, Ended):
                        worker.task = None
                    if not isinstance(message, Ended) or message.task:  # else it had none
                        yield message
                    if isinstance(message, Ended) and message.is_stopped:
                        raise EOFError  # it ends now, and must not be given another task
            except (EOFError, OSError):
                yield from self._dead(worker)

    def _dead(self, worker: _Worker) -> Iterator[Ended]:
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        if worker.task is not None:
            yield Ended(worker.task, exit_code=worker.process.exitcode)

    def _new(self) -> _Worker | None:
        # A fork server imports the heavy libraries once; its children start in milliseconds and,
        # not being forks of this process, inherit neither its threads nor its locks.
        context: Any = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
        if os.name == "posix":
            context.set_forkserver_preload(["paretune.pipeline.preload"])
        ours, theirs = context.Pipe()
        place = replace(self.place, say=silent)
        process = context.Process(target=_serve, args=(theirs, place, self.perform))
        try:
            process.start()
        except (EOFError, OSError) as error:
            # A signal to the whole group ended the fork server while it began; it begins again.
            ours.close()
            self._failures += 1
            if self._failures >= _TRIES and not self._workers:
                raise RunError(
                    f"{self.place.run.path}: found no process that starts, {_TRIES} times "
                    f"({type(error).__name__}: {error}), expected {self.count}; see ulimit -u and "
                    "-n, or set workers: 1"
                ) from error
            return None
        finally:
            theirs.close()
        self._failures = 0
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]


def _serve(pipe: Any, place: Place, perform: Perform) -> None:
    """The life of a worker: tasks, one after another, until the pipe ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(_WAKE, lambda number, frame: request_stop())
    import torch

    torch.set_num_threads(1)
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, tasks), daemon=True).start()
    send = threading.Lock()

    def tell(message: Progressed | Said | Ended) -> None:
        with send:
            pipe.send(message)

    place = replace(place, say=lambda text: tell(Said(text)))
    name = ""

    def progress(done: int, total: int) -> None:
        check_stop()  # a library or a reward may have swallowed it
        tell(Progressed(name, done, total))

    try:
        while True:
            task = tasks.get()
            name = task.id
            problem = perform(task, place, progress)
            tell(Ended(name, problem))
            name = ""
    except Stop:
        with contextlib.suppress(OSError):
            tell(Ended(name, is_stopped=True))
    except OSError:
        os._exit(Interrupted.exit_code)  # the run is gone


def _listen(pipe: Any, tasks: queue.SimpleQueue[Task]) -> None:
    """Take what the run sends; end this process with the run, however that ends."""
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            os._exit(Interrupted.exit_code)
        if task is None:
            signal.pthread_kill(threading.main_thread().ident or 0, _WAKE)
        else:
            tasks.put(task)
