"""The reproduction page of ParetoHqD, put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import paretohqd_claims
import paretohqd_cost
import paretohqd_errors
import paretohqd_gaps
import paretohqd_rivals
import paretohqd_selection
from pagetext import table
from paretohqd_budget import Budget
from paretohqd_world import Runs, World
from section import Section, claims

INTRO = """\
Gu et al. 2025, *ParetoHqD: Fast Offline Multiobjective Alignment of Large Language Models Using \
Pareto High-Quality Data* ([arXiv:2504.16628](https://arxiv.org/abs/2504.16628)). We could read \
the abstract and a public summary with the main table, not the paper: its formulas of the ray are \
in the summary, and what neither tells is listed below with what we do. Claims are in our words. \
Every number is computed by the library when this page is made, or quoted as the paper's. ± is \
half of a 95 % t interval over seeds; `*`: the interval of a difference excludes 0, each \
judged alone, so one in twenty would by chance."""
BATCHES = """\
Since these methods were first measured here, responses one by one are no longer sorted by length \
in batches ([decision 0010](../decisions/0010-responses-in-random-batches.md)), which helps every \
method that fine-tunes on responses, this one among them. Numbers of \
older pages were measured before, and do not compare with those of this page."""
SNIPPETS = """\
H3 in a few lines: the ray does not know the front, the layers do.

```python
import numpy as np
from paretune.core.job import Pool
from paretune.functional.select import select_ray

rewards = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.7], [0.3, 0.3]])
pool = Pool(rewards, np.arange(4), np.arange(4))
assert select_ray(pool, weights=(0.5, 0.5), k=1).tolist() == [2]
everything = select_ray(pool, weights=(0.5, 0.5), k=1, pool_rows="all")
assert everything.tolist() == [3]  # on the ray, and worse than row 2 in both rewards
```

H5: eleven replies of a dent, and eleven mixtures of its ends.

```python
import numpy as np
from paretune.functional.indicators import hypervolume

along = np.linspace(0, 1, 11)
dent = np.stack([along**2, (1 - along) ** 2], axis=1)  # one reply a policy
mixed = np.stack([along, 1 - along], axis=1)  # (1, 0) or (0, 1), by chance
assert hypervolume(mixed) > 3 * hypervolume(dent)  # by averages the mixtures lead ...
assert dent.min(axis=1).max() == 0.25  # ... and not one of their replies is worth .25 in both
```"""


def sections(
    budget: Budget, world: World, comparison: Runs, folder: Path | None = None
) -> list[Section]:
    """In the order of the page.

    Args:
        budget: of what needs no language model.
        world: runs on the embedded world; claims without runs are left out.
        comparison: finished seeds of the comparison of all methods.
        folder: of the comparison.
    """
    return [
        paretohqd_selection.section(budget),
        *paretohqd_claims.sections(budget, world, comparison, folder),
        *paretohqd_rivals.sections(world, comparison),
        *paretohqd_cost.sections(world, comparison, folder),
    ]


def page(found: Sequence[Section], answer: str, budget: Budget, made: str) -> str:
    """The whole text.

    Args:
        found: a claim each.
        answer: in short.
        budget: of the errors and gaps.
        made: command, date and machine.
    """
    parts = [
        "# ParetoHqD, claim by claim", INTRO, f"## In short\n\n{answer}", BATCHES, made,
        *claims(found), _errors(budget), _gaps(budget),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _errors(budget: Budget) -> str:
    columns = ["", "what is told", "smallest example", "what it shows"]
    rows = [mistake.row() for mistake in paretohqd_errors.mistakes(budget)]
    return f"## Errors of the source\n\n{table(columns, rows, 4)}\n\n{SNIPPETS}"


def _gaps(budget: Budget) -> str:
    columns = ["", "left open", "smallest example", "what it shows: what we do"]
    rows = [mistake.row() for mistake in paretohqd_gaps.mistakes(budget)]
    return f"## What the source leaves open\n\n{table(columns, rows, 4)}"
