"""What the page shows of the trainings of a run, method by method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from paretune.core.results import RunResult
from paretune.core.traces import Curve, TrainingTrace
from paretune.reporting.plain import printable
from paretune.reporting.training_figure import Drawn, curve_drawings, floor_drawings
from paretune.reporting.wording import several


@final
@dataclass(frozen=True)
class Block:
    """The trainings of one method.

    Args:
        name: of the method.
        sentence: how much was trained.
        floors: drawings of floors and multipliers.
        curves: drawings of everything else.
    """

    name: str
    sentence: str
    floors: list[Drawn]
    curves: list[Drawn]


def training_blocks(result: RunResult, traces: Sequence[TrainingTrace], prefix: str) -> list[Block]:
    """What is drawn of the trainings of a run, method by method in its order.

    Args:
        result: of the run.
        traces: of its trainings.
        prefix: of ids on the page.
    """
    known = [method.name for method in result.methods]
    names = dict.fromkeys(printable(trace.method) for trace in traces)
    found = []
    ordered = sorted(names, key=lambda name: known.index(name) if name in known else len(known))
    for m, name in enumerate(ordered):
        own = [trace for trace in traces if printable(trace.method) == name]
        place = f"{prefix}{m}-"
        floors = floor_drawings(own, place)
        curves = curve_drawings(own, result.objectives, place)
        if floors or curves:
            steps = max(c.steps[-1] for t in own for c in _all_curves(t))
            n_policies = sum(t.tradeoff is not None or len(own) == 1 for t in own)
            sentence = f"{several(n_policies or 1, 'policy', 'policies')}, {several(steps, 'step')}"
            found.append(Block(name, sentence, floors, curves))
    return found


def _all_curves(trace: TrainingTrace) -> list[Curve]:
    found = [*trace.curves.values(), *(floor.value for floor in trace.floors)]
    return [curve for curve in found if curve.steps]
