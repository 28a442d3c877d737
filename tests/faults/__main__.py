"""``make faults``: the full matrix on plain TRL and on ours; writes docs/reliability.md.

``python tests/faults [--only WORDS] [--out FILE] [--parallel N] [--calls N]``
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rig.injector import build
from rig.matrix import MATRIX, Skipped, Trials
from rig.page import Measured, page
from rig.processes import ForkServer
from rig.trials import Rig, Trial, counted, kept

_ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the matrix; exit code 1 if one of our promises was not kept."""
    parser = argparse.ArgumentParser(prog="make faults")
    parser.add_argument("--only", default="", help="faults whose description holds these words")
    parser.add_argument("--out", type=Path, default=_ROOT / "docs" / "reliability.md")
    parser.add_argument("--parallel", type=int, default=2, help="trials at a time")
    parser.add_argument("--calls", type=int, default=0, help="failing calls of a kind; 0 = all")
    options = parser.parse_args()
    rows = [row for row in MATRIX if options.only in row.fault]
    started, measured = time.monotonic(), []

    def say(text: str) -> None:
        print(f"[{_clock(time.monotonic() - started)}] {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="faults-") as work:
        say("importing everything once, in the process that all trials are forks of")
        with ForkServer(build(Path(work))) as server:
            rig = Rig(server, Path(work), options.parallel, say, options.calls)
            for n, row in enumerate(rows, 1):
                say(f"{n} of {len(rows)}: {row.fault}")
                theirs = "–" if row.theirs is None else _tried(row.theirs, rig)
                ours = _tried(row.ours, rig)
                measured.append(Measured(row, ours, theirs))
                for name, found in (("TRL", theirs), ("paretune", ours)):
                    said = found if isinstance(found, str) else f"{kept(found)}: {counted(found)}"
                    say(f"  {name}: {said}")
                options.out.write_text(page(measured, time.monotonic() - started))
    say(f"wrote {options.out}")
    broken = sum(not t.is_kept for m in measured if not isinstance(m.ours, str) for t in m.ours)
    say(f"{broken} trials of ours did not keep the promise")
    return 1 if broken else 0


def _tried(trials: Trials, rig: Rig) -> list[Trial] | str:
    try:
        return trials(rig)
    except Skipped as reason:
        return f"not tried: {reason}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


if __name__ == "__main__":
    sys.exit(main())
