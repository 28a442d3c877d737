"""One scalarizer beside the weighted sum on the embedded world: a table for the section on it."""

from __future__ import annotations

from fspo_numbers import YARDSTICKS, Gap, several, signed
from fspo_scores import World
from pagetext import interval, table


def beside_linear(world: World, method: str) -> tuple[str, str]:
    """A table over scenarios, and a clause that says what stays beyond chance.

    Args:
        world: the runs.
        method: not the weighted sum.
    """
    rows = []
    for scenario in world.scenarios:
        cells = [scenario]
        for measure in YARDSTICKS:
            key = (scenario, method, measure.name)
            cells += [interval(world.values[key], 1), signed(*_of(world.gaps[key]))]
        rows.append(cells)
    pooled = [world.pooled[method, measure.name] for measure in YARDSTICKS]
    rows.append(["all", *(cell for found in pooled for cell in ("", signed(*_of(found))))])
    columns = ["scenario", *(c for m in YARDSTICKS for c in (m.name, "less linear"))]
    up, down = (sum(name == method for name, _ in world.beyond_on_all(sign)) for sign in (1, -1))
    clause = (
        f"on the world {method} is better than the weighted sum in {up} and worse in {down} of "
        f"{several(len(YARDSTICKS), 'measure')} beyond chance in the mean over scenarios"
    )
    return f"On the embedded world (section 1):\n\n{table(columns, rows)}", clause


def _of(found: tuple[Gap, bool]) -> tuple[Gap, int, bool]:
    return found[0], 1, found[1]
