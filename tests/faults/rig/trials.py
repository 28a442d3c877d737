"""The rig: workspaces, undisturbed runs to compare with, and what became of each trial."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final

from rig.injector import Call, Injection, read_calls
from rig.processes import Child, Ended, ForkServer
from rig.subjects import Result, Subject

Item = TypeVar("Item")


@final
@dataclass(frozen=True)
class Trial:
    """One disturbance and what became of it.

    Args:
        what: was done.
        outcome: in a word or two; equal words are counted together.
        is_kept: whether the promise held.
        said: what a person read, one line.
        seconds: that matter, for example from a signal to the end.
    """

    what: str
    outcome: str
    is_kept: bool
    said: str = ""
    seconds: float = 0.0


@final
@dataclass(frozen=True)
class Whole:
    """A run that nothing disturbed.

    Args:
        result: what it gave.
        cpu: seconds of processor time.
        calls: that changed files.
    """

    result: Result
    cpu: float
    calls: tuple[Call, ...]

    def saves(self, subject: Subject) -> list[list[Call]]:
        """Calls of each save: an unbroken row of them on files of a checkpoint or a result."""
        groups = itertools.groupby(self.calls, key=lambda call: subject.is_save(call.path))
        return [list(group) for is_save, group in groups if is_save]


@final
class Rig:
    """Everything a trial needs.

    Args:
        server: that forks them.
        work: folder for their folders.
        parallel: trials at a time.
        say: hears about the progress.
        most_calls: failing calls that are tried of each kind, spread evenly; 0 = every call.
    """

    def __init__(
        self, server: ForkServer, work: Path, parallel: int = 1,
        say: Callable[[str], None] = lambda text: None, most_calls: int = 0,
    ) -> None:  # fmt: skip
        self.server, self.work, self.say, self.most_calls = server, work, say, most_calls
        self._parallel = parallel
        self._ids = itertools.count()
        self._templates: dict[Subject, Path] = {}
        self._wholes: dict[Subject, Whole] = {}
        self._lock = threading.RLock()

    def fresh(self, subject: Subject) -> Path:
        """A folder in which the subject was never started; its base is there."""
        with self._lock:
            if subject not in self._templates:
                template = self._new_folder()
                template.mkdir()
                subject.write_inputs(template)
                for command in subject.preparations():
                    ended = self.server.start(subject.target, command, template).wait()
                    if ended.code != 0:
                        raise RuntimeError(f"{command} failed undisturbed: {ended.output}")
                shutil.rmtree(template / "runs" / "other", ignore_errors=True)
                self._templates[subject] = template
        return self.copy(self._templates[subject])

    def copy(self, folder: Path) -> Path:
        """A copy to disturb."""
        return Path(shutil.copytree(folder, self._new_folder(), symlinks=True))

    def _new_folder(self) -> Path:
        return self.work / f"trial-{next(self._ids)}"

    def drop(self, folder: Path) -> None:
        """Remove what is no longer needed."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_name(f"{folder.name}.output.txt").unlink(missing_ok=True)

    def start(
        self, subject: Subject, folder: Path, again: bool = False, *,
        how: Injection | None = None, **disturbed: Any,
    ) -> Child:  # fmt: skip
        """Start the subject's command in a folder."""
        command = subject.command(again)
        return self.server.start(subject.target, command, folder, injection=how, **disturbed)

    def run(self, subject: Subject, folder: Path, again: bool = False, **disturbed: Any) -> Ended:
        """Run the subject's command to its end."""
        return self.start(subject, folder, again, **disturbed).wait()

    def injection(self, subject: Subject, folder: Path, **what: Any) -> Injection:
        """Something that goes wrong where the subject writes."""
        return Injection(str(folder / subject.made), **what)

    def whole(self, subject: Subject) -> Whole:
        """The subject undisturbed, run once."""
        with self._lock:
            if subject not in self._wholes:
                folder = self.fresh(subject)
                log = folder / "calls"
                ended = self.run(subject, folder, how=self.injection(subject, folder, log=str(log)))
                if ended.code != 0:
                    raise RuntimeError(f"the subject failed undisturbed: {ended.output}")
                calls = tuple(read_calls(log))
                self._wholes[subject] = Whole(subject.result(folder), ended.cpu, calls)
                self.drop(folder)
            return self._wholes[subject]

    def each(self, what: str, trial: Callable[[Item], Trial], items: Iterable[Item]) -> list[Trial]:
        """A trial for every item, some at a time, with their progress."""
        todo: Sequence[Item] = list(items)
        started, done = time.monotonic(), itertools.count(1)

        def one(item: Item) -> Trial:
            found = trial(item)
            n, spent = next(done), time.monotonic() - started
            if not found.is_kept:
                self.say(f"{what}: {found.what}: {found.outcome}: {found.said}")
            if n == len(todo) or n % 20 == 0:
                left = spent / n * (len(todo) - n)
                self.say(f"{what}: {n} of {len(todo)} in {spent:.0f} s, about {left:.0f} s left")
            return found

        if self._parallel == 1:
            return [one(item) for item in todo]
        with ThreadPoolExecutor(self._parallel) as pool:
            return list(pool.map(one, todo))


def again_equals(
    rig: Rig, subject: Subject, folder: Path, what: str, named: Sequence[str] = ()
) -> Trial:
    """The same command after a disturbance: does it end as if nothing had happened?

    Args:
        rig: that runs it.
        subject: that was disturbed.
        folder: where.
        what: was done to it.
        named: words of which the output must hold one: damage is told.
    """
    ended = rig.run(subject, folder, again=True)
    outcome = judge(ended, subject.result(folder), rig.whole(subject).result)
    told = not named or any(name in ended.output for name in named)
    if outcome == "exact" and not told:
        outcome = "exact, untold"
    trial = Trial(what, outcome, outcome == "exact", last_line(ended.output), ended.seconds)
    rig.drop(folder)
    return trial


def judge(ended: Ended, found: Result, expected: Result) -> str:
    """What became of a run: ``exact``, ``silently wrong``, or how it failed."""
    if ended.code is None:
        return "hangs"
    if ended.code == 0:
        return "exact" if found == expected else f"silently wrong{_where(found, expected)}"
    return "error" if says_why(ended) else "crash"


def says_why(ended: Ended) -> bool:
    """Whether a run that failed ended with a message of ours instead of a traceback."""
    return "paretune: " in ended.output and "Traceback" not in ended.output


def _where(found: Result, expected: Result) -> str:
    differing = sorted(k for k in {*found, *expected} if found.get(k) != expected.get(k))
    return f" ({differing[0]})" if differing and differing[0].count("/") > 1 else ""


def last_line(output: str) -> str:
    """What a person reads at the end."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def counted(trials: Iterable[Trial]) -> str:
    """Outcomes with how often each came, the most frequent first."""
    counts = Counter(trial.outcome for trial in trials)
    return ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common())


def kept(trials: Sequence[Trial]) -> str:
    """Trials that kept the promise, of all."""
    return f"{sum(t.is_kept for t in trials)}/{len(trials)}"


def broken(trials: Iterable[Trial]) -> list[str]:
    """Trials that did not keep the promise, in words."""
    return [f"{t.what}: {t.outcome}: {t.said}" for t in trials if not t.is_kept]
