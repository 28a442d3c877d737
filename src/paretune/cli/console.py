"""How verbs talk: messages and progress on stderr, results on stdout."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, final

from paretune.reporting.plain import one_line, printable
from paretune.safety.secrets import without_secrets

if TYPE_CHECKING:
    from paretune.core.results import RunResult
    from paretune.pipeline.run import Finished, Voice

_LINE_SECONDS = 10.0
"""Time between progress lines where the output is not a terminal."""


def tell(text: str = "", file: TextIO | None = None) -> None:
    """Print a line that may hold what others wrote: names, prompts, replies, errors.

    Control characters and known secrets are left out: a terminal would obey the first, and a log
    would keep the second.

    Args:
        text: to print.
        file: where to; ``None`` = stdout.
    """
    print(printable(without_secrets(text)), file=file)


def tell_json(value: Any) -> None:
    """Print JSON on stdout, in ASCII: its escapes are harmless to a terminal."""
    print(without_secrets(json.dumps(value, allow_nan=False)))


@final
class Console:
    """Messages and progress of one command.

    Args:
        quiet: say nothing but errors.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._started = time.monotonic()
        self._is_terminal = sys.stderr.isatty() and not quiet
        self._bar: Any = None
        self._bar_task: Any = None
        self._last_line = 0.0
        self._stage_started = self._started
        self._stage = ""

    def say(self, text: str) -> None:
        """One line about what happens."""
        if not self._quiet and text:
            self._close_bar()
            tell(f"[{_clock(time.monotonic() - self._started)}] {text}", sys.stderr)

    def step(self, what: str, done: int, total: int) -> None:
        """Progress inside a stage of one process."""
        self.watch(done / max(1, total), done, total, what)

    def watch(self, share: float, done: int, total: int, running: str) -> None:
        """Progress with the time that is left, from the time that was needed so far."""
        if self._quiet:
            return
        now = time.monotonic()
        name = running if self._is_step(done, total, running) else "sweep"
        if name != self._stage:
            self._stage, self._stage_started, self._last_line = name, now, now
        spent = now - self._stage_started
        left = spent / share - spent if share > 0.01 else float("nan")
        if self._is_terminal:
            self._show_bar(share, done, total, running, left)
        elif now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            eta = "" if left != left else f", about {_clock(left)} left"
            clock = _clock(now - self._started)
            tell(f"[{clock}] {share:4.0%} {running}{eta}", sys.stderr)

    def voice(self) -> Voice:
        """What a run talks to."""
        from paretune.pipeline.run import Voice

        return Voice(self.say, self.step, self.watch)

    @contextmanager
    def closing(self) -> Iterator[Console]:
        """Take the progress bar away at the end, whatever happens."""
        try:
            yield self
        finally:
            self._close_bar()

    @staticmethod
    def _is_step(done: int, total: int, running: str) -> bool:
        return bool(running) and "/" not in running

    def _show_bar(self, share: float, done: int, total: int, running: str, left: float) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn

        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.percentage:>3.0f}%"), BarColumn(bar_width=30),
                TextColumn("{task.description}", markup=False),
                console=RichConsole(stderr=True), transient=True,
            )  # fmt: skip
            self._bar.start()
            self._bar_task = self._bar.add_task("", total=1.0)
        eta = "" if left != left else f"{_clock(left)} left  "
        self._bar.update(
            self._bar_task, completed=share, description=one_line(f"{eta}{done}/{total}  {running}")
        )

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def prepare() -> None:
    """Settings of the libraries below, before they are imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # Threads that wait must not spin: on a busy machine that made a step fifty times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Two processes of one thread beat one of two on small models; workers set their own.
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))


def show_result(finished: Finished, as_json: bool) -> None:
    """The measured table, or everything as JSON, on stdout."""
    from paretune.core.results import to_json
    from paretune.reporting.table import cost_table, floor_table, method_table

    if finished.result is None:
        return
    if as_json:
        tell_json(to_json(finished.result))
        return
    tell(f"\n{finished.run.name}: quality\n")
    tell(method_table(finished.result).markdown())
    if floors := floor_table(finished.result):
        tell(f"\n{finished.run.name}: floors\n")
        tell(floors.markdown())
    show_users(finished.result)
    tell(f"\n{finished.run.name}: cost\n")
    tell(cost_table(finished.result).markdown())


def show_users(result: RunResult) -> None:
    """What personalization is worth, on stdout; nothing where no method reads its user."""
    from paretune.reporting.personalization import personalization_sentence, user_tables

    for found in result.personalization:
        tell(f"\n{personalization_sentence(found)}")
    for title, table in user_tables(result.personalization):
        tell(f"\n{result.name}: users: {title.lower()}\n")
        tell(table.markdown())


def say_failures(failed: dict[str, str]) -> None:
    """What went wrong while the rest went on."""
    for task, problem in failed.items():
        tell(f"paretune: failed: {task}: {problem}", sys.stderr)


def relative(path: Path) -> str:
    """A path as a person would type it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _clock(seconds: float) -> str:
    seconds = int(seconds)
    if seconds < 3600:
        return f"{seconds // 60}:{seconds % 60:02d}"
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"
