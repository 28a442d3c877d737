"""docs/reliability.md, from what the trials gave."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import final

from rig.matrix import Row
from rig.trials import Trial, counted, kept

_LIBRARIES = ("paretune", "torch", "transformers", "peft", "trl", "accelerate", "safetensors")


@final
@dataclass(frozen=True)
class Measured:
    """A row of the table.

    Args:
        row: the fault.
        ours: trials on ours, or why there are none.
        theirs: trials on plain TRL, or why there are none.
    """

    row: Row
    ours: Sequence[Trial] | str
    theirs: Sequence[Trial] | str


def page(measured: Sequence[Measured], seconds: float) -> str:
    """The whole page."""
    parts = [_HEAD.format(**_facts(measured, seconds)), _table(measured), _EXPLAINED]
    broken = [(m.row.fault, t) for m in measured if not isinstance(m.ours, str)
              for t in m.ours if not t.is_kept]  # fmt: skip
    parts.append("## Trials of ours that did not keep the promise\n")
    parts.append("\n".join(
        f"- {fault}: {_cell(t.what)}: {_cell(t.outcome)}. `{_cell(t.said)}`" for fault, t in broken
    ) or "None.")  # fmt: skip
    parts += ["", "## What a person reads\n", _said(measured), _LIMITS]
    return "\n".join(parts)


def _facts(measured: Sequence[Measured], seconds: float) -> dict[str, str]:
    n = sum(len(t) for m in measured for t in (m.ours, m.theirs) if not isinstance(t, str))
    return {
        "date": time.strftime("%Y-%m-%d"),
        "n": f"{n:,}",
        "kept": kept([t for m in measured if not isinstance(m.ours, str) for t in m.ours]),
        "minutes": f"{seconds / 60:.0f}",
        "versions": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def _table(measured: Sequence[Measured]) -> str:
    lines = ["| fault | plain TRL | paretune | promise kept |", "|---|---|---|---|"]
    for m in measured:
        ours = m.ours if isinstance(m.ours, str) else _counts(m.ours)
        share = "not tried" if isinstance(m.ours, str) else kept(m.ours)
        lines.append(f"| {m.row.fault} | {_counts(m.theirs)} | {ours} | {share} |")
    return "\n".join(lines) + "\n"


def _counts(trials: Sequence[Trial] | str) -> str:
    if isinstance(trials, str):
        return trials
    if len(trials) == 1:
        return _cell(trials[0].outcome)
    spent = sorted(t.seconds for t in trials if "exit 75" in t.outcome)
    slowest = f" (to the end: median {spent[len(spent) // 2]:.2f} s, most {spent[-1]:.2f} s)" \
        if spent and spent[-1] > 0 else ""  # fmt: skip
    return _cell(counted(trials)) + slowest


def _said(measured: Sequence[Measured]) -> str:
    """For each fault the most frequent last words, theirs and ours, after a failure."""
    lines = ["| fault | plain TRL says | paretune says |", "|---|---|---|"]
    for m in measured:
        cells = [_words(m.theirs), _words(m.ours)]
        if any(cells):
            lines.append(f"| {m.row.fault} | {' | '.join(f'`{c}`' if c else '–' for c in cells)} |")
    return "\n".join(lines) + "\n"


def _words(trials: Sequence[Trial] | str) -> str:
    if isinstance(trials, str):
        return ""
    failed = [t.said for t in trials if t.said and not t.said.startswith("next:")]
    return _cell(max(sorted(set(failed)), key=failed.count)) if failed else ""


def _cell(text: str) -> str:
    short = text if len(text) <= 220 else f"{text[:217]}..."
    return short.replace("|", "\\|").replace("`", "'").replace("\n", " ")


_HEAD = """# Reliability

A run that is killed, starved of disk or damaged ends with the same result after the same command,
or says what is wrong. This page is written by `make faults`, which disturbs real runs on purpose:
{n} trials in {minutes} minutes, of which {kept} of ours kept the promise. The same faults are done
to plain TRL in the same session: `DPOTrainer` with LoRA, a checkpoint every five steps, and after a
fault `resume_from_checkpoint=True`, which is a crash where there is no checkpoint yet.

Measured {date} on {machine}, one thread a process; {versions}.

"Exact" means that after the same command, with no step by hand, every file of the result has the
SHA-256 of an undisturbed run: records, rewards, comparisons, policies, replies, the front, and the
log with one row a step (times of the clock left out; of TRL the final adapter alone). "Silently
wrong" is exit code 0 with another result. "Crash" is a Python traceback.
"""

_EXPLAINED = """
## How it is tried

- **Kills** end the process group with SIGKILL. A library loaded with `LD_PRELOAD` counts the calls
  that change files (open for writing, write, fsync, truncate, rename, link, mkdir, unlink) and
  stops the process before, in the middle of, or after the chosen one; so each state that a kill
  can leave of a checkpoint is met, not only the likely ones.
- **Failing calls**: the same library lets the i-th call fail with EIO, or every call from the
  i-th on with ENOSPC. The run must end with a message of its own, or go on to the exact result;
  the next run, undisturbed, must be exact.
- **Damage** must be told with the file's name; a damaged checkpoint costs the steps since the one
  before, a damaged stage is made again.
- **Signals** must end the run with exit code 75, and the same command must end it exactly.
- **Changes** must be refused (exit code 2) with the field that changed; after the change is undone
  the run must end exactly.

Exit codes: 0 done, 1 failed, 2 bad input, 75 stopped on request and resumable. How to go on with a
run is told in [its own page](howto/go-on.md); what is exact, and what is not, in
[another](explanation/determinism.md).

`make test` runs a sample of the matrix; `make faults` runs all of it.
"""

_LIMITS = """
## What is not tried

Real power loss and network file systems (a torn file is simulated by zeroed and truncated ones),
memory-mapped writes and system calls that a library makes without the C library, several machines,
GPUs.
"""
